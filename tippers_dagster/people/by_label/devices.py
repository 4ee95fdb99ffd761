"""Labels of devices, from a label model or a classifier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tippers_dagster.campus.identities import MAC, DeviceIds
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.labels import SCHEMA as LABELS
from tippers_dagster.labelling.labels import NotLabelled, labels_of
from tippers_dagster.learning.keys import SCHEMA as PREDICTIONS
from tippers_dagster.occupancy.reading import DeviceGroups
from tippers_dagster.platform.identifiers import quote_identifier
from tippers_dagster.platform.keys import device_key
from tippers_dagster.platform.warehouse.engine import read_arrow, warehouse_engine
from tippers_dagster.settings import Settings

UNLABELLED = "unlabelled"
"""Devices on which the label model abstains or ties, and devices that it does not know."""

VERSION = "version"
"""The column with the version of the asset that wrote the table, the same in all rows."""


@dataclass(frozen=True, eq=False)
class DeviceLabels:
    """Labels of devices, from a label model or a classifier.

    ``names`` are its labels by class number, then ``UNLABELLED``. ``version`` is that of its asset;
    None if the table does not have it.
    """

    names: tuple[str, ...]
    groups: DeviceGroups
    version: str | None = None


def label_models_of_devices(settings: Settings) -> list[str]:
    """Label models and classifiers of devices that have labels, such as ``device.device_type``."""
    query = sa.text(
        "SELECT DISTINCT table_name FROM information_schema.columns "
        "WHERE table_schema IN (:labels, :predictions) AND column_name = :key ORDER BY table_name"
    )
    names = {"labels": LABELS, "predictions": PREDICTIONS, "key": MAC}
    with warehouse_engine(settings).connect() as connection:
        found = connection.scalars(query, names).all()
    return [name.replace("__", ".", 1) for name in found]


def device_labels(settings: Settings, by: str) -> DeviceLabels:
    """The current labels of devices from a label model or a classifier.

    Parameters
    ----------
    by
        Its name, such as ``device.device_type``.

    Raises
    ------
    NotLabelled
        When it has no labels.
    BadInput
        When its entities are not devices.
    """
    table, columns = labels_table(settings, by)
    if MAC not in columns:
        raise BadInput(
            f"{by} does not label devices: its key is {columns[0]}.",
            f"Occupancy can be split by labels with the key {MAC}.",
        )
    names = labels_of(columns)
    # One statement, one snapshot: labels and version are of the same materialisation.
    version = VERSION if VERSION in columns else f"CAST(NULL AS text) AS {VERSION}"
    rows = read_arrow(settings, f"SELECT {MAC}, label, {version} FROM {table}")
    found = rows.column(VERSION)[0].as_py() if rows.num_rows else None
    rows = rows.filter(pc.is_valid(rows["label"]))
    devices = DeviceIds(device_key(settings))(rows[MAC].cast(pa.string()).combine_chunks())
    label = rows["label"].cast(pa.string()).combine_chunks()
    group = pc.index_in(label, pa.array(names, pa.string())).fill_null(len(names))
    devices, first = np.unique(devices, return_index=True)
    groups = DeviceGroups(devices, group.to_numpy().astype(np.int32)[first], len(names))
    return DeviceLabels((*names, UNLABELLED), groups, found)


def labels_version(settings: Settings, by: str) -> str | None:
    """The version of the asset that gave the labels; None if the table does not have it.

    Raises
    ------
    NotLabelled
        When there are no labels.
    """
    table, columns = labels_table(settings, by)
    if VERSION not in columns:
        return None
    with warehouse_engine(settings).connect() as connection:
        return connection.scalar(sa.text(f"SELECT {VERSION} FROM {table} LIMIT 1"))


def label_names(settings: Settings, by: str) -> tuple[str, ...]:
    """The labels by class number, then ``UNLABELLED``."""
    return (*labels_of(labels_table(settings, by)[1]), UNLABELLED)


def labels_table(settings: Settings, by: str) -> tuple[str, list[str]]:
    """The table of labels or predictions in SQL, and its columns, the key first.

    Raises
    ------
    NotLabelled
        When there is none.
    """
    concept, _, name = by.partition(".")
    table = f"{concept}__{name}"
    with warehouse_engine(settings).connect() as connection:
        inspector = sa.inspect(connection)
        for schema in (LABELS, PREDICTIONS):
            if inspector.has_table(table, schema):
                columns = [c["name"] for c in inspector.get_columns(table, schema)]
                return f"{schema}.{quote_identifier(table)}", columns
    raise NotLabelled(
        f"{by} has no labels yet.",
        "Either it has not been materialised, or it is not a label model or classifier: "
        "`tippers definitions list` shows those that exist.",
    )
