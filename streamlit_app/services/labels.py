"""What label models gave: distributions, functions, gold labels, and the reasons of a label."""

from __future__ import annotations

import datetime as dt
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from streamlit_app.services.app import App
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.labels import SCHEMA, NotLabelled, has_labels, read_labels
from tippers_dagster.labelling.past import ABSENT, Past, moved_labels, read_past
from tippers_dagster.platform.small_tables import csv_bytes
from tippers_dagster.platform.text import shown
from tippers_dagster.platform.warehouse.engine import warehouse_engine

if TYPE_CHECKING:
    from tippers_dagster.automation.state import AssetState
    from tippers_dagster.labelling.evaluate import Evaluation
    from tippers_dagster.labelling.why import Explanation

BINS = 20
"""Of the histogram of confidence, from 0 to 1."""

MIME = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
_NO_LABEL = ("abstain", "tie")


@dataclass(frozen=True)
class Summary:
    """A label model as it was last computed.

    Attributes
    ----------
    classes
        Entities by label, and those that abstained or tied.
    coverage
        Share of the entities with a vote.
    functions
        A record per labelling function: coverage, overlaps, conflicts, accuracy, weight.
    histogram
        Entities by bin of confidence (its lower end) and label.
    mlflow_run
        The id of its run there; None: it was not logged.
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


@dataclass(frozen=True)
class Entity:
    """An entity and what it was given; ``margin``: how far the two likeliest labels are apart."""

    key: str
    label: str | None
    outcome: str
    confidence: float | None
    margin: float | None
    gold: str | None


@dataclass(frozen=True)
class Score:
    """How a materialisation did on the gold labels of its time."""

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
    """All label models, also those that cannot work."""
    return sorted(d.ref for d in catalog.of_kind(Kind.LABEL_MODEL, broken=True))


def catalog_of(app: App) -> Catalog:
    """The definitions as they are now."""
    return load_catalog(app.settings)


def summary(app: App, ref: Ref) -> Summary:
    """What is known of a label model's last materialisation.

    Raises
    ------
    NotLabelled
        When it was never computed, with the reason where one is known.
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
    )


def evaluation(app: App, ref: Ref) -> Evaluation | None:
    """The labels of now on the gold labels of now; None: no entity of it has one."""
    from tippers_dagster.labelling.gold import evaluate_labels

    if not gold_count(app, ref.concept):
        return None
    found = evaluate_labels(app.settings, ref.concept, ref.name)
    return found if found.entities else None


def score_history(app: App, ref: Ref) -> list[Score]:
    """Materialisations that were scored on gold labels, the newest first."""
    from tippers_dagster.labelling.gold import scores

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


def compare(app: App, ref: Ref, other: Ref) -> list[tuple[str, str, int]]:
    """Entities that both label models have, by the label of the one and of the other.

    Raises
    ------
    NotLabelled
        When one of them was never computed.
    BadInput
        When their entities are told apart by different keys.
    """
    for one in (ref, other):
        _state(app, one)
    catalog = load_catalog(app.settings)
    key, others = catalog.key_column(ref), catalog.key_column(other)
    if key != others:
        raise BadInput(f"{ref} is of {key}, {other} of {others}: nothing to compare.")
    query = (
        f"SELECT coalesce(a.label, a.outcome) AS one, coalesce(b.label, b.outcome) AS other, "
        f"count(*) AS entities FROM {_table(ref)} a JOIN {_table(other)} b USING ({_quoted(key)}) "
        "GROUP BY 1, 2 ORDER BY 3 DESC"
    )
    return [(r.one, r.other, r.entities) for r in _rows(app, query)]


# --- materialisations ----------------------------------------------------------------------------
@dataclass(frozen=True)
class Turn:
    """What two materialisations gave, label by label.

    Attributes
    ----------
    moves
        Entities by their label before and after, the most first.
    classes
        Of each label: how many entities had it before, and have it after.
    functions
        A record per labelling function of either: coverage, learned weight and accuracy on gold,
        before and after; None where it took no part.
    """

    before: Past
    after: Past
    moves: Sequence[tuple[str, str, int]]
    classes: Sequence[tuple[str, int, int]]
    functions: Sequence[Mapping[str, Any]]

    @property
    def both(self) -> int:
        """Entities that both have."""
        return sum(n for a, b, n in self.moves if ABSENT not in (a, b))

    @property
    def changed(self) -> int:
        """Those of both whose label is another."""
        return sum(n for a, b, n in self.moves if a != b and ABSENT not in (a, b))


def materialisations(app: App, ref: Ref) -> list[Past]:
    """Those that are kept to compare, the newest first."""
    return read_past(app.settings, ref.concept, ref.name)


def turn(app: App, ref: Ref, before: Past, after: Past) -> Turn:
    """Two materialisations beside each other.

    Raises
    ------
    NotLabelled
        When one of them is not kept any more, or was of other entities.
    """
    moves = moved_labels(app.settings, ref.concept, ref.name, before.version, after.version)
    then, now = (dict(p.details.get("classes") or {}) for p in (before, after))
    classes = [(name, then.get(name, 0), now.get(name, 0)) for name in dict.fromkeys([*now, *then])]
    return Turn(before, after, moves, classes, _functions_of_both(before, after))


_TURNED = {
    "Coverage": "coverage",
    "Learned weight": "learned weight",
    "Accuracy on gold": "accuracy on gold",
}


def _functions_of_both(before: Past, after: Past) -> list[dict[str, Any]]:
    then, now = (
        {f["labelling function"]: f for f in p.details.get("functions") or ()}
        for p in (before, after)
    )
    return [
        {
            "Labelling function": name,
            **{
                f"{title}, {when}": found.get(name, {}).get(field)
                for title, field in _TURNED.items()
                for when, found in (("before", then), ("after", now))
            },
        }
        for name in dict.fromkeys([*now, *then])
    ]


# --- entities ------------------------------------------------------------------------------------
def find(app: App, ref: Ref, *, text: str = "", label: str = "", limit: int = 50) -> list[Entity]:
    """Entities whose key contains a text, of a label (or abstain, tie), by key.

    Takes an analyst: a key is a device.
    """
    app.person.require(Role.ANALYST, "look at entities")
    _state(app, ref)
    wanted = ["true"]
    if text:
        wanted.append("strpos(lower(k.key), lower(:text)) > 0")
    if label in _NO_LABEL:
        wanted.append("k.outcome = :label")
    elif label:
        wanted.append("k.label = :label")
    query = f"{_entities(app, ref)} WHERE {' AND '.join(wanted)} ORDER BY k.key LIMIT :limit"
    return [_entity(row) for row in _rows(app, query, text=text, label=label, limit=limit)]


def uncertain(app: App, ref: Ref, *, limit: int = 20, skip: Sequence[str] = ()) -> list[Entity]:
    """The entities without a gold label whose two likeliest labels are closest, first.

    ``skip``: keys that somebody put aside. Those that no function voted for come last.
    """
    app.person.require(Role.ANALYST, "look at entities")
    _state(app, ref)
    query = (
        f"{_entities(app, ref)} WHERE g.label IS NULL AND NOT k.key = ANY(:skip) "
        "ORDER BY k.margin NULLS LAST, k.key LIMIT :limit"
    )
    return [_entity(row) for row in _rows(app, query, skip=list(skip), limit=limit)]


def why(app: App, catalog: Catalog, ref: Ref, key: str) -> Explanation:
    """Every vote, the row behind it, and what it added.

    Raises
    ------
    NotLabelled
        When there are no labels, or none for it.
    """
    from tippers_dagster.labelling.why import explain

    app.person.require(Role.ANALYST, "look at entities")
    return explain(app.settings, catalog, str(ref), key)


def export(app: App, ref: Ref, kind: Literal["csv", "parquet"]) -> bytes:
    """All labels with the entities' keys, as a file."""
    app.person.require(Role.ANALYST, "download entities")
    rows = read_labels(app.settings, ref.concept, ref.name)
    if kind == "csv":
        return csv_bytes(rows)
    buffer = io.BytesIO()
    pq.write_table(rows, buffer, compression="zstd")
    return buffer.getvalue()


# --- gold labels ---------------------------------------------------------------------------------
def gold_count(app: App, concept: str) -> int:
    """How many entities of a concept have a gold label."""
    query = "SELECT count(*) AS n FROM tippers.gold_label WHERE concept = :concept"
    return int(next(iter(_rows(app, query, concept=concept))).n)


def give_gold(app: App, catalog: Catalog, ref: Ref, key: str, label: str) -> None:
    """Say what an entity is; replaces what was said before.

    Raises
    ------
    BadInput
        When the label is none of the concept's, or the label model has no such entity.
    """
    from tippers_dagster.labelling.gold import give

    app.person.require(Role.ANALYST, "label entities")
    labels = catalog.labels(ref.concept)
    if label not in labels:
        raise BadInput(f"{label} is no label of {ref.concept}.", f"There are {', '.join(labels)}.")
    if not _has_entity(app, ref, key):
        raise BadInput(f"{ref} has no entity {shown(key)}.")
    give(app.settings, ref.concept, key, label, by=app.person.name)


def take_gold(app: App, ref: Ref, key: str) -> None:
    """Take back what was said of an entity."""
    from tippers_dagster.labelling.gold import delete_gold

    app.person.require(Role.ANALYST, "label entities")
    delete_gold(app.settings, ref.concept, [key])


# --- reading -------------------------------------------------------------------------------------
def _state(app: App, ref: Ref) -> AssetState:
    from tippers_dagster.automation.state import NEVER, load_states

    state = load_states(app.settings).get(ref.asset_name, NEVER)
    if state.version is None or not has_labels(app.settings, ref.concept, ref.name):
        raise NotLabelled(
            f"{ref} has no labels yet.{f' {state.error}' if state.error else ''}",
            "It is computed by itself while `tippers up` is running; the page Pipeline shows "
            "how far it is.",
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
    """Whether the label model covers the entity with exactly this key."""
    _state(app, ref)
    column = _quoted(_columns(app, ref)[0])
    query = f"SELECT 1 FROM {_table(ref)} WHERE {column}::text = :key LIMIT 1"
    return bool(_rows(app, query, key=key))


def _entities(app: App, ref: Ref) -> str:
    """A query of all entities ``k`` with their gold labels ``g``."""
    columns = _columns(app, ref)
    chances = [_quoted(c) for c in columns if c.startswith("p_")]
    margin = "NULL::float8"
    if len(chances) > 1:
        listed = ", ".join(chances)
        margin = (
            f"(SELECT max(p) - min(p) FROM (SELECT p FROM unnest(ARRAY[{listed}]) p "
            "ORDER BY p DESC LIMIT 2) two)"
        )
    concept = ref.concept  # lower snake case, checked when it was saved
    return (
        "SELECT k.key, k.label, k.outcome, k.confidence, k.margin, g.label AS gold FROM ("
        f"SELECT {_quoted(columns[0])}::text AS key, label, outcome, confidence, "
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
    return f"{SCHEMA}.{_quoted(ref.model_name)}"


def _quoted(name: str) -> str:
    if not re.fullmatch(r"\w+", name):
        raise BadInput(f"{name!r} is no name of a column or table.")
    return f'"{name}"'


def _rows(app: App, query: str, **parameters: Any) -> Sequence[Any]:
    with warehouse_engine(app.settings).connect() as connection:
        return connection.execute(sa.text(query), parameters).all()


def table_of(found: Sequence[Entity]) -> pa.Table:
    """Entities as a table for people."""
    return pa.table(
        {
            "Entity": [e.key for e in found],
            "Label": [e.label or e.outcome for e in found],
            "Confidence": [e.confidence for e in found],
            "Gold": [e.gold or "" for e in found],
        }
    )
