"""Explains an entity's label: each function's vote, the row behind it, and its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from tippers_dagster.campus.devices import same_form_of
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind, LabelModel
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.analysis import ABSTAIN
from tippers_dagster.labelling.labels import (
    SCHEMA,
    NotLabelled,
    has_labels,
    labels_of,
    read_trained,
)
from tippers_dagster.labelling.tables import gold_label
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.columns import table_columns


@dataclass(frozen=True)
class FunctionVote:
    """The vote of one labelling function on an entity.

    Parameters
    ----------
    vote
        The label; None if it abstained.
    weight
        The estimated accuracy of its votes; None if it never voted.
    evidence
        What the vote adds to each label's log-probability; empty for an abstention.
    row
        The rule's current row; None if the rule has none for the entity.
    """

    name: str
    description: str
    rule: str
    vote: str | None
    weight: float | None
    evidence: Mapping[str, float]
    row: Mapping[str, Any] | None


@dataclass(frozen=True)
class Explanation:
    """Explains an entity's label.

    ``label`` is None for an abstention or a tie, which ``outcome`` distinguishes; then
    probabilities may be None too. ``class_balance``: the model's prior, before any vote.
    """

    label_model: str
    entity: str
    label: str | None
    outcome: str
    confidence: float | None
    probabilities: Mapping[str, float | None]
    majority_label: str | None
    gold_label: str | None
    class_balance: Mapping[str, float]
    version: str
    votes: tuple[FunctionVote, ...]


def explain(settings: Settings, catalog: Catalog, label_model: str, entity: str) -> Explanation:
    """Explain the label of ``entity`` (a key) from ``label_model`` (``concept.name``).

    A device's address may be spelled in any way.

    Raises
    ------
    BadInput
        There is no such label model.
    NotLabelled
        It has no labels yet, or none for the entity.
    """
    ref = find_label_model(catalog, label_model)
    row = _label_row(settings, ref, entity)
    version, fitted = read_trained(settings, ref.concept, ref.name)
    if version != row["version"]:
        raise NotLabelled(f"{ref} is being computed at the moment.", "Try again in a moment.")
    labels = labels_of(list(row))
    given = np.array([row[f"vote_{name}"] for name in fitted.functions], np.int8)
    evidence = fitted.evidence(given)
    votes = tuple(
        FunctionVote(
            **_function(settings, catalog, ref.concept, name, entity),
            vote=None if vote == ABSTAIN else labels[vote],
            weight=None if np.isnan(weight) else float(weight),
            evidence={} if vote == ABSTAIN else dict(zip(labels, adds, strict=True)),
        )
        for name, vote, weight, adds in zip(
            fitted.functions, given.tolist(), fitted.weights, evidence.tolist(), strict=True
        )
    )
    return Explanation(
        label_model=str(ref),
        entity=str(next(iter(row.values()))),
        label=row["label"],
        outcome=row["outcome"],
        confidence=row["confidence"],
        probabilities={label: row[f"p_{label.lower()}"] for label in labels},
        majority_label=row["majority_label"],
        gold_label=_gold(settings, ref.concept, entity),
        class_balance=dict(zip(labels, fitted.class_balance.tolist(), strict=True)),
        version=version,
        votes=votes,
    )


def find_label_model(catalog: Catalog, written: str) -> Ref:
    """The label model that ``concept.name`` refers to.

    Raises
    ------
    BadInput
        There is no label model of this name.
    """
    concept, dot, _ = written.partition(".")
    if not dot:
        raise BadInput(f"{written!r} names no concept.", "Write CONCEPT.LABEL_MODEL.")
    found = catalog.resolve(written, concept)
    if not isinstance(found.body, LabelModel):
        names = ", ".join(str(d.ref) for d in catalog.of_kind(Kind.LABEL_MODEL)) or "none yet"
        raise BadInput(f"{written} is not a label model.", f"Label models: {names}.")
    return found.ref


def _label_row(settings: Settings, ref: Ref, entity: str) -> Mapping[str, Any]:
    row = None
    if has_labels(settings, ref.concept, ref.name):
        row = _row(settings, SCHEMA, ref.model_name, None, entity)
    if row is None:
        raise NotLabelled(
            f"{ref} has no label for {entity}.",
            "Either the label model has not been materialised, or its index does not contain "
            "this key (keys are case-sensitive).",
        )
    return row


def _function(
    settings: Settings, catalog: Catalog, concept: str, name: str, entity: str
) -> dict[str, Any]:
    """Name, description and rule of a labelling function, and the rule's row."""
    function = catalog.get(concept, name)
    rule = catalog.dependencies(function.ref)[0]
    key = catalog.key_column(rule)
    return {
        "name": name,
        "description": function.description,
        "rule": str(rule),
        "row": _row(settings, "rules", rule.model_name, key, entity),
    }


def _row(
    settings: Settings, schema: str, name: str, key: str | None, entity: str
) -> Mapping[str, Any] | None:
    """The row of an entity in a table; ``key``: the key column, by default the first one."""
    engine = warehouse_engine(settings)
    with engine.connect() as connection:
        columns = table_columns(connection, schema, name)
        if not columns:
            return None
        column = next((c for c in columns if key in (None, c.name)), columns[0])
        query = sa.text(
            f'SELECT * FROM {schema}."{name}" '
            f'WHERE "{column.name}" IN '
            f"(CAST(:entity AS {column.type}), CAST(:same AS {column.type})) LIMIT 1"
        )
        keys = {"entity": entity, "same": same_form_of(entity)}
        try:
            found = connection.execute(query, keys).mappings().first()
        except sa.exc.DataError:  # a key of another type
            return None
    return None if found is None else dict(found)


def _gold(settings: Settings, concept: str, entity: str) -> str | None:
    query = sa.select(gold_label.c.label).where(
        gold_label.c.concept == concept, gold_label.c.entity == same_form_of(entity)
    )
    with warehouse_engine(settings).connect() as connection:
        return connection.scalar(query)
