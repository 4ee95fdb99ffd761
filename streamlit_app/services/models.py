"""Classifiers: model versions, promotion, predictions and drift."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

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
from tippers_dagster.platform.small_tables import read_table
from tippers_dagster.platform.table_files import Format, table_bytes
from tippers_dagster.platform.warehouse.engine import read_arrow
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from tippers_dagster.automation.state import AssetState
    from tippers_dagster.learning.models import LoadedModel
    from tippers_dagster.learning.registry import Decision, RegisteredModel
    from tippers_dagster.learning.results import ClassifierResult

MAX_RESULTS = 50
"""Materialisations of a classifier shown on the page."""

MAX_UPLOAD_BYTES = 64 << 20

MAX_ROWS = 100_000
"""Rows that the page predicts at once."""


@dataclass(frozen=True)
class AssetInfo:
    """The state of one of a classifier's assets.

    ``error``: why it could not be computed from its current inputs.
    """

    asset: str
    materialized_at: dt.datetime | None
    run_id: str | None
    rows: int | None
    error: str | None


@dataclass(frozen=True)
class Predicted:
    """The predictions in the warehouse.

    Attributes
    ----------
    counts
        Entities per label.
    histogram
        Lower end of a confidence bin, label, and number of entities.
    agreement
        Predicted label, the label model's label (or outcome), and number of entities, the most
        common first; empty if the label model has no labels.
    """

    model_version: int | None
    counts: Mapping[str, int]
    histogram: Sequence[tuple[float, str, int]]
    agreement: Sequence[tuple[str, str, int]]


@dataclass(frozen=True)
class DriftRow:
    """The values of one column in predictions, compared with training."""

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
    """The drift seen by one materialisation of the predictions."""

    run_id: str
    at: dt.datetime
    model_version: int
    columns: Sequence[DriftRow]


def catalog_of(app: App) -> Catalog:
    """The current definitions."""
    return load_catalog(app.settings)


def classifiers(catalog: Catalog) -> list[Ref]:
    """All classifiers, broken ones included."""
    return sorted(d.ref for d in catalog.of_kind(Kind.CLASSIFIER, broken=True))


def problem(catalog: Catalog, ref: Ref) -> str | None:
    """Why a classifier is broken; None if it is not."""
    return catalog.problems.get(ref)


def body_of(catalog: Catalog, ref: Ref) -> Classifier:
    """The content of a classifier's definition."""
    body = catalog.definitions[ref].body
    if not isinstance(body, Classifier):
        raise BadInput(f"The definition of {ref} cannot be read.")
    return body


# --- training ------------------------------------------------------------------------------------
def results(app: App, ref: Ref) -> list[ClassifierResult]:
    """The latest materialisations, the newest first, each with its models by rank."""
    from tippers_dagster.learning.results import read_results

    return read_results(app.settings, ref, MAX_RESULTS)


# --- the registry ---------------------------------------------------------------------------------
def registry(app: App, ref: Ref) -> RegisteredModel | None:
    """The registered model with its versions; None if nothing is registered yet.

    Raises
    ------
    MlflowAway
        The registry is unavailable.
    """
    from tippers_dagster.learning.registry import registered_models

    found = registered_models(app.settings, [registered_name(ref)])
    return found[0] if found else None


def decisions(app: App, ref: Ref) -> list[Decision]:
    """All promotions, refusals and rollbacks, the newest first."""
    from tippers_dagster.learning.registry import decisions as recorded

    return recorded(app.settings, registered_name(ref))


def back_to(app: App, ref: Ref, model: RegisteredModel) -> int | None:
    """The version that a rollback makes champion; None if there was no earlier champion."""
    from tippers_dagster.learning.registry import champions

    now = None if model.champion is None else model.champion.number
    registered = {v.number for v in model.versions}
    earlier = [n for n in champions(decisions(app, ref)) if n != now and n in registered]
    return earlier[-1] if earlier else None


def promote(app: App, ref: Ref, version: int) -> Decision:
    """Make a version champion.

    Raises
    ------
    BadInput, NotRegistered, MlflowAway
        It already is, it does not exist, or the registry is unavailable.
    """
    from tippers_dagster.learning.registry import promote as make_champion

    app.person.require(Role.ANALYST, "promote models")
    return make_champion(app.settings, registered_name(ref), version, app.person.name)


def roll_back(app: App, ref: Ref) -> Decision:
    """Make the previous champion champion again.

    Raises
    ------
    BadInput, NotRegistered, MlflowAway
        There is no previous champion, or the registry is unavailable.
    """
    from tippers_dagster.learning.registry import roll_back as go_back

    app.person.require(Role.ANALYST, "roll models back")
    return go_back(app.settings, registered_name(ref), app.person.name)


# --- assets ---------------------------------------------------------------------------------------
def assets(app: App, catalog: Catalog, ref: Ref) -> dict[str, AssetInfo]:
    """The state of its assets ``classifier``, ``champion`` and ``predictions``."""
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
        what: _asset_info(name, states.get(name, NEVER), errors.get(name))
        for what, name in names.items()
    }


def _asset_info(name: str, state: AssetState, error: str | None) -> AssetInfo:
    return AssetInfo(name, state.materialized_at, state.run_id, state.rows, error)


# --- predictions ----------------------------------------------------------------------------------
def predicted(app: App, catalog: Catalog, ref: Ref) -> Predicted | None:
    """A summary of the predictions in the warehouse; None if there are none yet."""
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
    label_model = catalog.resolve(body_of(catalog, ref).label_model, ref.concept).ref
    agreement: list[tuple[str, str, int]] = []
    if has_labels(app.settings, label_model.concept, label_model.name):
        agreement = _agreement(app, catalog, ref, label_model)
    order = [label for label in catalog.labels(ref.concept) if label in counts]
    return Predicted(
        model_version=rows[0]["model_version"] if rows else None,
        counts={label: counts[label] for label in order or counts},
        histogram=histogram,
        agreement=agreement,
    )


def _agreement(
    app: App, catalog: Catalog, ref: Ref, label_model: Ref
) -> list[tuple[str, str, int]]:
    key = catalog.key_column(ref)
    if key != catalog.key_column(label_model):
        return []
    query = (
        "SELECT p.label AS predicted, coalesce(l.label, l.outcome, 'not labelled') AS labelled, "
        f'count(*) AS n FROM predictions."{ref.model_name}" p '
        f'LEFT JOIN labels."{label_model.model_name}" l USING ("{key}") '
        "GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"
    )
    rows = read_arrow(app.settings, query).to_pylist()
    return [(r["predicted"], r["labelled"], r["n"]) for r in rows]


def export(app: App, ref: Ref, kind: Format) -> bytes:
    """A file with all predictions and the keys of their entities."""
    from tippers_dagster.learning.predictions import predicted_labels

    app.person.require(Role.ANALYST, "download entities")
    return table_bytes(predicted_labels(app.settings, ref.concept, ref.name), kind)


# --- predicting ----------------------------------------------------------------------------------
def model_of(app: App, ref: Ref, version: int) -> LoadedModel:
    """A version, loaded; the last few stay in memory for all sessions.

    Raises
    ------
    MlflowAway
        The registry is unavailable.
    """
    app.person.require(Role.ANALYST, "use models")
    return _loaded(app.settings, registered_name(ref), version)


@lru_cache(maxsize=4)
def _loaded(settings: Settings, name: str, version: int) -> LoadedModel:
    from tippers_dagster.learning.models import load_model

    return load_model(settings, name, version)


def example_rows(app: App, catalog: Catalog, ref: Ref, model: LoadedModel, n: int = 3) -> pa.Table:
    """A few rows of model input to start from, taken from current entities.

    Columns that no longer exist are left empty.
    """
    from tippers_dagster.learning.features import read_features

    app.person.require(Role.ANALYST, "use models")
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
    """Rows of features with the model's predictions.

    Raises
    ------
    BadInput
        The rows do not fit the model, or there are too many of them.
    """
    from tippers_dagster.learning.rows import predict_rows as ask

    app.person.require(Role.ANALYST, "use models")
    if rows.num_rows > MAX_ROWS:
        raise BadInput(
            f"The page predicts at most {MAX_ROWS:,} rows at once; these are {rows.num_rows:,}.",
            f"`tippers predict {ref} --in FILE --out FILE` has no limit but memory.",
        )
    return ask(model, rows, catalog.labels(ref.concept))


def read_csv(content: bytes) -> pa.Table:
    """The rows of an uploaded CSV file.

    Raises
    ------
    BadInput
        The file is too large, or not a CSV file.
    """
    if len(content) > MAX_UPLOAD_BYTES:
        raise BadInput(f"The file is larger than {MAX_UPLOAD_BYTES >> 20} MiB.", "Split the file.")
    return read_table(content, "The file")


def predict_index(
    app: App, catalog: Catalog, ref: Ref, model: LoadedModel, text: str = ""
) -> pa.Table:
    """Predictions for the current entities of the index, without storing them.

    ``text``: only entities whose key contains it.

    Raises
    ------
    TippersError
        The index or a feature is missing, or does not fit the model.
    """
    import pyarrow.compute as pc

    from tippers_dagster.learning.predictions import predict, read_entities_with_features

    app.person.require(Role.ANALYST, "look at entities")
    inputs = read_entities_with_features(app.settings, catalog, ref)
    rows = predict(model, inputs, catalog.labels(ref.concept), "", "")
    rows = rows.drop_columns(["version", "run_id"])
    if text:
        keys = rows[0].cast(pa.string())
        rows = rows.filter(pc.match_substring(keys, text, ignore_case=True))
    return rows


# --- drift ----------------------------------------------------------------------------------------
def drift(app: App, ref: Ref) -> list[DriftOfRun]:
    """Drift, per materialisation of the predictions, the newest first."""
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
