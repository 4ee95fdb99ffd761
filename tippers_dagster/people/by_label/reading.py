"""Reads how many devices of each label are in a space at any time.

Presence says where each device was, a label model what it is. Every device has one label or none,
so the labels of a bin add up to its total. Counts that a labelled occupancy has published with the
current labels are read, all others are counted on demand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS
from tippers_dagster.occupancy import files
from tippers_dagster.occupancy.reading import (
    MISSING_METADATA,
    DeviceGroups,
    GroupCounts,
    Published,
    When,
    chunks_in_range,
    read_groups,
)
from tippers_dagster.occupancy.state import DERIVED, SOURCE
from tippers_dagster.occupancy.tables import partition_figures, sealed_chunk
from tippers_dagster.people.by_label.devices import (
    UNLABELLED,
    VERSION,
    DeviceLabels,
    LabelsByChunk,
    device_labels,
    label_models_of_devices,
)
from tippers_dagster.people.by_label.repack import labelled_lake
from tippers_dagster.people.by_label.tables import labelled_chunk
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings, get_settings

__all__ = [
    "TOTAL",
    "UNLABELLED",
    "VERSION",
    "DeviceLabels",
    "LabelsByChunk",
    "device_labels",
    "label_models_of_devices",
    "published_files",
    "read_label_counts",
    "read_labelled_occupancy",
]

TOTAL = "number_connections"

_NONE = DeviceGroups(np.empty(0, np.uint64), np.empty(0, np.int32), 0)


def read_labelled_occupancy(
    space: str,
    start: When,
    end: When,
    interval_seconds: int,
    label_model: str,
    *,
    settings: Settings | None = None,
) -> pa.Table:
    """Distinct devices of each label in a space, per bin.

    Parameters
    ----------
    space, start, end, interval_seconds
        As for ``read_occupancy``.
    label_model
        A label model or classifier of devices, such as ``device.device_type``.

    Returns
    -------
    pa.Table
        ``interval_begin_time`` (timestamp[s] in the deployment's zone), in order; an int32 column
        per label, and ``unlabelled``; ``number_connections``, their sum. Bins that are not computed
        are null, and the schema's metadata (``MISSING_METADATA``) list their chunks.

    Raises
    ------
    NotLabelled, BadInput
        If the label model has no labels or none of devices, the space is unknown, or the range is
        invalid.
    OnlyCountsKept
        If the presence of a chunk is deleted, and its counts by these labels are not published.
    """
    settings = settings or get_settings()
    names, (found,) = read_label_counts(
        [space], start, end, interval_seconds, label_model, settings=settings
    )
    return _table(names, found, settings.timezone)


def read_label_counts(
    spaces: Sequence[str],
    start: When,
    end: When,
    interval_seconds: int,
    label_model: str,
    *,
    settings: Settings,
) -> tuple[tuple[str, ...], Iterator[GroupCounts]]:
    """The labels, ``UNLABELLED`` last, and the counts by label of each space.

    Otherwise as ``read_labelled_occupancy``.
    """
    labels = LabelsByChunk(settings, label_model)
    stored: Published | None = None
    chunks = chunks_in_range(start, end, interval_seconds, settings)
    left = chunks
    if interval_seconds in PUBLISHED_WIDTHS:
        tables = published_files(settings, label_model, labels, spaces, chunks)
        stored = Published(labels.names, tables)
        left = [c for c in chunks if any((space, c) not in tables for space in spaces)]
    if left and newer_labels(labels, left):
        stored = None  # new labels were written in between: use only those
    arguments = (spaces, start, end, interval_seconds, labels)
    return labels.names, read_groups(*arguments, settings=settings, published=stored)


def newer_labels(labels: LabelsByChunk, chunks: list[str]) -> bool:
    """Whether the labels of chunks that are counted now are of another version than expected."""
    return any(labels.of(chunk).version != labels.version(chunk) for chunk in chunks)


def published_files(
    settings: Settings,
    by: str,
    labels: LabelsByChunk,
    spaces: Sequence[str],
    chunks: Sequence[str],
) -> dict[tuple[str, str], pa.Table]:
    """The up-to-date files of counts by label, by space and chunk.

    They were counted with the labels that count in the chunk, from the presence as recorded now.
    For sealed chunks these are all files, with the labels known when the chunk was sealed; those
    that are older than a label, and have no column for it, are left out.
    """
    if labels.current_version is None:
        return {}
    versions = {chunk: labels.version(chunk) for chunk in chunks}
    sealed = sa.exists().where(sealed_chunk.c.chunk == labelled_chunk.c.chunk)
    c, figures = labelled_chunk.c, partition_figures.c
    query = (
        sa.select(
            *(c.definition, c.chunk, c.labels_fingerprint, c.labels_version),
            *(figures.space, figures.output_fingerprint, sealed.label("sealed")),
        )
        .join(partition_figures, figures.chunk == c.chunk)
        .where(
            c.labels_of == by,
            c.chunk.in_(chunks),
            figures.space.in_(spaces),
            figures.asset.in_((SOURCE, DERIVED)),
        )
        # For a parent that sessions name, the last one covers its whole subtree.
        .order_by(c.computed_at, sa.case((figures.asset == DERIVED, 1), else_=0))
    )
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(query).all()
    wanted = {
        (row.definition, row.space, row.chunk): (
            row.output_fingerprint % 2**64,
            row.labels_fingerprint % 2**64,
        )
        for row in rows
        if row.sealed or row.labels_version == versions[row.chunk]
    }
    found: dict[tuple[str, str], pa.Table] = {}
    for definition in dict.fromkeys(definition for definition, _, _ in wanted):
        mine: dict[str, list[str]] = {}
        for of, space, chunk in wanted:
            if of == definition:
                mine.setdefault(chunk, []).append(space)
        counts = files.read(labelled_lake(settings), files.labelled_counts(definition), mine)
        for chunk, part in counts.items():
            if part.stamps is None or not set(labels.names) <= set(part.table.column_names):
                continue
            for i, space in enumerate(part.spaces):
                if tuple(part.stamps[i].tolist()) == wanted[definition, space, chunk]:
                    found[space, chunk] = part.of(i)
    return found


def _table(names: tuple[str, ...], found: GroupCounts, timezone: str) -> pa.Table:
    absent = ~found.computed
    counts = [*found.counts, found.counts.sum(axis=0, dtype=np.int32)]
    begins = pa.array(found.edges[:-1]).cast(pa.timestamp("s", timezone))
    table = pa.table(
        [begins, *(pa.array(part, mask=absent) for part in counts)],
        names=["interval_begin_time", *names, TOTAL],
    )
    return table.replace_schema_metadata({MISSING_METADATA: json.dumps(found.missing)})
