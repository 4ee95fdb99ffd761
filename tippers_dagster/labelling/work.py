"""Computes the votes of labelling functions and the labels of label models.

Rules, votes and indexes are read from the lake, where a MAC address is a device id; only the
entities of a label model's index are read from the warehouse, because labels have their keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from tippers_dagster.campus.identities import lake_name, pseudonymise
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.handwritten import project_source
from tippers_dagster.catalog.kinds import LabellingFunction, LabelModel
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.errors import TippersError
from tippers_dagster.labelling.analysis import (
    ABSTAIN,
    Analysis,
    analyse,
    find_patterns,
)
from tippers_dagster.labelling.evaluate import Evaluation, numbers
from tippers_dagster.labelling.expressions.values import Columns
from tippers_dagster.labelling.git_functions import (
    content_hash,
    git_function_path,
    load_git_function,
)
from tippers_dagster.labelling.gold import evaluate_rows, gold_numbers, read_gold
from tippers_dagster.labelling.label_model import (
    Fitted,
    NoLabels,
    Prediction,
    Training,
    fit_label_model,
)
from tippers_dagster.labelling.labels import LabelTable, label_rows
from tippers_dagster.labelling.program import Voter, VoteResult, compile_function
from tippers_dagster.labelling.votes import vote_matrix
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key
from tippers_dagster.platform.warehouse.engine import read_arrow, warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.columns import table_columns
from tippers_dagster.sql.replacing import check_keys

VERSION = 1
"""Raise it when the same rules and votes would give other votes or labels."""

VOTE = "vote"
"""The column of votes: class numbers in the order of the concept's labels, -1 to abstain."""

_PLAIN_KEYS = ("smallint", "integer", "bigint", "text", "date")
"""Key types that the lake keeps; others are text there."""


# --- votes --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Votes:
    """The votes of one labelling function on the rows of its rule.

    ``by_label``: votes per label of the concept. ``nulls``, ``errors``: rows on which it abstains
    because of these. ``example``: of such a row.
    """

    rows: int
    labels: tuple[str, ...]
    by_label: tuple[int, ...]
    nulls: int
    errors: int
    example: str | None

    @property
    def voted(self) -> int:
        """Number of rows with a vote."""
        return sum(self.by_label)

    @property
    def coverage(self) -> float:
        """Share of the rule's rows with a vote."""
        return self.voted / max(1, self.rows)


def read_rule(settings: Settings, rule: Ref) -> pa.Table:
    """The rows of a rule, from the lake."""
    return open_lake(settings).read_table(definition_key("rules", rule.concept, rule.name))


def write_votes(
    settings: Settings,
    catalog: Catalog,
    function: Definition,
    rows: Columns,
    before_writing: Callable[[], None] = lambda: None,
) -> Votes:
    """Compute the votes of a labelling function on its rule's rows, and write them to the lake.

    Parameters
    ----------
    rows
        Can be shared by all functions of the rule.
    before_writing
        Called before earlier votes are replaced.

    Raises
    ------
    TippersError
        When the function cannot be compiled for these columns, or fails on every row.
    """
    labels = catalog.labels(function.ref.concept)
    key = lake_name(catalog.key_column(function.ref))
    result = cast_votes(settings, catalog, function, rows)
    votes = pa.table({key: rows.table[key], VOTE: pa.array(result.votes, pa.int8())})
    place = definition_key("votes", function.ref.concept, function.ref.name)
    before_writing()
    open_lake(settings).write_table(place, votes)
    counts = np.bincount(result.votes[result.votes >= 0], minlength=len(labels))
    return Votes(
        rows=len(rows),
        labels=labels,
        by_label=tuple(counts.tolist()),
        nulls=result.nulls,
        errors=result.errors,
        example=result.example,
    )


def cast_votes(
    settings: Settings, catalog: Catalog, function: Definition, rows: Columns
) -> VoteResult:
    """The votes of a labelling function on its rule's rows, as class numbers of the concept."""
    labels = catalog.labels(function.ref.concept)
    return _voter(settings, function, rows.types, labels).vote(rows)


def _voter(
    settings: Settings,
    function: Definition,
    columns: Mapping[str, pa.DataType],
    labels: Sequence[str],
) -> Voter:
    body = function.body
    assert isinstance(body, LabellingFunction)
    if body.function is None:
        return compile_function(body, columns=columns, values=labels)
    return load_git_function(_git_file(settings, function.ref), body, labels)


def function_content(settings: Settings, function: Definition) -> str:
    """The content of a labelling function for its version, including a Python file in git.

    Raises
    ------
    BadInput
        When that file is missing.
    """
    body = function.body
    assert isinstance(body, LabellingFunction)
    text = body.model_dump_json()
    if body.function is None:
        return text
    return f"{text} {content_hash(_git_file(settings, function.ref))}"


def _git_file(settings: Settings, ref: Ref) -> Path:
    return git_function_path(project_source(settings), ref.concept, ref.name)


# --- labels -------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Labelled:
    """The result of a label model.

    ``rows``: those of the table of labels; ``patterns``: the number of different vote patterns.
    """

    table: LabelTable
    rows: pa.Table
    fitted: Fitted
    prediction: Prediction
    analysis: Analysis
    evaluation: Evaluation
    patterns: int


def label_entities(
    settings: Settings, catalog: Catalog, ref: Ref, version: str, run_id: str
) -> Labelled:
    """Train a label model on the votes in the lake, and label every entity of its index.

    Nothing is written.

    Raises
    ------
    NoLabels
        When the votes do not allow it.
    BadInput
        When the index does not have one row per entity, or there are votes on other entities.
    LakeFileMissing
        When a labelling function has no votes yet.
    """
    lake = open_lake(settings)
    places = [definition_key("votes", f.concept, f.name) for f in functions_of(catalog, ref)]
    keys, key_type = read_entities(settings, catalog, ref)
    tables = [lake.read_table(place) for place in places]
    key = lake_name(catalog.key_column(ref))
    votes = [(table[key], table[VOTE].to_numpy()) for table in tables]
    return label_from_votes(settings, catalog, ref, (keys, key_type), votes, (version, run_id))


def functions_of(catalog: Catalog, ref: Ref) -> list[Ref]:
    """The labelling functions of a label model, in order."""
    body = catalog.definitions[ref].body
    assert isinstance(body, LabelModel)
    return [catalog.resolve(name, ref.concept).ref for name in body.labelling_functions]


def label_from_votes(
    settings: Settings,
    catalog: Catalog,
    ref: Ref,
    entities: tuple[pa.Array, str],
    votes: Sequence[tuple[pa.ChunkedArray, np.ndarray]],
    made_by: tuple[str, str],
) -> Labelled:
    """The same from votes: for each function, pseudonyms of entities and class numbers of labels.

    Parameters
    ----------
    entities
        Keys, and their SQL type.
    made_by
        Version and run id.

    Raises
    ------
    NoLabels, BadInput
        As for ``label_entities``.
    """
    body = catalog.definitions[ref].body
    assert isinstance(body, LabelModel)
    labels = catalog.model_labels(ref)
    functions = functions_of(catalog, ref)
    keys, key_type = entities
    matrix = _matrix(settings, catalog, ref, keys, votes, labels)
    patterns = find_patterns(matrix)
    gold = gold_numbers(settings, ref.concept, keys, labels)
    names = tuple(function.name for function in functions)
    fitted = fit_label_model(patterns, labels, names, _training(settings, body, labels, gold))
    prediction = fitted.predict(patterns)
    key = catalog.key_column(ref)
    table = LabelTable(ref.concept, ref.name, key, key_type, labels, names)
    rows = label_rows(table, keys, prediction, matrix, *made_by)
    return Labelled(
        table=table,
        rows=rows,
        fitted=fitted,
        prediction=prediction,
        analysis=analyse(patterns, names, labels, gold=gold, weights=fitted.weights),
        evaluation=evaluate_rows(rows, read_gold(settings, ref.concept)),
        patterns=len(patterns.counts),
    )


def read_entities(settings: Settings, catalog: Catalog, ref: Ref) -> tuple[pa.Array, str]:
    """The keys of a label model's index in the warehouse, and their SQL type.

    Raises
    ------
    TippersError
        When the index was never materialised.
    NoLabels
        When it is empty.
    BadInput
        When a key is missing or occurs twice.
    """
    index = catalog.index_of(ref)
    assert index is not None
    key = catalog.key_column(ref)
    with warehouse_engine(settings).connect() as connection:
        columns = table_columns(connection, "indexes", index.model_name)
    types = {column.name: column.type for column in columns}
    if key not in types:
        raise TippersError(f"The index {index} has not been computed yet.", "Materialise it first.")
    cast = "" if types[key] in _PLAIN_KEYS else "::text"
    rows = read_arrow(settings, f'SELECT "{key}"{cast} FROM indexes."{index.model_name}"')
    return plain_keys(rows[0], types[key], index), types[key]


def plain_keys(keys: pa.ChunkedArray, kind: str, index: Ref) -> pa.Array:
    """The keys of an index in a type that the lake keeps; ``kind``: their SQL type.

    Raises
    ------
    NoLabels
        There are none.
    BadInput
        One is missing or occurs twice.
    """
    check_keys(keys, f"index {index}")
    if not len(keys):
        raise NoLabels(
            f"There is nothing to label: the index {index} is empty.",
            "Check its query; for a derived index, check the labels that it is derived from.",
        )
    found = keys.combine_chunks()
    return found if kind in _PLAIN_KEYS else found.cast(pa.string())


def _matrix(
    settings: Settings,
    catalog: Catalog,
    ref: Ref,
    keys: pa.Array,
    votes: Sequence[tuple[pa.ChunkedArray, np.ndarray]],
    labels: Sequence[str],
) -> np.ndarray:
    """int8 [entities, functions]: votes in the label model's class numbers."""
    key = catalog.key_column(ref)
    entities = pseudonymise(settings, pa.table({key: keys})).column(0)
    renumbered = numbers(labels, [*catalog.labels(ref.concept), None])  # -1 is the last
    return renumbered[vote_matrix(entities, votes)]


def _training(
    settings: Settings, body: LabelModel, labels: Sequence[str], gold: np.ndarray
) -> Training:
    balance: tuple[float, ...] | None = None
    if body.class_balance == "gold":
        balance = _gold_balance(labels, gold)
    elif body.class_balance is not None:
        balance = tuple(body.class_balance.get(label, 0.0) for label in labels)
    return Training(
        epochs=body.epochs,
        learning_rate=body.learning_rate,
        l2=body.l2,
        seed=body.seed,
        class_balance=balance,
        threads=settings.threads,
    )


def _gold_balance(labels: Sequence[str], gold: np.ndarray) -> tuple[float, ...]:
    counts = np.bincount(gold[gold != ABSTAIN], minlength=len(labels))
    missing = [label for label, count in zip(labels, counts, strict=True) if not count]
    if missing:
        raise NoLabels(
            "The class balance should come from the gold labels, but no entity of the index has "
            f"the gold label {' or '.join(missing)}.",
            "Import more gold labels (`tippers gold import FILE`), or set the class balance in the "
            "label model.",
        )
    return tuple((counts / counts.sum()).tolist())
