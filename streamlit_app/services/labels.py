"""Label models: their results, gold labels, and why an entity has its label."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import sqlalchemy as sa

from streamlit_app.services.app import App
from tippers_dagster.access.model import Role
from tippers_dagster.campus.devices import same_form_of
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.catalog.window import Read
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.earlier_labels import ABSENT, Past, moved_labels, read_earlier_labels
from tippers_dagster.labelling.explanations import explain as explain_label
from tippers_dagster.labelling.gold import delete_gold, evaluate_labels, give, scores
from tippers_dagster.labelling.labels import SCHEMA, NotLabelled, has_labels, read_labels
from tippers_dagster.platform.table_files import Format, table_bytes
from tippers_dagster.platform.text import shown
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.sql.compose import quoted

if TYPE_CHECKING:
    from tippers_dagster.automation.state import AssetState
    from tippers_dagster.labelling.evaluate import Evaluation
    from tippers_dagster.labelling.explanations import Explanation

BINS = 20
"""Number of bins of the confidence histogram, from 0 to 1."""

_NO_LABEL = ("abstain", "tie")


@dataclass(frozen=True)
class Summary:
    """The latest results of a label model.

    Attributes
    ----------
    classes
        Entities per label, abstentions and ties included.
    coverage
        Share of entities with at least one vote.
    functions
        One record per labelling function: coverage, overlaps, conflicts and accuracy.
    histogram
        Lower end of a confidence bin, label, and number of entities.
    mlflow_run
        Id of the MLflow run; None if MLflow has not logged it.
    log
        The part of the log that the labels are about; None if it is not recorded.
    """

    ref: Ref
    entities: int
    classes: Mapping[str, int]
    coverage: float
    functions: Sequence[Mapping[str, Any]]
    histogram: Sequence[tuple[float, str, int]]
    materialized_at: dt.datetime | None
    run_id: str | None
    mlflow_run: str | None
    log: Read | None


@dataclass(frozen=True)
class Entity:
    """An entity and its label; ``margin``: distance between its two highest probabilities."""

    key: str
    label: str | None
    outcome: str
    confidence: float | None
    margin: float | None
    gold: str | None


@dataclass(frozen=True)
class Score:
    """Scores of one materialisation on the gold labels of that time."""

    version: str
    run_id: str
    at: dt.datetime
    entities: int
    accuracy: float
    macro_f1: float
    majority_accuracy: float
    calibration_error: float
    confusion: Sequence[Sequence[int]]
    labels: Sequence[str]


def label_models(catalog: Catalog) -> list[Ref]:
    """All label models, broken ones included."""
    return sorted(d.ref for d in catalog.of_kind(Kind.LABEL_MODEL, broken=True))


def catalog_of(app: App) -> Catalog:
    """The current definitions."""
    return load_catalog(app.settings)


def summary(app: App, ref: Ref) -> Summary:
    """The latest results of a label model.

    Raises
    ------
    NotLabelled
        It has never been computed; with the reason if it is known.
    """
    state = _state(app, ref)
    details = state.details
    return Summary(
        ref=ref,
        entities=state.rows or 0,
        classes=details.get("classes") or _classes(app, ref),
        coverage=float(details.get("coverage") or 0.0),
        functions=details.get("functions") or (),
        histogram=_histogram(app, ref),
        materialized_at=state.materialized_at,
        run_id=state.run_id,
        mlflow_run=details.get("mlflow_run"),
        log=Read.in_details(details),
    )


def evaluation(app: App, ref: Ref) -> Evaluation | None:
    """Scores of the current labels on the current gold labels; None if no entity has one."""
    if not gold_count(app, ref.concept):
        return None
    found = evaluate_labels(app.settings, ref.concept, ref.name)
    return found if found.entities else None


def score_history(app: App, ref: Ref) -> list[Score]:
    """Scores of earlier materialisations on gold labels, the newest first."""
    return [
        Score(
            version=row["version"],
            run_id=row["run_id"],
            at=row["scored_at"],
            entities=row["entities"],
            accuracy=row["accuracy"],
            macro_f1=row["macro_f1"],
            majority_accuracy=row["majority_accuracy"],
            calibration_error=row["calibration_error"],
            confusion=row["details"].get("confusion") or (),
            labels=row["details"].get("labels") or (),
        )
        for row in scores(app.settings, ref.concept, ref.name)
    ]


def compare_models(app: App, ref: Ref, other: Ref) -> list[tuple[str, str, int]]:
    """Label by one model, label by the other, and how many of their common entities have both.

    Raises
    ------
    NotLabelled
        One of them has never been computed.
    BadInput
        Their entities have different keys.
    """
    for one in (ref, other):
        _state(app, one)
    catalog = load_catalog(app.settings)
    key, other_key = catalog.key_column(ref), catalog.key_column(other)
    if key != other_key:
        raise BadInput(
            f"{ref} labels {key}, but {other} labels {other_key}: they cannot be compared."
        )
    query = (
        f"SELECT coalesce(a.label, a.outcome) AS one, coalesce(b.label, b.outcome) AS other, "
        f"count(*) AS entities FROM {_table(ref)} a JOIN {_table(other)} b USING ({quoted(key)}) "
        "GROUP BY 1, 2 ORDER BY 3 DESC"
    )
    return [(r.one, r.other, r.entities) for r in _rows(app, query)]


# --- materialisations ----------------------------------------------------------------------------
@dataclass(frozen=True)
class Comparison:
    """How labels changed between two materialisations.

    Attributes
    ----------
    moves
        Label before, label after, and number of entities; the most common first.
    classes
        Label, number of entities before, and number of entities after.
    functions
        One record per labelling function: coverage, estimated accuracy and accuracy on gold labels,
        before and after; None for a function that only one of the two used.
    """

    before: Past
    after: Past
    moves: Sequence[tuple[str, str, int]]
    classes: Sequence[tuple[str, int, int]]
    functions: Sequence[Mapping[str, Any]]

    @property
    def common(self) -> int:
        """Entities in both materialisations."""
        return sum(n for a, b, n in self.moves if ABSENT not in (a, b))

    @property
    def changed(self) -> int:
        """Common entities with a different label."""
        return sum(n for a, b, n in self.moves if a != b and ABSENT not in (a, b))


def materialisations(app: App, ref: Ref) -> list[Past]:
    """Materialisations that are kept for comparison, the newest first."""
    return read_earlier_labels(app.settings, ref.concept, ref.name)


def compare_materialisations(app: App, ref: Ref, before: Past, after: Past) -> Comparison:
    """How labels changed between two materialisations.

    Raises
    ------
    NotLabelled
        One of them is no longer kept, or labelled a different kind of entity.
    """
    moves = moved_labels(app.settings, ref.concept, ref.name, before.version, after.version)
    then, now = (dict(p.details.get("classes") or {}) for p in (before, after))
    classes = [(name, then.get(name, 0), now.get(name, 0)) for name in dict.fromkeys([*now, *then])]
    return Comparison(before, after, moves, classes, _compare_functions(before, after))


_COMPARED = {
    "Coverage": "coverage",
    "Estimated accuracy": "learned weight",
    "Accuracy on gold labels": "accuracy on gold",
}


def _compare_functions(before: Past, after: Past) -> list[dict[str, Any]]:
    then, now = (
        {f["labelling function"]: f for f in p.details.get("functions") or ()}
        for p in (before, after)
    )
    return [
        {
            "Labelling function": name,
            **{
                f"{title}, {when}": records.get(name, {}).get(field)
                for title, field in _COMPARED.items()
                for when, records in (("before", then), ("after", now))
            },
        }
        for name in dict.fromkeys([*now, *then])
    ]


# --- entities ------------------------------------------------------------------------------------
def find(app: App, ref: Ref, *, text: str = "", label: str = "", limit: int = 50) -> list[Entity]:
    """Entities whose key contains ``text`` and that have ``label`` (or abstain, or tie), by key.

    A device's whole address may be spelled in any way. For analysts only, as a key identifies a
    device.
    """
    app.person.require(Role.ANALYST, "look at entities")
    _state(app, ref)
    conditions = ["true"]
    if text:
        conditions.append("(strpos(lower(k.key), lower(:text)) > 0 OR k.key = :same)")
    if label in _NO_LABEL:
        conditions.append("k.outcome = :label")
    elif label:
        conditions.append("k.label = :label")
    query = f"{_entities(app, ref)} WHERE {' AND '.join(conditions)} ORDER BY k.key LIMIT :limit"
    values = {"text": text, "same": same_form_of(text), "label": label, "limit": limit}
    return [_entity(row) for row in _rows(app, query, **values)]


def uncertain(app: App, ref: Ref, *, limit: int = 20, skip: Sequence[str] = ()) -> list[Entity]:
    """Entities without a gold label, the least certain first; those without votes come last.

    ``skip``: keys to leave out.
    """
    app.person.require(Role.ANALYST, "look at entities")
    _state(app, ref)
    query = (
        f"{_entities(app, ref)} WHERE g.label IS NULL AND NOT k.key = ANY(:skip) "
        "ORDER BY k.margin NULLS LAST, k.key LIMIT :limit"
    )
    return [_entity(row) for row in _rows(app, query, skip=list(skip), limit=limit)]


def explain(app: App, catalog: Catalog, ref: Ref, key: str) -> Explanation:
    """Why an entity has its label: every vote, the rule's row behind it, and its evidence.

    Raises
    ------
    NotLabelled
        The label model has not been computed, or has no label for the entity.
    """
    app.person.require(Role.ANALYST, "look at entities")
    return explain_label(app.settings, catalog, str(ref), key)


def export(app: App, ref: Ref, kind: Format) -> bytes:
    """A file with all labels and the keys of their entities."""
    app.person.require(Role.ANALYST, "download entities")
    return table_bytes(read_labels(app.settings, ref.concept, ref.name), kind)


# --- gold labels ---------------------------------------------------------------------------------
def gold_count(app: App, concept: str) -> int:
    """Number of entities of a concept with a gold label."""
    query = "SELECT count(*) AS n FROM tippers.gold_label WHERE concept = :concept"
    return int(next(iter(_rows(app, query, concept=concept))).n)


def set_gold(app: App, catalog: Catalog, ref: Ref, key: str, label: str) -> None:
    """Set the gold label of an entity, replacing an earlier one.

    Raises
    ------
    BadInput
        The concept has no such label, or the label model no such entity.
    """
    app.person.require(Role.ANALYST, "label entities")
    labels = catalog.labels(ref.concept)
    if label not in labels:
        raise BadInput(
            f"{label} is not a label of {ref.concept}.", f"Its labels are {', '.join(labels)}."
        )
    if not _has_entity(app, ref, key):
        raise BadInput(f"{ref} has no entity {shown(key)}.")
    give(app.settings, ref.concept, key, label, by=app.person.name)


def remove_gold(app: App, ref: Ref, key: str) -> None:
    """Remove the gold label of an entity."""
    app.person.require(Role.ANALYST, "label entities")
    delete_gold(app.settings, ref.concept, [key])


# --- reading -------------------------------------------------------------------------------------
def _state(app: App, ref: Ref) -> AssetState:
    from tippers_dagster.automation.state import NEVER, load_states

    state = load_states(app.settings).get(ref.asset_name, NEVER)
    if state.version is None or not has_labels(app.settings, ref.concept, ref.name):
        raise NotLabelled(
            f"{ref} has no labels yet.{f' {state.error}' if state.error else ''}",
            "It is computed automatically while `tippers up` is running; the Pipeline page shows "
            "its progress.",
        )
    return state


def _classes(app: App, ref: Ref) -> dict[str, int]:
    query = f"SELECT coalesce(label, outcome) AS label, count(*) AS n FROM {_table(ref)} GROUP BY 1"
    return {row.label: row.n for row in _rows(app, query)}


def _histogram(app: App, ref: Ref) -> list[tuple[float, str, int]]:
    query = (
        f"SELECT least(floor(confidence * {BINS}), {BINS - 1})::int AS bin, "
        "coalesce(label, outcome) AS label, count(*) AS n "
        f"FROM {_table(ref)} WHERE confidence IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2"
    )
    return [(row.bin / BINS, row.label, row.n) for row in _rows(app, query)]


def _has_entity(app: App, ref: Ref, key: str) -> bool:
    """Whether the label model has an entity with this key; addresses in any spelling."""
    _state(app, ref)
    column = quoted(_columns(app, ref)[0])
    query = f"SELECT 1 FROM {_table(ref)} WHERE {column}::text IN (:key, :same) LIMIT 1"
    return bool(_rows(app, query, key=key, same=same_form_of(key)))


def _entities(app: App, ref: Ref) -> str:
    """A query for all entities ``k`` and their gold labels ``g``."""
    columns = _columns(app, ref)
    probabilities = [quoted(c) for c in columns if c.startswith("p_")]
    margin = "NULL::float8"
    if len(probabilities) > 1:
        listed = ", ".join(probabilities)
        margin = (
            f"(SELECT max(p) - min(p) FROM (SELECT p FROM unnest(ARRAY[{listed}]) p "
            "ORDER BY p DESC LIMIT 2) two)"
        )
    concept = ref.concept  # lower snake case, validated when it was saved
    return (
        "SELECT k.key, k.label, k.outcome, k.confidence, k.margin, g.label AS gold FROM ("
        f"SELECT {quoted(columns[0])}::text AS key, label, outcome, confidence, "
        f"CASE WHEN confidence IS NOT NULL THEN {margin} END AS margin FROM {_table(ref)}) k "
        f"LEFT JOIN tippers.gold_label g ON g.concept = '{concept}' AND g.entity = k.key"
    )


def _entity(row: Any) -> Entity:
    return Entity(row.key, row.label, row.outcome, row.confidence, row.margin, row.gold)


def _columns(app: App, ref: Ref) -> list[str]:
    with warehouse_engine(app.settings).connect() as connection:
        found = sa.inspect(connection).get_columns(ref.model_name, SCHEMA)
    return [column["name"] for column in found]


def _table(ref: Ref) -> str:
    return f"{SCHEMA}.{quoted(ref.model_name)}"


def _rows(app: App, query: str, **parameters: Any) -> Sequence[Any]:
    with warehouse_engine(app.settings).connect() as connection:
        return connection.execute(sa.text(query), parameters).all()


def table_of(entities: Sequence[Entity]) -> pa.Table:
    """Entities with titles for people."""
    return pa.table(
        {
            "Entity": [e.key for e in entities],
            "Label": [e.label or e.outcome for e in entities],
            "Confidence": [e.confidence for e in entities],
            "Gold label": [e.gold or "" for e in entities],
        }
    )
