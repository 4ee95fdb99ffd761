"""The labels of a label model: in the warehouse with the entities' keys, in the lake without.

One row per entity of the index. ``outcome`` distinguishes an abstention (no function voted:
probabilities and confidence are null) from a tie.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from tippers_dagster.campus.identities import pseudonymise
from tippers_dagster.errors import BadInput, TippersError
from tippers_dagster.labelling.label_model import (
    LABEL,
    NO_VOTE,
    OUTCOMES,
    Fitted,
    Prediction,
)
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key
from tippers_dagster.platform.warehouse.engine import read_arrow, warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.replacing import Target, check_keys, replace_rows

SCHEMA = "labels"


class NotLabelled(TippersError):
    """A label model has not been materialised, or an entity has no label."""


@dataclass(frozen=True)
class LabelTable:
    """The table of one label model.

    Parameters
    ----------
    concept, name
        Concept and name of the label model.
    key, key_type
        The key column and its SQL type.
    labels
        In the order of the class numbers.
    functions
        Names of the labelling functions, in the order of the votes' columns.
    """

    concept: str
    name: str
    key: str
    key_type: str
    labels: tuple[str, ...]
    functions: tuple[str, ...]

    @property
    def model_name(self) -> str:
        """The table's name in the schema ``labels``."""
        return f"{self.concept}__{self.name}"

    @property
    def probability_columns(self) -> list[str]:
        """The probability column of each label."""
        return [f"p_{label.lower()}" for label in self.labels]

    @property
    def vote_columns(self) -> list[str]:
        """The vote column of each labelling function."""
        return [f"vote_{function}" for function in self.functions]

    def column_type(self, column: str) -> str:
        """The SQL type of a column."""
        if column == self.key:
            return self.key_type
        if column.startswith("vote_"):
            return "smallint"
        numeric = column == "confidence" or column.startswith("p_")
        return "double precision" if numeric else "text"


def label_rows(
    table: LabelTable,
    keys: pa.Array,
    prediction: Prediction,
    votes: np.ndarray,
    version: str,
    run_id: str,
) -> pa.Table:
    """The rows of the table: ``keys`` of n entities, ``votes`` int8 [n, functions].

    Raises
    ------
    BadInput
        When the index's key has the name of another column of the table.
    """
    labels = pa.array(table.labels)
    silent = prediction.outcome == NO_VOTE
    columns: dict[str, pa.Array] = {
        "label": _named(labels, np.where(prediction.outcome == LABEL, prediction.label, -1)),
        "outcome": pa.array(OUTCOMES).take(pa.array(prediction.outcome)),
        "confidence": pa.array(prediction.confidence, mask=silent),
        **{
            column: pa.array(prediction.probabilities[:, number], mask=silent)
            for number, column in enumerate(table.probability_columns)
        },
        "majority_label": _named(labels, prediction.majority),
        **{
            column: pa.array(votes[:, j].astype(np.int16))
            for j, column in enumerate(table.vote_columns)
        },
        "version": pa.repeat(version, len(keys)),
        "run_id": pa.repeat(run_id, len(keys)),
    }
    if table.key in columns:
        raise BadInput(
            f"The key column {table.key} has the same name as a column of the labels.",
            "Rename the key in the index's query.",
        )
    return pa.table({table.key: keys, **columns})


def _named(labels: pa.Array, numbers: np.ndarray) -> pa.Array:
    return labels.take(pa.array(numbers.astype(np.int8), mask=numbers < 0))


# --- writing ------------------------------------------------------------------------------------
def write_labels(settings: Settings, table: LabelTable, rows: pa.Table, fitted: Fitted) -> None:
    """Replace the labels of a label model, in the lake and in the warehouse.

    The warehouse's table changes in one transaction; views that read it stay intact.

    Raises
    ------
    BadInput
        When a key is missing or occurs twice.
    TippersError
        When a view reads a column that would be dropped.
    """
    check_keys(rows[table.key], f"index of {table.concept}.{table.name}")
    lake = open_lake(settings)
    lake.write_table(
        definition_key(SCHEMA, table.concept, table.name), pseudonymise(settings, rows)
    )
    parameters = {"version": rows["version"][0].as_py(), **fitted.to_json()}
    lake.write_bytes(parameters_key(table.concept, table.name), json.dumps(parameters).encode())
    replace_rows(settings, _target(table, rows), rows)


def parameters_key(concept: str, name: str) -> str:
    """The lake key of a trained label model's parameters."""
    return definition_key(SCHEMA, concept, name).replace("data.parquet", "model.json")


def _target(table: LabelTable, rows: pa.Table) -> Target:
    """The table in the warehouse; its comments explain the numbers of the votes."""
    meaning = ", ".join(
        ["-1 abstain", *(f"{number} {label}" for number, label in enumerate(table.labels))]
    )
    return Target(
        schema=SCHEMA,
        name=table.model_name,
        key=table.key,
        types={name: table.column_type(name) for name in rows.schema.names},
        comment=f"one row per entity: labels of {table.concept}.{table.name}; votes: {meaning}",
        comments=dict.fromkeys(table.vote_columns, meaning),
    )


# --- reading ------------------------------------------------------------------------------------
def read_labels(settings: Settings, concept: str, name: str) -> pa.Table:
    """All rows of a label model's table in the warehouse.

    Raises
    ------
    NotLabelled
        When there are no labels yet.
    """
    _require_labels(settings, concept, name)
    return read_arrow(settings, f'SELECT * FROM {SCHEMA}."{concept}__{name}"')


def label_columns(settings: Settings, concept: str, name: str) -> list[str]:
    """The columns of a label model's table, the key first.

    Raises
    ------
    NotLabelled
        When there is no such table yet.
    """
    _require_labels(settings, concept, name)
    with warehouse_engine(settings).connect() as connection:
        columns = sa.inspect(connection).get_columns(f"{concept}__{name}", SCHEMA)
    return [column["name"] for column in columns]


def _require_labels(settings: Settings, concept: str, name: str) -> None:
    if not has_labels(settings, concept, name):
        raise NotLabelled(
            f"{concept}.{name} has no labels yet.",
            "Either the label model has not been materialised, or it does not exist: "
            "`tippers definitions list` shows all label models.",
        )


def has_labels(settings: Settings, concept: str, name: str) -> bool:
    """Whether a label model's table exists."""
    with warehouse_engine(settings).connect() as connection:
        return sa.inspect(connection).has_table(f"{concept}__{name}", SCHEMA)


def labels_of(columns: Sequence[str]) -> list[str]:
    """The labels in the order of their class numbers, from the columns of a table of labels."""
    return [column[2:].upper() for column in columns[1:] if column.startswith("p_")]


def read_parameters(settings: Settings, concept: str, name: str) -> Fitted:
    """The trained label model that gave the labels.

    Raises
    ------
    LakeFileMissing
        When it is not in the lake.
    """
    return read_trained(settings, concept, name)[1]


def read_trained(settings: Settings, concept: str, name: str) -> tuple[str, Fitted]:
    """The version of a label model's asset, and the trained label model."""
    data = json.loads(open_lake(settings).read_bytes(parameters_key(concept, name)))
    return data["version"], Fitted.from_json(data)
