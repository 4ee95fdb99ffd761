"""Labels of devices, from a label model or a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tippers_dagster.campus.identities import MAC, DeviceIds, lake_name
from tippers_dagster.campus.local_time import chunk_bounds
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.kept_windows import (
    KeptWindow,
    kept_windows,
    read_window,
    window_at,
)
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


class LabelsByChunk:
    """The labels of devices that count in each chunk.

    The labels of a label model with a window of the log are those of the latest window that
    contains the chunk, see ``window_at``; all others are the current labels everywhere.
    Labels are read when they are needed, once.

    Parameters
    ----------
    by
        A label model or classifier, such as ``device.device_type``.

    Raises
    ------
    NotLabelled
        When it has no labels.
    BadInput
        When its entities are not devices.
    """

    def __init__(self, settings: Settings, by: str) -> None:
        self._settings, self._by = settings, by
        table, columns = _table_of_devices(settings, by)
        self.names = (*labels_of(columns), UNLABELLED)
        self._concept, _, self._name = by.partition(".")
        of_model = table.startswith(f"{LABELS}.")
        self._kept = kept_windows(settings, self._concept, self._name) if of_model else []
        self._read: dict[str | None, DeviceLabels] = {}

    @property
    def rows(self) -> int:
        """Number of labels, with ``UNLABELLED``."""
        return len(self.names)

    @property
    def current(self) -> DeviceLabels:
        """The newest labels."""
        return self._of(self._kept[0] if self._kept else None)

    @cached_property
    def current_version(self) -> str | None:
        """The version of the asset that gave the newest labels; None if it is not recorded."""
        if self._kept:
            return self._kept[0].version
        read = self._read.get(None)
        return labels_version(self._settings, self._by) if read is None else read.version

    def version(self, chunk: str) -> str | None:
        """The version of the labels that count in a chunk."""
        window = self._window(chunk)
        return self.current_version if window is None else window.version

    def of(self, chunk: str) -> DeviceLabels:
        """The labels that count in a chunk."""
        return self._of(self._window(chunk))

    def in_chunk(self, chunk: str) -> DeviceGroups:
        """The groups of devices by these labels."""
        return self.of(chunk).groups

    def _window(self, chunk: str) -> KeptWindow | None:
        if not self._kept:
            return None
        return window_at(self._kept, *chunk_bounds(chunk, self._settings.chunk))

    def _of(self, window: KeptWindow | None) -> DeviceLabels:
        key = None if window is None else window.version
        if key not in self._read:
            if window is None:
                self._read[key] = device_labels(self._settings, self._by)
            else:
                rows = read_window(self._settings, self._concept, self._name, window)
                devices = rows[lake_name(MAC)].combine_chunks().to_numpy()
                self._read[key] = _labels(devices, rows["label"], self.names[:-1], key)
        return self._read[key]


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
    table, columns = _table_of_devices(settings, by)
    # One statement, one snapshot: labels and version are of the same materialisation.
    version = VERSION if VERSION in columns else f"CAST(NULL AS text) AS {VERSION}"
    rows = read_arrow(settings, f"SELECT {MAC}, label, {version} FROM {table}")
    found = rows.column(VERSION)[0].as_py() if rows.num_rows else None
    devices = DeviceIds(device_key(settings))(rows[MAC].cast(pa.string()).combine_chunks())
    return _labels(devices, rows["label"], labels_of(columns), found)


def _table_of_devices(settings: Settings, by: str) -> tuple[str, list[str]]:
    """As ``labels_table``; BadInput when its entities are not devices."""
    table, columns = labels_table(settings, by)
    if MAC not in columns:
        raise BadInput(
            f"{by} does not label devices: its key is {columns[0]}.",
            f"Occupancy can be split by labels with the key {MAC}.",
        )
    return table, columns


def _labels(
    devices: np.ndarray, label: pa.ChunkedArray, names: Sequence[str], version: str | None
) -> DeviceLabels:
    """Labels from rows; those without a label, or with one that there is no more, have none."""
    known = pc.is_valid(label).to_numpy(zero_copy_only=False)
    texts = label.cast(pa.string()).combine_chunks().filter(pa.array(known))
    group = pc.index_in(texts, pa.array(names, pa.string())).fill_null(len(names))
    devices, first = np.unique(devices[known], return_index=True)
    groups = DeviceGroups(devices, group.to_numpy().astype(np.int32)[first], len(names))
    return DeviceLabels((*names, UNLABELLED), groups, version)


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
