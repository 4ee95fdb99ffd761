"""The labels of a label model: in the warehouse with the entities' keys, in the lake without.

One row per entity of the index. ``outcome`` tells an abstention (no function voted: nothing is
known, probabilities and confidence are null) from a tie.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import psycopg2.errors
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tippers_dagster.errors import BadInput, TippersError
from tippers_dagster.labelling.label_model import (
    LABEL,
    NO_VOTE,
    OUTCOMES,
    Fitted,
    Prediction,
)
from tippers_dagster.lake import open_lake
from tippers_dagster.lake.keys import definition_key
from tippers_dagster.lake.pseudonyms import pseudonymise
from tippers_dagster.settings import Settings
from tippers_dagster.warehouse.engine import copy_rows, read_arrow, warehouse_engine

SCHEMA = "labels"


class NotLabelled(TippersError):
    """A label model that has not been materialised, or does not know an entity."""


@dataclass(frozen=True)
class LabelTable:
    """The table of one label model.

    Parameters
    ----------
    concept, name
        Of the label model.
    key, key_type
        The key column, and its type in SQL.
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
        """One per label."""
        return [f"p_{label.lower()}" for label in self.labels]

    @property
    def vote_columns(self) -> list[str]:
        """One per labelling function."""
        return [f"vote_{function}" for function in self.functions]

    def column_type(self, column: str) -> str:
        """The type in SQL of a column."""
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
        When the index's key has the name of a column of ours.
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
            f"The key column {table.key} has the name of a column of the labels.",
            "Give the key another name in the index's query.",
        )
    return pa.table({table.key: keys, **columns})


def _named(labels: pa.Array, numbers: np.ndarray) -> pa.Array:
    return labels.take(pa.array(numbers.astype(np.int8), mask=numbers < 0))


# --- writing ------------------------------------------------------------------------------------
def write_labels(settings: Settings, table: LabelTable, rows: pa.Table, fitted: Fitted) -> None:
    """Replace the labels of a label model, in the lake and in the warehouse.

    The warehouse's table changes in one transaction; views that read it stay as they are.

    Raises
    ------
    BadInput
        When a key is missing or occurs twice.
    TippersError
        When a view reads a column that is gone.
    """
    check_keys(rows[table.key], f"index of {table.concept}.{table.name}")
    lake = open_lake(settings)
    lake.write_table(
        definition_key(SCHEMA, table.concept, table.name), pseudonymise(settings, rows)
    )
    parameters = {"version": rows["version"][0].as_py(), **fitted.to_json()}
    lake.write_bytes(parameters_key(table.concept, table.name), json.dumps(parameters).encode())
    with warehouse_engine(settings).begin() as connection:
        _replace(connection, table, rows)


def check_keys(keys: pa.ChunkedArray, what: str) -> None:
    """Every entity has one key of its own.

    Raises
    ------
    BadInput
        With an example.
    """
    if keys.null_count:
        raise BadInput(
            f"The {what} has {keys.null_count:,} rows without a key.",
            "Leave them out in the index's query.",
        )
    if pc.count_distinct(keys).as_py() < len(keys):
        counts = pc.value_counts(keys)
        twice = counts.filter(pc.greater(counts.field("counts"), 1))
        raise BadInput(
            f"The {what} has {len(twice):,} keys more than once, for example {twice[0]['values']}.",
            "An index has one row per entity: use DISTINCT or GROUP BY in its query.",
        )


def parameters_key(concept: str, name: str) -> str:
    """Where the lake keeps the parameters of a trained label model."""
    return definition_key(SCHEMA, concept, name).replace("data.parquet", "model.json")


def _replace(connection: sa.Connection, table: LabelTable, rows: pa.Table) -> None:
    quote = connection.dialect.identifier_preparer.quote_identifier
    target = f"{SCHEMA}.{quote(table.model_name)}"
    connection.execute(
        sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": target}
    )
    connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    wanted = {name: table.column_type(name) for name in rows.schema.names}
    body = ", ".join(f"{quote(name)} {kind}" for name, kind in wanted.items())
    connection.execute(sa.text(f"CREATE TEMP TABLE staged_labels ({body}) ON COMMIT DROP"))
    copy_rows(connection, "staged_labels", rows)
    _match_columns(connection, table, target, wanted)
    names = ", ".join(quote(name) for name in wanted)
    connection.execute(sa.text(f"TRUNCATE {target}"))
    connection.execute(sa.text(f"INSERT INTO {target} ({names}) SELECT {names} FROM staged_labels"))
    connection.execute(sa.text(f"ANALYZE {target}"))
    _describe(connection, table, target)
    _grant(connection, target)


def _match_columns(
    connection: sa.Connection, table: LabelTable, target: str, wanted: dict[str, str]
) -> None:
    """Make the table, or change its columns, so that it has those that are wanted."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    query = sa.text(
        "SELECT attname, format_type(atttypid, NULL) AS type FROM pg_attribute "
        "WHERE attrelid = to_regclass(:t) AND attnum > 0 AND NOT attisdropped"
    )
    found = {row.attname: row.type for row in connection.execute(query, {"t": target})}
    changes = [
        *(f"DROP COLUMN {quote(c)}" for c, kind in found.items() if wanted.get(c) != kind),
        *(f"ADD COLUMN {quote(c)} {kind}" for c, kind in wanted.items() if found.get(c) != kind),
    ]
    key = quote(table.key)
    if not found:
        body = ", ".join(f"{quote(name)} {kind}" for name, kind in wanted.items())
        connection.execute(sa.text(f"CREATE TABLE {target} ({body}, PRIMARY KEY ({key}))"))
    elif changes:
        if found.get(table.key) != wanted[table.key]:
            changes.append(f"ADD PRIMARY KEY ({key})")
        connection.execute(sa.text(f"TRUNCATE {target}"))
        with _naming_dependents(table):
            connection.execute(sa.text(f"ALTER TABLE {target} {', '.join(changes)}"))


@contextmanager
def _naming_dependents(table: LabelTable) -> Iterator[None]:
    try:
        yield
    except sa.exc.DBAPIError as error:
        if not isinstance(error.orig, psycopg2.errors.DependentObjectsStillExist):
            raise
        raise TippersError(
            f"The columns of {SCHEMA}.{table.model_name} changed, and cannot while they are "
            f"read: {error.orig.diag.message_detail}",
            "Drop the views that are named here, and make them again after.",
        ) from None


def _describe(connection: sa.Connection, table: LabelTable, target: str) -> None:
    """Say in the database what the numbers of the votes mean."""
    meaning = ", ".join(
        ["-1 abstain", *(f"{number} {label}" for number, label in enumerate(table.labels))]
    )
    quote = connection.dialect.identifier_preparer.quote_identifier
    text = f"one row per entity: labels of {table.concept}.{table.name}; votes: {meaning}"
    connection.execute(sa.text(f"COMMENT ON TABLE {target} IS '{text}'"))
    for column in table.vote_columns:
        connection.execute(sa.text(f"COMMENT ON COLUMN {target}.{quote(column)} IS '{meaning}'"))


def _grant(connection: sa.Connection, target: str) -> None:
    """Previews and people may read it, where there is a role for them."""
    from tippers_dagster.sql.roles import ROLE

    if connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :r"), {"r": ROLE}):
        connection.execute(sa.text(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {ROLE}"))
        connection.execute(sa.text(f"GRANT SELECT ON {target} TO {ROLE}"))


# --- reading ------------------------------------------------------------------------------------
def read_labels(settings: Settings, concept: str, name: str) -> pa.Table:
    """All rows of a label model's table, as they are in the warehouse.

    Raises
    ------
    NotLabelled
        When there are none yet.
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
            "It is a label model that has not been materialised, or no label model at all: "
            "`tippers definitions list` shows which there are.",
        )


def has_labels(settings: Settings, concept: str, name: str) -> bool:
    """Whether there is a table of a label model's labels."""
    with warehouse_engine(settings).connect() as connection:
        return sa.inspect(connection).has_table(f"{concept}__{name}", SCHEMA)


def labels_of(columns: Sequence[str]) -> list[str]:
    """The labels in the order of their class numbers, from the columns of a table of labels."""
    return [column[2:].upper() for column in columns[1:] if column.startswith("p_")]


def read_parameters(settings: Settings, concept: str, name: str) -> Fitted:
    """The trained label model behind the labels.

    Raises
    ------
    LakeFileMissing
        When the lake does not have it.
    """
    return read_trained(settings, concept, name)[1]


def read_trained(settings: Settings, concept: str, name: str) -> tuple[str, Fitted]:
    """The version of a label model's asset, and the trained label model."""
    data = json.loads(open_lake(settings).read_bytes(parameters_key(concept, name)))
    return data["version"], Fitted.from_json(data)
