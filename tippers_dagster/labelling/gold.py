"""Gold labels: known labels of entities, and the scores of label models on them over time.

Device addresses are stored and compared in one form, however they are spelled.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.campus.devices import same_form, same_form_of
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.analysis import ABSTAIN
from tippers_dagster.labelling.evaluate import Evaluation, evaluate, numbers
from tippers_dagster.labelling.labels import has_labels, labels_of, read_labels
from tippers_dagster.labelling.tables import gold_label, label_model_score
from tippers_dagster.platform.small_tables import column_names, read_table
from tippers_dagster.platform.warehouse.engine import upsert, warehouse_engine
from tippers_dagster.settings import Settings

KEY_COLUMNS = ("key", "entity", "mac_address")
"""Accepted names of the key column in a file; the first that is present is used."""


@dataclass(frozen=True)
class Imported:
    """The result of an import for one concept: entities in the file, new ones, changed ones."""

    concept: str
    rows: int
    new: int
    changed: int


# --- the labels ---------------------------------------------------------------------------------
def import_gold(
    settings: Settings,
    file: Path,
    labels: Mapping[str, Sequence[str]],
    *,
    by: str,
    concept: str | None = None,
) -> list[Imported]:
    """Import gold labels from a CSV or Parquet file with columns ``key`` and ``label``.

    Replaces the labels of entities that already have one. Imports all rows or none.

    Parameters
    ----------
    labels
        The labels of every concept.
    by
        The author of the labels.
    concept
        The concept of all labels; if None, the file needs a column ``concept``.

    Raises
    ------
    BadInput
        Names the row or label that cannot be used.
    """
    given = _checked(_read(file, concept), file, labels)
    now = pa.scalar(dt.datetime.now(dt.UTC))
    rows = given.append_column("labelled_by", pa.repeat(by, len(given)))
    rows = rows.append_column("labelled_at", pa.repeat(now, len(given)))
    concepts = pc.unique(given["concept"]).to_pylist()
    imported = [
        _compared(settings, name, given.filter(pc.equal(given["concept"], name)))
        for name in concepts
    ]
    with warehouse_engine(settings).begin() as connection:
        upsert(connection, gold_label, rows)
    return imported


def _compared(settings: Settings, concept: str, given: pa.Table) -> Imported:
    """What an import would change."""
    before = read_gold(settings, concept).select(["entity", "label"])
    both = given.join(before, "entity", right_suffix="_before")
    known = both["label_before"].is_valid()
    differing = pc.and_(known, pc.not_equal(both["label"], both["label_before"]))
    return Imported(
        concept=concept,
        rows=len(given),
        new=len(given) - int(pc.sum(known).as_py()),
        changed=int(pc.sum(differing).as_py() or 0),
    )


def read_gold(settings: Settings, concept: str) -> pa.Table:
    """Columns entity, label, labelled_by and labelled_at, ordered by entity."""
    query = (
        sa.select(
            gold_label.c.entity,
            gold_label.c.label,
            gold_label.c.labelled_by,
            gold_label.c.labelled_at,
        )
        .where(gold_label.c.concept == concept)
        .order_by(gold_label.c.entity)
    )
    schema = pa.schema(
        {
            "entity": pa.string(),
            "label": pa.string(),
            "labelled_by": pa.string(),
            "labelled_at": pa.timestamp("us", "UTC"),
        }
    )
    with warehouse_engine(settings).connect() as connection:
        found = connection.execute(query).mappings().all()
    return pa.Table.from_pylist([dict(row) for row in found], schema)


def count_gold(settings: Settings) -> list[tuple[str, str, int]]:
    """Concept, label and the number of entities with that gold label."""
    query = (
        sa.select(gold_label.c.concept, gold_label.c.label, sa.func.count())
        .group_by(gold_label.c.concept, gold_label.c.label)
        .order_by(gold_label.c.concept, gold_label.c.label)
    )
    with warehouse_engine(settings).connect() as connection:
        return [(concept, label, count) for concept, label, count in connection.execute(query)]


def give(settings: Settings, concept: str, entity: str, label: str, *, by: str) -> None:
    """Set the gold label of one entity, replacing an earlier one."""
    key = same_form_of(entity)
    values = {"concept": concept, "entity": key, "label": label, "labelled_by": by}
    when = {"labelled_at": dt.datetime.now(dt.UTC)}
    statement = insert(gold_label).values(**values, **when)
    changed = {name: statement.excluded[name] for name in ("label", "labelled_by", "labelled_at")}
    with warehouse_engine(settings).begin() as connection:
        connection.execute(
            statement.on_conflict_do_update(index_elements=["concept", "entity"], set_=changed)
        )


def delete_gold(settings: Settings, concept: str, entities: Sequence[str] | None = None) -> int:
    """Remove the gold labels of a concept, or of some of its entities; returns the number."""
    query = sa.delete(gold_label).where(gold_label.c.concept == concept)
    if entities is not None:
        query = query.where(gold_label.c.entity.in_([same_form_of(key) for key in entities]))
    with warehouse_engine(settings).begin() as connection:
        return connection.execute(query).rowcount


def gold_numbers(
    settings: Settings, concept: str, keys: pa.Array | pa.ChunkedArray, labels: Sequence[str]
) -> np.ndarray:
    """int8 [n]: the class numbers of entities' gold labels, -1 if there is none."""
    return _truth(keys, read_gold(settings, concept), labels)


def _read(file: Path, concept: str | None) -> pa.Table:
    """Columns concept, entity and label, as text."""
    text = dict.fromkeys((*KEY_COLUMNS, "label", "concept"), pa.string())
    table = read_table(file, file, text, only_empty_is_null=True)
    key = next((name for name in KEY_COLUMNS if name in table.column_names), None)
    if key is None or "label" not in table.column_names:
        raise BadInput(
            f"The columns of {file} are {column_names(table.column_names)}.",
            f"It needs a column label, and a key column named {' or '.join(KEY_COLUMNS)}.",
        )
    if concept is None and "concept" not in table.column_names:
        raise BadInput(
            f"{file} has no column concept.",
            "Add one, or name the concept of all labels with --concept.",
        )
    whose = table["concept"] if concept is None else pa.repeat(concept, len(table))
    columns = {"concept": whose, "entity": table[key], "label": table["label"]}
    texts = {name: _texts(column, name, file) for name, column in columns.items()}
    return pa.table({**texts, "entity": same_form(texts["entity"])})


def _texts(column: pa.Array | pa.ChunkedArray, name: str, file: Path) -> pa.Array | pa.ChunkedArray:
    """Text that PostgreSQL can store."""
    try:
        texts = column.cast(pa.string())
        texts.validate(full=True)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: the column {name} is not text: {error}") from None
    bad = pc.index(pc.match_substring(texts, "\0"), True).as_py()
    if bad >= 0:
        raise BadInput(f"{file}: row {bad + 1} has a NUL in its {name}.", "Fix the row.")
    return texts


def _checked(given: pa.Table, file: Path, labels: Mapping[str, Sequence[str]]) -> pa.Table:
    """Check that each entity of a concept occurs once, with a label of the concept."""
    for name in ("concept", "entity", "label"):
        if given[name].null_count:
            row = pc.index(given[name].is_null(), True).as_py() + 1
            what = "key" if name == "entity" else name
            raise BadInput(f"{file}: row {row} has no {what}.", "Complete the row.")
    distinct = given.group_by(["concept", "label"]).aggregate([]).to_pylist()
    for pair in distinct:
        concept, label = pair["concept"], pair["label"]
        if concept not in labels:
            raise BadInput(f"There is no concept {concept}.", f"The concepts: {', '.join(labels)}.")
        if label not in labels[concept]:
            raise BadInput(
                f"{file}: {label!r} is not a label of {concept}.",
                f"Its labels: {', '.join(labels[concept])}.",
            )
    once = given.group_by(["concept", "entity", "label"], use_threads=False).aggregate([])
    counts = once.group_by(["concept", "entity"]).aggregate([([], "count_all")])
    conflicting = counts.filter(pc.greater(counts["count_all"], 1))
    if len(conflicting):
        raise BadInput(
            f"{file} has more than one label for some entities ({len(conflicting):,}), for example "
            f"{conflicting['entity'][0]}.",
            "Keep one label per entity.",
        )
    return once


# --- scores of label models ---------------------------------------------------------------------
def evaluate_labels(
    settings: Settings, concept: str, label_model: str, truth: pa.Table | None = None
) -> Evaluation:
    """Compare the labels in the warehouse with the truth.

    Entities without labels are not counted, nor those whose true label is not one of the label
    model's: they should not be in its index.

    Parameters
    ----------
    truth
        Columns entity (the key as text) and label; None: the gold labels.

    Raises
    ------
    NotLabelled
        When the label model was never materialised.
    """
    given = read_gold(settings, concept) if truth is None else truth
    return evaluate_rows(read_labels(settings, concept, label_model), given)


def evaluate_rows(rows: pa.Table, truth: pa.Table) -> Evaluation:
    """Compare rows of a table of labels with ``truth``, as :func:`evaluate_labels` does."""
    labels = labels_of(rows.column_names)
    return evaluate(
        labels,
        _truth(rows[0], truth, labels),
        numbers(labels, rows["label"].to_pylist()),
        numbers(labels, rows["majority_label"].to_pylist()),
        rows["confidence"].to_numpy().astype(float),
    )


def _truth(keys: pa.Array | pa.ChunkedArray, truth: pa.Table, labels: Sequence[str]) -> np.ndarray:
    """int8 [n]: class numbers of the entities' true labels, -1 if unknown."""
    place = pc.index_in(same_form(keys), value_set=same_form(truth["entity"])).fill_null(-1)
    known = np.append(numbers(labels, truth["label"].to_pylist()), np.int8(ABSTAIN))
    return known[np.asarray(place)]


def record_score(
    settings: Settings,
    concept: str,
    label_model: str,
    version: str,
    run_id: str,
    evaluation: Evaluation,
) -> None:
    """Store the score of a label model's version; nothing if no entity has a gold label."""
    if not evaluation.entities:
        return
    values = {
        "concept": concept,
        "label_model": label_model,
        "version": version,
        "scored_at": dt.datetime.now(dt.UTC),
        "run_id": run_id,
        "entities": evaluation.entities,
        "accuracy": evaluation.model.accuracy,
        "macro_f1": evaluation.model.macro_f1,
        "majority_accuracy": evaluation.majority_vote.accuracy,
        "calibration_error": _error(evaluation),
        "details": evaluation.to_json(),
    }
    with warehouse_engine(settings).begin() as connection:
        connection.execute(insert(label_model_score).values(values))


def rescore(settings: Settings, concept: str, label_models: Sequence[str]) -> dict[str, float]:
    """Score the current labels with the current gold labels; returns accuracy by label model.

    Leaves out label models without labels, and those without any entity with a gold label.
    """
    found: dict[str, float] = {}
    gold = read_gold(settings, concept)
    for name in label_models:
        if not has_labels(settings, concept, name):
            continue
        rows = read_labels(settings, concept, name)
        evaluation = evaluate_rows(rows, gold)
        if evaluation.entities:
            version, run_id = rows["version"][0].as_py(), rows["run_id"][0].as_py()
            record_score(settings, concept, name, version, run_id, evaluation)
            found[name] = evaluation.model.accuracy
    return found


def scores(settings: Settings, concept: str, label_model: str) -> list[sa.RowMapping]:
    """All scores of a label model, newest first: the columns of ``label_model_score``."""
    query = (
        sa.select(label_model_score)
        .where(
            label_model_score.c.concept == concept,
            label_model_score.c.label_model == label_model,
        )
        .order_by(label_model_score.c.scored_at.desc())
    )
    with warehouse_engine(settings).connect() as connection:
        return list(connection.execute(query).mappings())


def _error(evaluation: Evaluation) -> float:
    """0 if no entity with a gold label has a label: nothing was predicted."""
    error = evaluation.calibration_error
    return 0.0 if np.isnan(error) else error
