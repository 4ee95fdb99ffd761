"""Registered models: which version is champion, who decided it, and making decisions.

MLflow keeps the versions, the warehouse every decision: the last decision determines which version
is champion. MLflow has no login, so its alias ``champion`` only shows it, and is reset if somebody
moved it. A decision is recorded before the alias is moved, and marked as applied afterwards. The
next decision completes one that a killed process left unfinished, so nothing is promoted twice or
without a record.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa

from tippers_dagster.automation.tokens import record_tokens
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import BadInput, TippersError
from tippers_dagster.learning.keys import champion_path
from tippers_dagster.learning.naming import CHALLENGER, CHAMPION, RUN_TAG, VERSION_TAG
from tippers_dagster.learning.registry_tables import model_decision
from tippers_dagster.platform.locks.locks import advisory_locks
from tippers_dagster.platform.mlflow.client import mlflow_client
from tippers_dagster.platform.mlflow.model_files import model_files
from tippers_dagster.platform.mlflow.search import name_filter, pages, versions_of
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

Kinds = Literal["promoted", "kept", "rolled_back"]

NO_CHAMPION = "none"
"""The token of a model without a champion."""

_log = logging.getLogger(__name__)


class NotRegistered(TippersError):
    """A model, or a version of it, is not in the registry."""


class NoChampion(TippersError):
    """A model has no champion, so it cannot predict."""


@dataclass(frozen=True)
class ModelVersion:
    """One version of a model.

    Attributes
    ----------
    mlflow_run, dagster_run
        Ids of the runs that made it; ``dagster_run`` is empty if no asset did.
    asset_version
        The version of the classifier's asset at training time.
    metrics, params
        Of the MLflow run.
    aliases
        ``champion`` according to the decisions; ``challenger`` and other aliases from MLflow.
    """

    number: int
    created_at: dt.datetime
    mlflow_run: str
    dagster_run: str
    asset_version: str
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class RegisteredModel:
    """A model with the versions that this deployment's trainings registered, newest first."""

    name: str
    versions: tuple[ModelVersion, ...]

    @property
    def champion(self) -> ModelVersion | None:
        """The version in use; None if there is none."""
        return self._with(CHAMPION)

    @property
    def challenger(self) -> ModelVersion | None:
        """The newest version, which may replace the champion, or already has."""
        return self._with(CHALLENGER)

    def version(self, number: int) -> ModelVersion:
        """One version by its number.

        Raises
        ------
        NotRegistered
            When there is no such version.
        """
        found = next((v for v in self.versions if v.number == number), None)
        if found is None:
            numbers = ", ".join(str(v.number) for v in self.versions) or "none"
            raise NotRegistered(
                f"{self.name} has no version {number}.", f"Its versions: {numbers}."
            )
        return found

    def _with(self, alias: str) -> ModelVersion | None:
        return next((v for v in self.versions if alias in v.aliases), None)


@dataclass(frozen=True)
class Decision:
    """One decision about a model; the columns of ``model_decision``.

    ``version`` was judged, promoted, or rolled back to. ``score`` and ``champion_score`` are values
    of ``metric`` on the same held-out ``entities``.
    """

    model: str
    version: int
    champion_before: int | None
    decision: Kinds
    automatic: bool
    by: str
    reason: str
    at: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    metric: str | None = None
    margin: float | None = None
    score: float | None = None
    champion_score: float | None = None
    majority_score: float | None = None
    entities: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    applied_at: dt.datetime | None = None
    id: int | None = None


# --- reading --------------------------------------------------------------------------------------
def registered_models(
    settings: Settings, names: Sequence[str] | None = None
) -> list[RegisteredModel]:
    """Registered models with their versions, by name.

    Parameters
    ----------
    names
        The models to read; None: all in MLflow. Names that are not registered are left out.

    Raises
    ------
    MlflowAway
        When the registry is unavailable.
    """
    with mlflow_client(settings) as client:
        filters = [None] if names is None else [name_filter(name) for name in sorted(set(names))]
        found = [m for f in filters for m in pages(client.search_registered_models, f)]
        read = [(m, *_versions_and_runs(client, m.name)) for m in found]
    return [
        _model(settings, one, versions, runs)
        for one, versions, runs in sorted(read, key=lambda r: r[0].name)
    ]


def registered_model(settings: Settings, name: str) -> RegisteredModel:
    """One model, such as ``device.kind_of``.

    Raises
    ------
    NotRegistered
        When no version of it was ever registered.
    MlflowAway
        When the registry is unavailable.
    """
    found = registered_models(settings, [name])
    if not found or not found[0].versions:
        raise NotRegistered(
            f"No model {name} is registered.",
            "A classifier's best model is registered when it is materialised: "
            f"`tippers pipeline materialize {name}`.",
        )
    return found[0]


def champion_of(settings: Settings, name: str) -> ModelVersion:
    """The version of a model that is in use.

    Raises
    ------
    NoChampion
        When there is none.
    NotRegistered, MlflowAway
        As in :func:`registered_model`.
    """
    model = registered_model(settings, name)
    if model.champion is None:
        newest = model.versions[0].number
        raise NoChampion(
            f"{name} has no champion: none of its versions ({len(model.versions)}) was better "
            "than the majority class, or the champion was deleted in MLflow.",
            f"`tippers models show {name}` shows their scores; `tippers models promote {name} "
            f"{newest}` promotes one by hand.",
        )
    return model.champion


def decisions(settings: Settings, name: str) -> list[Decision]:
    """Every decision about a model, newest first."""
    query = (
        sa.select(model_decision)
        .where(model_decision.c.model == name)
        .order_by(model_decision.c.id.desc())
    )
    with warehouse_engine(settings).connect() as connection:
        return [Decision(**row) for row in connection.execute(query).mappings()]


def champion_number(settings: Settings, name: str) -> int | None:
    """The champion according to the last applied decision; None if there is none."""
    c = model_decision.c
    query = (
        sa.select(c.version)
        .where(c.model == name, c.decision != "kept", c.applied_at.is_not(None))
        .order_by(c.id.desc())
        .limit(1)
    )
    with warehouse_engine(settings).connect() as connection:
        return connection.scalar(query)


def _versions_and_runs(client: Any, name: str) -> tuple[list[Any], dict[str, Any]]:
    """A model's versions and their runs in MLflow."""
    versions = versions_of(client, name)
    return versions, _runs(client, [v.run_id for v in versions if v.run_id])


def _model(
    settings: Settings, found: Any, versions: Sequence[Any], runs: Mapping[str, Any]
) -> RegisteredModel:
    named = [(int(number), alias) for alias, number in found.aliases.items() if alias != CHAMPION]
    champion = champion_number(settings, found.name)
    if champion is not None:
        named.append((champion, CHAMPION))
    aliases: dict[int, list[str]] = {}
    for number, alias in sorted(named):
        aliases.setdefault(number, []).append(alias)
    recorded = {file.version for file in model_files(settings, found.name)}
    made = [
        _version(v, runs.get(v.run_id), aliases.get(int(v.version), []))
        for v in versions
        if int(v.version) in recorded
    ]
    return RegisteredModel(found.name, tuple(sorted(made, key=lambda v: -v.number)))


def _version(found: Any, run: Any, aliases: Sequence[str]) -> ModelVersion:
    return ModelVersion(
        number=int(found.version),
        created_at=dt.datetime.fromtimestamp(found.creation_timestamp / 1000, dt.UTC),
        mlflow_run=found.run_id or "",
        dagster_run=found.tags.get(RUN_TAG, ""),
        asset_version=found.tags.get(VERSION_TAG, ""),
        tags=dict(found.tags),
        metrics={} if run is None else dict(run.data.metrics),
        params={} if run is None else dict(run.data.params),
        aliases=tuple(aliases),
    )


def _runs(client: Any, ids: Sequence[str]) -> dict[str, Any]:
    """MLflow's runs by id, in one request; runs deleted there are left out."""
    if not ids:
        return {}
    experiments = [e.experiment_id for e in pages(client.search_experiments)]
    listed = ", ".join(f"'{run}'" for run in sorted(set(ids)))
    found = pages(client.search_runs, experiments, f"attributes.run_id IN ({listed})")
    return {run.info.run_id: run for run in found}


# --- deciding -------------------------------------------------------------------------------------
def promote(settings: Settings, name: str, version: int, by: str) -> Decision:
    """Promote a version by hand; its champion's predictions become stale.

    Raises
    ------
    BadInput
        When it is already champion.
    NotRegistered
        When there is no such version.
    MlflowAway
        When the registry is unavailable; then nothing has changed.
    """
    with deciding(settings, name):
        model = registered_model(settings, name)
        chosen, before = model.version(version), _number(model.champion)
        if before == chosen.number:
            raise BadInput(f"Version {version} of {name} is already champion.")
        return record_and_apply(
            settings, Decision(name, version, before, "promoted", False, by, "By hand.")
        )


def roll_back(settings: Settings, name: str, by: str) -> Decision:
    """Make the previous champion champion again; repeated, the one before that.

    Raises
    ------
    BadInput
        When no other version was champion before.
    NotRegistered, MlflowAway
        As in :func:`promote`.
    """
    with deciding(settings, name):
        model = registered_model(settings, name)
        before = _number(model.champion)
        there = {v.number for v in model.versions}
        earlier = [n for n in champions(decisions(settings, name)) if n != before and n in there]
        if not earlier:
            raise BadInput(
                f"No other version of {name} was champion before.",
                f"`tippers models promote {name} VERSION` promotes any version.",
            )
        back = Decision(name, earlier[-1], before, "rolled_back", False, by, "By hand.")
        return record_and_apply(settings, back)


def champions(newest_first: Sequence[Decision]) -> list[int]:
    """The versions that a rollback goes through, the current champion last.

    A promotion adds a version; a rollback removes those that came after the one gone back to.
    """
    line: list[int] = []
    for decision in reversed(newest_first):
        if decision.decision == "promoted":
            line.append(decision.version)
        elif decision.decision == "rolled_back" and decision.version in line:
            del line[len(line) - line[::-1].index(decision.version) :]
    return line


@contextmanager
def deciding(settings: Settings, name: str) -> Iterator[None]:
    """One decision about a model at a time; first completes an unfinished one, and resets an alias
    that was moved in MLflow.
    """
    with advisory_locks(settings, [f"model {name}"], _log):
        _complete(settings, name)
        _align(settings, name)
        yield


def record_and_apply(settings: Settings, decision: Decision) -> Decision:
    """Record a decision, and move the alias if it says so. Call it within ``deciding``.

    Raises
    ------
    MlflowAway
        When the alias could not be moved; the decision is valid, and completed by the next one.
    """
    given = {
        column.name: getattr(decision, column.name)
        for column in model_decision.c
        if column.name not in ("id", "applied_at")
    }
    moves = decision.decision != "kept"
    at = None if moves else decision.at
    with warehouse_engine(settings).begin() as connection:
        written = connection.execute(
            sa.insert(model_decision).values(**given, applied_at=at).returning(*model_decision.c)
        )
        recorded = Decision(**written.mappings().one())
    return _apply(settings, recorded) if moves else recorded


def judged(settings: Settings, name: str, version: int) -> bool:
    """Whether a decision about a version exists, by hand or not: it is not judged again."""
    c = model_decision.c
    query = sa.select(c.id).where(c.model == name, c.version == version).limit(1)
    with warehouse_engine(settings).connect() as connection:
        return connection.scalar(query) is not None


def token_of(champion: ModelVersion | None) -> str:
    """A value that changes with the champion: predictions depend on it."""
    return NO_CHAMPION if champion is None else str(champion.number)


def _complete(settings: Settings, name: str) -> None:
    """Move the alias for decisions whose process ended before it did.

    A decision about a version that no longer exists is deleted.
    """
    left = [d for d in reversed(decisions(settings, name)) if d.applied_at is None]
    if not left:
        return
    there = {v.number for m in registered_models(settings, [name]) for v in m.versions}
    for decision in left:
        if decision.version in there:
            _apply(settings, decision)
            continue
        with warehouse_engine(settings).begin() as connection:
            connection.execute(sa.delete(model_decision).where(model_decision.c.id == decision.id))


def _align(settings: Settings, name: str) -> None:
    """Set MLflow's alias to the champion."""
    champion = champion_number(settings, name)
    if champion is None:
        return
    with mlflow_client(settings) as client:
        found = pages(client.search_registered_models, name_filter(name))
        if not found or str(found[0].aliases.get(CHAMPION)) == str(champion):
            return
        there = {int(v.version) for v in versions_of(client, name)}
        if champion in there:
            client.set_registered_model_alias(name, CHAMPION, str(champion))
            _log.warning(
                "The alias %s of %s was moved in MLflow. It is reset to version %d, the champion "
                "by the last decision; use `tippers models promote` to change it.",
                CHAMPION,
                name,
                champion,
            )


def _apply(settings: Settings, decision: Decision) -> Decision:
    """Move the alias, mark the decision as applied, and make dependent assets stale."""
    with mlflow_client(settings) as client:
        client.set_registered_model_alias(decision.model, CHAMPION, str(decision.version))
    now = dt.datetime.now(dt.UTC)
    concept, _, own = decision.model.partition(".")
    node = "/".join(champion_path(Ref(concept, own, Kind.CLASSIFIER)))
    with warehouse_engine(settings).begin() as connection:
        connection.execute(
            sa.update(model_decision)
            .where(model_decision.c.id == decision.id)
            .values(applied_at=now)
        )
        record_tokens(connection, {node: str(decision.version)})
    return Decision(**{**vars(decision), "applied_at": now})


def _number(version: ModelVersion | None) -> int | None:
    return None if version is None else version.number
