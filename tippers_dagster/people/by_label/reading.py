"""Reads how many devices of each label are in a space at any time.

Presence says where each device was, a label model what it is. Every device has one label or none,
so the labels of a bin add up to its total. Counts that a labelled occupancy has published with the
current labels are read, all others are counted on demand.
"""

from __future__ import annotations

import json

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
    device_labels,
    label_models_of_devices,
    label_names,
    labels_version,
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
    names, found = read_label_counts(
        space, start, end, interval_seconds, label_model, settings=settings
    )
    return _table(names, found, settings.timezone)


def read_label_counts(
    space: str,
    start: When,
    end: When,
    interval_seconds: int,
    label_model: str,
    *,
    settings: Settings,
) -> tuple[tuple[str, ...], GroupCounts]:
    """The labels, ``UNLABELLED`` last, and the counts by label; otherwise as
    ``read_labelled_occupancy``.
    """
    names = label_names(settings, label_model)
    files: Published | None = None
    version = labels_version(settings, label_model)
    if interval_seconds in PUBLISHED_WIDTHS:
        chunks = chunks_in_range(start, end, interval_seconds, settings)
        tables = published_files(settings, label_model, version, names, [space], chunks)
        files = Published(names, {chunk: table for (_, chunk), table in tables.items()})
        if len(files.tables) == len(chunks):
            no_devices = DeviceGroups(_NONE.devices, _NONE.group, len(names) - 1)
            arguments = (space, start, end, interval_seconds, no_devices)
            return names, read_groups(*arguments, settings=settings, published=files)
    labels = device_labels(settings, label_model)
    if labels.version != version:  # new labels were written in between: use only those
        files = None
    arguments = (space, start, end, interval_seconds, labels.groups)
    return labels.names, read_groups(*arguments, settings=settings, published=files)


def published_files(
    settings: Settings,
    by: str,
    version: str | None,
    names: tuple[str, ...],
    spaces: list[str],
    chunks: list[str],
) -> dict[tuple[str, str], pa.Table]:
    """The up-to-date files of counts by label, by space and chunk.

    They were counted with this version of the labels, from the presence as recorded now. For sealed
    chunks these are all files, with the labels known when the chunk was sealed.

    Parameters
    ----------
    names
        The columns that a file must have; files of sealed chunks may be older than a label.
    """
    if version is None:
        return {}
    c, figures = labelled_chunk.c, partition_figures.c
    query = (
        sa.select(
            c.definition, c.chunk, c.labels_fingerprint, figures.space, figures.output_fingerprint
        )
        .join(partition_figures, figures.chunk == c.chunk)
        .where(
            c.labels_of == by,
            c.chunk.in_(chunks),
            figures.space.in_(spaces),
            figures.asset.in_((SOURCE, DERIVED)),
            sa.or_(c.labels_version == version, sa.exists().where(sealed_chunk.c.chunk == c.chunk)),
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
    }
    found: dict[tuple[str, str], pa.Table] = {}
    for definition in dict.fromkeys(definition for definition, _, _ in wanted):
        mine: dict[str, list[str]] = {}
        for of, space, chunk in wanted:
            if of == definition:
                mine.setdefault(chunk, []).append(space)
        counts = files.read(labelled_lake(settings), files.labelled_counts(definition), mine)
        for chunk, part in counts.items():
            if part.stamps is None or not set(names) <= set(part.table.column_names):
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
