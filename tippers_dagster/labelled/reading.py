"""How many devices of each label are in a space, at any time.

Where occupancy and labels meet: presence says which device was where, a label model what it is.
Every device has one label or none, so that the parts of a bin add up to the whole.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.labels import SCHEMA, label_columns, labels_of
from tippers_dagster.lake.pseudonyms import MAC, DeviceIds
from tippers_dagster.local.keys import device_key
from tippers_dagster.occupancy.reading import (
    MISSING_METADATA,
    DeviceGroups,
    GroupCounts,
    When,
    read_groups,
)
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.warehouse.engine import read_arrow, warehouse_engine

UNLABELLED = "unlabelled"
"""The part of devices that the label model abstains on or ties at, or does not know."""

TOTAL = "number_connections"


@dataclass(frozen=True, eq=False)
class DeviceLabels:
    """What a label model says of devices.

    ``names``: its labels in the order of their class numbers, then ``UNLABELLED``.
    """

    names: tuple[str, ...]
    groups: DeviceGroups


def label_models_of_devices(settings: Settings) -> list[str]:
    """Label models, as ``device.device_type``, that have labels and whose entities are devices."""
    query = sa.text(
        "SELECT table_name FROM information_schema.columns "
        "WHERE table_schema = :schema AND column_name = :key ORDER BY table_name"
    )
    with warehouse_engine(settings).connect() as connection:
        found = connection.scalars(query, {"schema": SCHEMA, "key": MAC}).all()
    return [name.replace("__", ".", 1) for name in found]


def device_labels(settings: Settings, label_model: str) -> DeviceLabels:
    """The labels of devices that a label model gives now.

    Raises
    ------
    NotLabelled
        When it has none.
    BadInput
        When its entities are no devices.
    """
    concept, _, name = label_model.partition(".")
    columns = label_columns(settings, concept, name)
    if MAC not in columns:
        raise BadInput(
            f"{label_model} labels no devices: its key is {columns[0]}.",
            f"Occupancy is split by label models whose key is {MAC}.",
        )
    names = labels_of(columns)
    query = f'SELECT {MAC}, label FROM {SCHEMA}."{concept}__{name}" WHERE label IS NOT NULL'
    rows = read_arrow(settings, query)
    devices = DeviceIds(device_key(settings))(rows[MAC].cast(pa.string()).combine_chunks())
    label = rows["label"].cast(pa.string()).combine_chunks()
    group = pc.index_in(label, pa.array(names, pa.string())).fill_null(len(names))
    order = np.argsort(devices)
    groups = DeviceGroups(devices[order], group.to_numpy().astype(np.int32)[order], len(names))
    return DeviceLabels((*names, UNLABELLED), groups)


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
        As ``read_occupancy`` takes them.
    label_model
        As ``device.device_type``; its index must be one of devices.

    Returns
    -------
    pa.Table
        ``interval_begin_time`` (timestamp[s] in the deployment's zone), in order; an int32 column
        for each label, and ``unlabelled``; ``number_connections``, their sum. Bins that are not
        computed are null, and the schema's metadata (``MISSING_METADATA``) list their chunks.

    Raises
    ------
    NotLabelled, BadInput
        A label model without labels, or not of devices; an unknown space, an unusable range.
    """
    settings = settings or get_settings()
    labels = device_labels(settings, label_model)
    found = read_groups(space, start, end, interval_seconds, labels.groups, settings=settings)
    return _table(labels.names, found, settings.timezone)


def _table(names: tuple[str, ...], found: GroupCounts, timezone: str) -> pa.Table:
    absent = ~found.computed
    counts = [*found.counts, found.counts.sum(axis=0, dtype=np.int32)]
    begins = pa.array(found.edges[:-1]).cast(pa.timestamp("s", timezone))
    table = pa.table(
        [begins, *(pa.array(part, mask=absent) for part in counts)],
        names=["interval_begin_time", *names, TOTAL],
    )
    return table.replace_schema_metadata({MISSING_METADATA: json.dumps(found.missing)})
