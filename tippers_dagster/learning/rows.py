"""Predicts rows from a file or typed by a user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import BadInput
from tippers_dagster.learning.features import model_column
from tippers_dagster.learning.models import LoadedModel, load_model
from tippers_dagster.learning.naming import registered_name
from tippers_dagster.learning.predictions import (
    predict,
    predicted_columns,
    read_entities_with_features,
)
from tippers_dagster.learning.registry import champion_of
from tippers_dagster.platform.small_tables import read_table
from tippers_dagster.settings import Settings


def find_classifier(catalog: Catalog, name: str) -> Ref:
    """The classifier with a name such as ``device.kind``.

    Raises
    ------
    BadInput
        Lists the existing names.
    """
    found = {str(d.ref): d.ref for d in catalog.of_kind(Kind.CLASSIFIER, broken=True)}
    if name not in found:
        listed = ", ".join(sorted(found)) or "none yet"
        raise BadInput(f"There is no classifier {name}.", f"The classifiers: {listed}.")
    return found[name]


def read_rows(file: Path) -> pa.Table:
    """The rows of a CSV (also compressed) or Parquet file.

    Raises
    ------
    BadInput
        When it cannot be read.
    """
    return read_table(file, file)


def predict_rows(model: LoadedModel, rows: pa.Table, labels: Sequence[str]) -> pa.Table:
    """The given rows, each with ``label``, ``confidence``, ``p_<label>`` and ``model_version``.

    Parameters
    ----------
    rows
        With the columns that the model takes; others are kept.
    labels
        The concept's labels, in order.

    Raises
    ------
    BadInput
        When a column is missing, has another type than the model takes, or has the name of a
        result column.
    """
    inputs = fitting_columns(model, rows)
    given = predicted_columns(model, inputs, labels)
    twice = [name for name in (*given.column_names, "model_version") if name in rows.column_names]
    if twice:
        raise BadInput(
            f"The rows have columns with the names of result columns: {', '.join(twice)}.",
            "Remove or rename them.",
        )
    version = pa.repeat(pa.scalar(model.version, pa.int32()), rows.num_rows)
    names = [*rows.column_names, *given.column_names, "model_version"]
    return pa.table([*rows.columns, *given.columns, version], names)


def fitting_columns(model: LoadedModel, rows: pa.Table) -> pa.Table:
    """The columns that a model takes, with the types that it was trained on.

    Numbers become text if the model takes text, such as room numbers in a CSV file.

    Raises
    ------
    BadInput
        Names the missing columns, or the first with another type.
    """
    missing = [name for name in model.columns if name not in rows.column_names]
    if missing:
        raise BadInput(
            f"{model} needs the columns {', '.join(model.columns)}.",
            f"Missing: {', '.join(missing)}.",
        )
    columns = {name: _fitting(model, name, rows[name]) for name in model.columns}
    return pa.table(columns)


def _fitting(model: LoadedModel, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    what = f"The column {name}"
    text = name in model.categorical
    if text and pa.types.is_integer(column.type):
        return column.cast(pa.string())
    if text and pa.types.is_null(column.type):
        return column.cast(pa.string())
    found = model_column(column, what)
    if pa.types.is_string(found.type) == text or not model.typed:
        return found
    example = next((v for v in pc.unique(column).to_pylist() if v is not None), None)
    raise BadInput(
        f"{what} contains {'numbers' if text else 'text'} such as {example!r}, but {model} needs "
        f"{'text' if text else 'numbers'}."
    )


def predict_by_champion(
    settings: Settings,
    catalog: Catalog,
    ref: Ref,
    *,
    rows: pa.Table | None = None,
    entities: Sequence[str] = (),
) -> pa.Table:
    """The champion's current predictions; nothing is written.

    Parameters
    ----------
    rows
        Rows of features; None: the entities of the index.
    entities
        Keys of entities in the index; empty: all of them.

    Raises
    ------
    NoChampion, NotRegistered, MlflowAway
        When there is no model.
    BadInput, NotPredicted
        When the rows do not fit it, or a key is not in the index.
    """
    name = registered_name(ref)
    model = load_model(settings, name, champion_of(settings, name).number)
    labels = catalog.labels(ref.concept)
    if rows is not None:
        return predict_rows(model, rows, labels)
    found = read_entities_with_features(settings, catalog, ref)
    if entities:
        found = found.of(entities)
    return predict(model, found, labels, "", "").drop_columns(["version", "run_id"])
