"""Reads forecasts and backtests, without a running Dagster."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.errors import BadInput, LakeFileMissing, TippersError
from tippers_dagster.forecasting.names import backtest_key
from tippers_dagster.forecasting.tables import (
    forecast,
    forecast_champion,
    forecast_score,
    forecast_training,
)
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

QUANTILE_COLUMNS = ("q025", "q10", "q50", "q90", "q975")
"""The 2.5, 10, 50, 90 and 97.5 % quantiles; ``q50`` is the forecast."""


class NotForecast(TippersError):
    """There is no such forecast or backtest."""


@dataclass(frozen=True)
class Training:
    """One materialisation of a forecaster: its backtest and trained models.

    Attributes
    ----------
    version
        Version of the asset.
    first_day, last_day
        The history, local dates [first, last).
    details
        JSON: ``spaces`` (their number), ``windows``, ``horizon_days``, ``interval_seconds``,
        ``models`` (names), ``left_out`` (model -> why it was not tried), ``seconds`` (model ->
        total of its processes), ``mlflow_run``.
    """

    forecaster: str
    version: str
    run_id: str
    trained_at: dt.datetime
    first_day: dt.date
    last_day: dt.date
    work: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """Backtest figures of a model on a space; None where nothing could be compared.

    ``score`` is relative to the seasonal naive forecast, which scores 1; lower is better.
    ``eligible``: it may become champion. ``champion``: it is the champion.
    """

    space: str
    model: str
    bins: int
    occupied: int
    mae: float | None
    rmse: float | None
    mae_occupied: float | None
    pinball: float | None
    coverage_80: float | None
    coverage_95: float | None
    score: float | None
    eligible: bool
    champion: bool


@dataclass(frozen=True)
class Champion:
    """The model that forecasts a space, with its backtest figures."""

    space: str
    model: str
    score: Score


@dataclass(frozen=True, eq=False)
class Forecast:
    """The forecast of a space.

    Attributes
    ----------
    origin
        The instant at which the history ends.
    rows
        ``interval_begin_time`` (timestamp[s] in the deployment's zone), in order, and the
        float32 columns ``QUANTILE_COLUMNS`` (devices).
    """

    forecaster: str
    space: str
    model: str
    origin: dt.datetime
    version: str
    rows: pa.Table


@dataclass(frozen=True)
class ChangedChampion:
    """A space whose champion has changed; None: it had or has none.

    ``mae_before`` and ``mae_after`` are from each champion's own backtest.
    """

    space: str
    before: str | None
    after: str | None
    mae_before: float | None
    mae_after: float | None


@dataclass(frozen=True)
class Changes:
    """Differences between the last two materialisations of a forecaster.

    Attributes
    ----------
    before, after
        The two; ``before`` is None if there is only one.
    champions
        Spaces whose champion changed, by id.
    score_deltas
        Per model, the mean change of ``score`` over the spaces in both; below 0 is better.
    """

    before: Training | None
    after: Training
    champions: tuple[ChangedChampion, ...]
    score_deltas: Mapping[str, float]


# --- backtests ----------------------------------------------------------------------------------
def trainings(settings: Settings, name: str) -> list[Training]:
    """The stored materialisations of a forecaster, the newest first."""
    c = forecast_training.c
    query = sa.select(forecast_training).where(c.forecaster == name).order_by(c.trained_at.desc())
    with warehouse_engine(settings).connect() as connection:
        return [Training(**row) for row in connection.execute(query).mappings()]


def last_training(settings: Settings, name: str) -> Training:
    """The newest materialisation of a forecaster.

    Raises
    ------
    NotForecast
        When there is none.
    """
    found = trainings(settings, name)
    if not found:
        raise NotForecast(
            f"The forecaster {name!r} has no backtest yet.",
            f"`tippers pipeline materialize forecaster.{name}` runs it.",
        )
    return found[0]


def backtest_scores(
    settings: Settings, name: str, space: str | None = None, *, version: str | None = None
) -> list[Score]:
    """Scores of all models, by space and then from best to worst.

    Parameters
    ----------
    space
        Only this space.
    version
        Version of the materialisation; None: the newest.

    Raises
    ------
    NotForecast
        When there is no backtest, or the space is not in it.
    """
    version = version or last_training(settings, name).version
    s, c = forecast_score.c, forecast_champion.c
    same = (c.forecaster == s.forecaster, c.version == s.version, c.space == s.space)
    won = sa.func.coalesce(c.model == s.model, sa.false()).label("champion")
    columns = [column for column in s if column.name not in ("forecaster", "version")]
    query = (
        sa.select(*columns, won)
        .select_from(forecast_score.outerjoin(forecast_champion, sa.and_(*same)))
        .where(s.forecaster == name, s.version == version)
        .order_by(s.space, s.score.nulls_last(), s.model)
    )
    if space is not None:
        query = query.where(s.space == space)
    with warehouse_engine(settings).connect() as connection:
        found = [Score(**row) for row in connection.execute(query).mappings()]
    if not found and space is not None:
        raise NotForecast(
            f"The forecaster {name!r} has no space {space!r}.",
            f"`tippers forecast show {name}` lists its spaces.",
        )
    return found


def champions(settings: Settings, name: str, *, version: str | None = None) -> list[Champion]:
    """The champion of each space, by id.

    Raises
    ------
    NotForecast
        When there is no backtest.
    """
    scores = backtest_scores(settings, name, version=version)
    return [Champion(s.space, s.model, s) for s in scores if s.champion]


def changes_since_last(settings: Settings, name: str) -> Changes:
    """The differences between the last two materialisations.

    Raises
    ------
    NotForecast
        When there is no backtest.
    """
    kept = trainings(settings, name)
    after = last_training(settings, name)
    if len(kept) < 2:
        return Changes(None, after, (), {})
    new = backtest_scores(settings, name, version=after.version)
    old = backtest_scores(settings, name, version=kept[1].version)
    return Changes(kept[1], after, _changed_champions(old, new), _mean_deltas(old, new))


def _changed_champions(old: Sequence[Score], new: Sequence[Score]) -> tuple[ChangedChampion, ...]:
    old_champions, new_champions = (
        {s.space: s for s in scores if s.champion} for scores in (old, new)
    )
    changed = []
    for space in sorted(old_champions.keys() | new_champions.keys()):
        before, after = old_champions.get(space), new_champions.get(space)
        if (before and before.model) != (after and after.model):
            changed.append(
                ChangedChampion(
                    space,
                    before.model if before else None,
                    after.model if after else None,
                    before.mae if before else None,
                    after.mae if after else None,
                )
            )
    return tuple(changed)


def _mean_deltas(old: Sequence[Score], new: Sequence[Score]) -> dict[str, float]:
    old_scores = {(s.space, s.model): s.score for s in old if s.score is not None}
    deltas: dict[str, list[float]] = {}
    for s in new:
        old_score = old_scores.get((s.space, s.model))
        if old_score is not None and s.score is not None:
            deltas.setdefault(s.model, []).append(s.score - old_score)
    return {model: sum(values) / len(values) for model, values in deltas.items()}


def read_backtest(settings: Settings, name: str, space: str) -> pa.Table:
    """The backtest forecasts of each model for a space, with the actual counts.

    Returns
    -------
    pa.Table
        ``model`` (string), ``origin`` (date32: the first day forecast), ``interval_begin_time``
        (timestamp[s] in the deployment's zone), float32 columns ``QUANTILE_COLUMNS``, and
        ``number_connections`` (float32, the actual count; null where not computed).

    Raises
    ------
    NotForecast
        When there is none.
    BadInput
        When the space has been deleted since.
    """
    version = last_training(settings, name).version
    try:
        found = open_lake(settings).read_table(backtest_key(name, space))
    except LakeFileMissing:
        raise NotForecast(
            f"The forecaster {name!r}, version {version[:8]}, has no space {space!r}.",
            f"`tippers forecast show {name}` lists its spaces.",
        ) from None
    load_tree(settings).position(space)
    return _in_zone(found, settings)


# --- forecasts ----------------------------------------------------------------------------------
def forecast_spaces(settings: Settings, name: str) -> list[str]:
    """The spaces that have a forecast, sorted."""
    query = sa.select(forecast.c.space).where(forecast.c.forecaster == name).distinct()
    with warehouse_engine(settings).connect() as connection:
        return sorted(connection.scalars(query))


def read_forecast(settings: Settings, name: str, space: str) -> Forecast:
    """The forecast of a space per bin.

    Raises
    ------
    NotForecast
        When the forecaster has no forecast of this space.
    BadInput
        When the space has been deleted since.
    """
    c = forecast.c
    chosen = (c.forecaster == name, c.space == space)
    query = sa.select(forecast).where(*chosen).order_by(c.interval_begin_time)
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(query).all()
    if not rows:
        spaces = forecast_spaces(settings, name)
        raise NotForecast(
            f"The forecaster {name!r} has no forecast of space {space!r}.",
            f"It has forecasts of {', '.join(spaces[:20])}."
            if spaces
            else f"`tippers pipeline materialize forecaster.{name}+` computes its forecasts.",
        )
    load_tree(settings).position(space)
    times = pa.array([row.interval_begin_time for row in rows], pa.timestamp("s", "UTC"))
    columns = {n: pa.array([getattr(r, n) for r in rows], pa.float32()) for n in QUANTILE_COLUMNS}
    table = pa.table({"interval_begin_time": times, **columns})
    first = rows[0]
    return Forecast(
        name, space, first.model, first.origin, first.version, _in_zone(table, settings)
    )


def find_forecaster(settings: Settings, name: str) -> str:
    """The name, if there is such a forecaster.

    Raises
    ------
    BadInput
        When there is none; names the existing ones.
    """
    names = forecaster_names(settings)
    if name not in names:
        raise BadInput(
            f"There is no forecaster {name!r}.",
            f"Existing forecasters: {', '.join(names)}." if names else "None is defined.",
        )
    return name


def forecaster_names(settings: Settings) -> list[str]:
    """Names of all forecasters, sorted."""
    from tippers_dagster.catalog.kinds import Kind
    from tippers_dagster.catalog.store import load_catalog

    return sorted(d.ref.name for d in load_catalog(settings).of_kind(Kind.FORECASTER))


def _in_zone(table: pa.Table, settings: Settings) -> pa.Table:
    at = table.schema.get_field_index("interval_begin_time")
    times = table["interval_begin_time"].cast(pa.timestamp("s", settings.timezone))
    return table.set_column(at, "interval_begin_time", times)
