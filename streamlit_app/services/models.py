"""Classifiers: their models, which is in use and who decided so, what they predict, and drift."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from streamlit_app.services.app import App
from streamlit_app.services.labels import BINS
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Classifier, Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.errors import BadInput
from tippers_dagster.learning.keys import champion_path, predictions_path
from tippers_dagster.learning.naming import registered_name
from tippers_dagster.platform.small_tables import read_table, write_csv
from tippers_dagster.platform.warehouse.engine import read_arrow
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from tippers_dagster.automation.state import AssetState
    from tippers_dagster.learning.models import LoadedModel
    from tippers_dagster.learning.registry import Decision, RegisteredModel
    from tippers_dagster.learning.results import ClassifierResult

MIME = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
MOST_RESULTS = 50
"""Materialisations of a classifier that are shown."""

LARGEST_UPLOAD = 64 << 20
"""Bytes of a file of rows."""

MOST_ROWS = 100_000
"""Of a file that is uploaded to be predicted."""


@dataclass(frozen=True)
class Standing:
    """How an asset that follows a classifier stands.

    ``error``: why it could not be computed from what it would read now.
    """

    asset: str
    materialized_at: dt.datetime | None
    run_id: str | None
    rows: int | None
    error: str | None


@dataclass(frozen=True)
class Predicted:
    """The predictions that are in the warehouse.

    Attributes
    ----------
    counts
        Entities by label.
    histogram
        Entities by bin of confidence (its lower end) and label.
    beside
        Entities by predicted label and the label model's (or its outcome), the most first; empty
        where that has no labels.
    """

    model_version: int | None
    counts: Mapping[str, int]
    histogram: Sequence[tuple[float, str, int]]
    beside: Sequence[tuple[str, str, int]]


@dataclass(frozen=True)
class DriftRow:
    """One column of one prediction, beside what it was in training."""

    what: str
    name: str
    psi: float | None
    threshold: float | None
    missing_before: float
    missing_now: float
    drifted: bool
    bins: Sequence[str]
    before: Sequence[float]
    now: Sequence[float]


@dataclass(frozen=True)
class DriftOfRun:
    """The drift of one materialisation of the predictions."""

    run_id: str
    at: dt.datetime
    model_version: int
    columns: Sequence[DriftRow]


def catalog_of(app: App) -> Catalog:
    """The definitions as they are now."""
    return load_catalog(app.settings)


def classifiers(catalog: Catalog) -> list[Ref]:
    """All classifiers, also those that cannot work."""
    return sorted(d.ref for d in catalog.of_kind(Kind.CLASSIFIER, broken=True))


def problem(catalog: Catalog, ref: Ref) -> str | None:
    """Why a classifier cannot work."""
    return catalog.problems.get(ref)


def body_of(catalog: Catalog, ref: Ref) -> Classifier:
    """What its definition says."""
    body = catalog.definitions[ref].body
    if not isinstance(body, Classifier):
        raise BadInput(f"The definition of {ref} cannot be read.")
    return body


# --- training ------------------------------------------------------------------------------------
def results(app: App, ref: Ref) -> list[ClassifierResult]:
    """The last materialisations of a classifier, the newest first, each with its bank by rank."""
    from tippers_dagster.learning.results import read_results

    return read_results(app.settings, ref, MOST_RESULTS)


# --- the registry ---------------------------------------------------------------------------------
def registry(app: App, ref: Ref) -> RegisteredModel | None:
    """What is registered of it; None: nothing yet.

    Raises
    ------
    MlflowAway
        When the registry cannot be asked.
    """
    from tippers_dagster.learning.registry import registered_models

    found = registered_models(app.settings, [registered_name(ref)])
    return found[0] if found else None


def decisions(app: App, ref: Ref) -> list[Decision]:
    """Every decision about its versions, the newest first."""
    from tippers_dagster.learning.registry import decisions as recorded

    return recorded(app.settings, registered_name(ref))


def back_to(app: App, ref: Ref, model: RegisteredModel) -> int | None:
    """The version that rolling back makes champion; None: no other was it before."""
    from tippers_dagster.learning.registry import champions

    now = None if model.champion is None else model.champion.number
    there = {v.number for v in model.versions}
    earlier = [n for n in champions(decisions(app, ref)) if n != now and n in there]
    return earlier[-1] if earlier else None


def promote(app: App, ref: Ref, version: int) -> Decision:
    """Make a version champion.

    Raises
    ------
    BadInput, NotRegistered, MlflowAway
        When it is already, is not there, or the registry cannot be asked.
    """
    from tippers_dagster.learning.registry import promote as make_champion

    app.person.require(Role.ANALYST, "promote models")
    return make_champion(app.settings, registered_name(ref), version, app.person.name)


def roll_back(app: App, ref: Ref) -> Decision:
    """Make the version champion that was it before.

    Raises
    ------
    BadInput, NotRegistered, MlflowAway
        When no other was it before, or the registry cannot be asked.
    """
    from tippers_dagster.learning.registry import roll_back as go_back

    app.person.require(Role.ANALYST, "roll models back")
    return go_back(app.settings, registered_name(ref), app.person.name)


# --- assets ---------------------------------------------------------------------------------------
def standings(app: App, catalog: Catalog, ref: Ref) -> dict[str, Standing]:
    """How its assets stand: ``classifier``, ``champion`` and ``predictions``."""
    from tippers_dagster.automation.state import NEVER, errors_now, load_states
    from tippers_dagster.learning.assets import learning_nodes

    paths = {
        "classifier": ref.asset_path,
        "champion": champion_path(ref),
        "predictions": predictions_path(ref),
    }
    names = {what: "/".join(path) for what, path in paths.items()}
    nodes = [n for n in learning_nodes(app.settings, catalog) if n.name in names.values()]
    states, errors = load_states(app.settings), errors_now(app.settings, nodes)
    return {
        what: _standing(name, states.get(name, NEVER), errors.get(name))
        for what, name in names.items()
    }


def _standing(name: str, state: AssetState, error: str | None) -> Standing:
    return Standing(name, state.materialized_at, state.run_id, state.rows, error)


# --- predictions ----------------------------------------------------------------------------------
def predicted(app: App, catalog: Catalog, ref: Ref) -> Predicted | None:
    """What the predictions in the warehouse come to; None: there are none yet."""
    from tippers_dagster.labelling.labels import has_labels
    from tippers_dagster.learning.predictions import has_predictions

    if not has_predictions(app.settings, ref.concept, ref.name):
        return None
    table = f'predictions."{ref.model_name}"'
    query = (
        f"SELECT model_version, label, least(floor(confidence * {BINS}), {BINS - 1})::int AS bin, "
        f"count(*) AS n FROM {table} GROUP BY 1, 2, 3 ORDER BY 3, 2"
    )
    rows = read_arrow(app.settings, query).to_pylist()
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["label"]] = counts.get(row["label"], 0) + row["n"]
    histogram = [(row["bin"] / BINS, row["label"], row["n"]) for row in rows]
    teacher = catalog.resolve(body_of(catalog, ref).label_model, ref.concept).ref
    beside: list[tuple[str, str, int]] = []
    if has_labels(app.settings, teacher.concept, teacher.name):
        beside = _beside(app, catalog, ref, teacher)
    order = [label for label in catalog.labels(ref.concept) if label in counts]
    return Predicted(
        model_version=rows[0]["model_version"] if rows else None,
        counts={label: counts[label] for label in order or counts},
        histogram=histogram,
        beside=beside,
    )


def _beside(app: App, catalog: Catalog, ref: Ref, teacher: Ref) -> list[tuple[str, str, int]]:
    key, theirs = catalog.key_column(ref), catalog.key_column(teacher)
    if key != theirs:
        return []
    query = (
        "SELECT p.label AS predicted, coalesce(l.label, l.outcome, 'not labelled') AS labelled, "
        f'count(*) AS n FROM predictions."{ref.model_name}" p '
        f'LEFT JOIN labels."{teacher.model_name}" l USING ("{key}") '
        "GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"
    )
    rows = read_arrow(app.settings, query).to_pylist()
    return [(r["predicted"], r["labelled"], r["n"]) for r in rows]


def export(app: App, ref: Ref, kind: Literal["csv", "parquet"]) -> bytes:
    """All predictions with the entities' keys, as a file."""
    from tippers_dagster.learning.predictions import predicted_labels

    app.person.require(Role.ANALYST, "download entities")
    return as_file(predicted_labels(app.settings, ref.concept, ref.name), kind)


def as_file(rows: pa.Table, kind: Literal["csv", "parquet"]) -> bytes:
    """A table as the content of a file."""
    buffer = io.BytesIO()
    if kind == "csv":
        write_csv(rows, buffer)
    else:
        pq.write_table(rows, buffer, compression="zstd")
    return buffer.getvalue()


# --- asking a model -------------------------------------------------------------------------------
def model_of(app: App, ref: Ref, version: int) -> LoadedModel:
    """A version, loaded; the last few are kept for all sessions.

    Raises
    ------
    MlflowAway
        When it cannot be read.
    """
    app.person.require(Role.ANALYST, "ask models")
    return _loaded(app.settings, registered_name(ref), version)


@lru_cache(maxsize=4)
def _loaded(settings: Settings, name: str, version: int) -> LoadedModel:
    from tippers_dagster.learning.models import load_model

    return load_model(settings, name, version)


def example_rows(app: App, catalog: Catalog, ref: Ref, model: LoadedModel, n: int = 3) -> pa.Table:
    """A few rows of the columns that a model takes, to begin from: those of entities of now.

    Columns that are not there any more are left empty.
    """
    from tippers_dagster.learning.features import read_features

    app.person.require(Role.ANALYST, "ask models")
    body = body_of(catalog, ref)
    features = [catalog.resolve(name, ref.concept).ref for name in body.features]
    index = catalog.resolve(body.index, ref.concept).ref
    found = read_features(app.settings, catalog, index, features).columns.slice(0, n)
    kinds = {name: pa.string() for name in model.categorical}
    columns = {
        name: found[name]
        if name in found.column_names
        else pa.nulls(found.num_rows, kinds.get(name, pa.float64()))
        for name in model.columns
    }
    return pa.table(columns)


def predict_rows(
    app: App, catalog: Catalog, ref: Ref, model: LoadedModel, rows: pa.Table
) -> pa.Table:
    """Rows of features with what a model says of them.

    Raises
    ------
    BadInput
        When they do not fit it, or are too many.
    """
    from tippers_dagster.learning.rows import predict_rows as ask

    app.person.require(Role.ANALYST, "ask models")
    if rows.num_rows > MOST_ROWS:
        raise BadInput(
            f"{rows.num_rows:,} rows are too many for a page; it takes {MOST_ROWS:,}.",
            f"`tippers predict {ref} --in FILE --out FILE` takes as many as memory does.",
        )
    return ask(model, rows, catalog.labels(ref.concept))


def read_csv(content: bytes) -> pa.Table:
    """The rows of a CSV file that somebody uploads.

    Raises
    ------
    BadInput
        When it is none.
    """
    if len(content) > LARGEST_UPLOAD:
        raise BadInput(f"The file is larger than {LARGEST_UPLOAD >> 20} MiB.", "Split it.")
    return read_table(content, "The file")


def predict_index(
    app: App, catalog: Catalog, ref: Ref, model: LoadedModel, text: str = ""
) -> pa.Table:
    """What a model says of the entities of the index now, written nowhere.

    ``text``: only those whose key contains it.

    Raises
    ------
    TippersError
        When the index or a feature is not there, or does not fit the model.
    """
    import pyarrow.compute as pc

    from tippers_dagster.learning.predictions import predict, read_fresh

    app.person.require(Role.ANALYST, "look at entities")
    found = read_fresh(app.settings, catalog, ref)
    rows = predict(model, found, catalog.labels(ref.concept), "", "")
    rows = rows.drop_columns(["version", "run_id"])
    if text:
        keys = rows[0].cast(pa.string())
        rows = rows.filter(pc.match_substring(keys, text, ignore_case=True))
    return rows


# --- drift ----------------------------------------------------------------------------------------
def drift(app: App, ref: Ref) -> list[DriftOfRun]:
    """The drift of every materialisation of the predictions, the newest first."""
    from tippers_dagster.learning.drift_records import read_drift

    runs: dict[str, list[Any]] = {}
    for row in read_drift(app.settings, registered_name(ref)):
        runs.setdefault(row["run_id"], []).append(row)
    return [
        DriftOfRun(run, rows[0]["at"], rows[0]["model_version"], [_drift_row(r) for r in rows])
        for run, rows in runs.items()
    ]


def _drift_row(row: Any) -> DriftRow:
    details = row["details"]
    return DriftRow(
        what=row["what"],
        name=row["name"],
        psi=row["psi"],
        threshold=row["threshold"],
        missing_before=row["missing_before"] or 0.0,
        missing_now=row["missing_now"] or 0.0,
        drifted=row["drifted"],
        bins=details.get("bins", ()),
        before=details.get("before", ()),
        now=details.get("now", ()),
    )
