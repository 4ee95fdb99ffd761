"""Features prepared for models: numbers and categories, one row per entity of an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.identities import lake_name
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import BadInput
from tippers_dagster.learning.errors import DuplicateColumns
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """The features of an index's entities, in the order of the index's file.

    Attributes
    ----------
    key
        Name of the key column in the lake; ``device_id`` for devices.
    keys
        The entities' keys in the lake, [n].
    columns
        The features, n rows: float64 for numbers (a boolean is 0 or 1, a time is seconds since
        1970, a duration seconds), string for categories. Missing values are null.
    sources
        For each column, the feature that it comes from.
    """

    key: str
    keys: pa.Array
    columns: pa.Table
    sources: dict[str, Ref]

    @property
    def numeric(self) -> tuple[str, ...]:
        """Names of the columns that are numbers."""
        return tuple(f.name for f in self.columns.schema if pa.types.is_float64(f.type))

    @property
    def categorical(self) -> tuple[str, ...]:
        """Names of the columns that are categories."""
        return tuple(f.name for f in self.columns.schema if not pa.types.is_float64(f.type))

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: np.ndarray) -> FeatureRows:
        """Some of the rows, by position or as bool [n]."""
        places = np.flatnonzero(rows) if rows.dtype == bool else rows
        chosen = pa.array(places)
        return FeatureRows(
            self.key, self.keys.take(chosen), self.columns.take(chosen), self.sources
        )

    def frame(self) -> pd.DataFrame:
        """The columns for models: float64 with NaN, or objects with None, for missing values."""
        return model_frame(self.columns)


def model_frame(columns: pa.Table) -> pd.DataFrame:
    """Columns of ``FeatureRows`` as a data frame for models."""
    import pandas as pd

    return pd.DataFrame(
        {
            name: column.to_numpy()
            if pa.types.is_float64(column.type)
            else np.array(column.to_pylist(), object)
            for name, column in zip(columns.column_names, columns.columns, strict=True)
        }
    )


def read_features(
    settings: Settings, catalog: Catalog, index: Ref, features: Sequence[Ref]
) -> FeatureRows:
    """The features of every entity of an index, from the lake.

    A feature's columns are missing for an entity without a row in it.

    Parameters
    ----------
    index, features
        Definitions; a feature may belong to an index from which this one is derived.

    Raises
    ------
    LakeFileMissing
        When one of them was never materialised.
    DuplicateColumns
        When two features have a column of the same name.
    BadInput
        A column's type is unusable, a number is infinite, or an entity has two rows.
    """
    lake = open_lake(settings)
    key = lake_name(catalog.key_column(index))
    place = definition_key("indexes", index.concept, index.name)
    keys = lake.read_table(place, [key])[key].combine_chunks()
    columns: dict[str, pa.ChunkedArray] = {}
    sources: dict[str, Ref] = {}
    for feature in features:
        rows = lake.read_table(definition_key("features", feature.concept, feature.name))
        found = _joined(feature, rows, key, keys)
        for name in found.column_names:
            if name in sources:
                raise DuplicateColumns(
                    f"{sources[name]} and {feature} both have a column {name}.",
                    "Rename it in one of the queries, or remove one of the features.",
                )
            sources[name] = feature
            columns[name] = model_column(found[name], f"{feature}: the column {name}")
    return FeatureRows(key, keys, pa.table(columns), sources)


def _joined(feature: Ref, rows: pa.Table, key: str, keys: pa.Array) -> pa.Table:
    """The feature's columns for these entities, null if it has no row."""
    if key not in rows.column_names:
        raise BadInput(
            f"{feature} has no column {key}.", "A feature needs the key column of its index."
        )
    theirs = rows[key].combine_chunks()
    if theirs.type != keys.type:
        raise BadInput(
            f"{feature} has keys of type {theirs.type}, but the index of type {keys.type}."
        )
    if pc.count_distinct(theirs).as_py() < len(theirs):
        raise BadInput(
            f"{feature} has more than one row for some entities.", "Group its query by the key."
        )
    return rows.drop_columns([key]).take(pc.index_in(keys, value_set=theirs))


def model_column(column: pa.ChunkedArray, what: str) -> pa.ChunkedArray:
    """A column as float64 or string.

    Raises
    ------
    BadInput
        When it is neither number, boolean, time nor text, or has an infinite number.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column.cast(pa.string())
    numbers = _seconds(column, kind)
    if numbers is None:
        raise BadInput(
            f"{what} has the type {kind}, which models do not accept.",
            "Convert it to a number or text in the feature's query, or remove it.",
        )
    if pc.any(pc.is_inf(numbers)).as_py():
        raise BadInput(
            f"{what} contains infinite numbers.",
            "Return null instead in the feature's query, for example with nullif(x, 0) in a "
            "division.",
        )
    return pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)


def _seconds(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    """A column as float64, with times and durations in seconds; None for other types."""
    if pa.types.is_boolean(kind):
        return column.cast(pa.int8()).cast(pa.float64())
    if pa.types.is_null(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return column.cast(pa.float64())
    if pa.types.is_integer(kind):
        return column.cast(pa.float64(), safe=False)  # beyond 2**53 it is rounded
    if pa.types.is_date(kind):
        column, kind = column.cast(pa.timestamp("s")), pa.timestamp("s")
    per_second = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind) or pa.types.is_time64(kind):
        return pc.divide(column.cast(pa.int64()).cast(pa.float64()), per_second[kind.unit])
    if pa.types.is_time32(kind):
        return pc.divide(column.cast(pa.int32()).cast(pa.float64()), per_second[kind.unit])
    return None
