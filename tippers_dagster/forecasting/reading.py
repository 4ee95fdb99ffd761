"""Reading forecasts and backtests, without a running Dagster."""

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
    """There is no forecast, or no backtest, of this."""


@dataclass(frozen=True)
class Training:
    """One materialisation of a forecaster: its backtest and trained models.

    Attributes
    ----------
    version
        Of the asset.
    first_day, last_day
        The history, local dates [first, last).
    details
        JSON: ``spaces`` (how many), ``windows``, ``horizon_days``, ``interval_seconds``,
        ``models`` (names), ``left_out`` (model -> why it was not tried), ``seconds`` (model ->
        of all its processes together), ``mlflow_run``.
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
    """How well a model would have forecast a space. None where nothing could be compared.

    ``score``: beside the seasonal naive forecast, which has 1; less is better. ``champion``:
    whether it won. ``eligible``: whether it may win.
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
    """The model that a space is forecast with, and how it did in the backtest."""

    space: str
    model: str
    score: Score


@dataclass(frozen=True, eq=False)
class Forecast:
    """What is expected of a space.

    Attributes
    ----------
    origin
        The history ends here: an instant.
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
    """A space whose champion is another one now; None: it had, or has, none.

    ``mae_before``, ``mae_after``: of the two champions, each in its own backtest.
    """

    space: str
    before: str | None
    after: str | None
    mae_before: float | None
    mae_after: float | None


@dataclass(frozen=True)
class Changes:
    """What differs between the last two materialisations of a forecaster.

    Attributes
    ----------
    before, after
        The two; ``before`` is None when there is only one.
    champions
        Spaces whose champion changed, in order of their ids.
    score_deltas
        Per model, mean over the spaces in both of what it won (below 0) or lost (above) in
        ``score``.
    """

    before: Training | None
    after: Training
    champions: tuple[ChangedChampion, ...]
    score_deltas: Mapping[str, float]


# --- backtests ----------------------------------------------------------------------------------
def trainings(settings: Settings, name: str) -> list[Training]:
    """The materialisations of a forecaster that are kept, the newest first; empty: none yet."""
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
            f"`tippers pipeline materialize forecaster.{name}` makes it.",
        )
    return found[0]


def backtest_scores(
    settings: Settings, name: str, space: str | None = None, *, version: str | None = None
) -> list[Score]:
    """Scores of all models, by space and then from the best to the worst.

    Parameters
    ----------
    space
        Of this one only.
    version
        Of this materialisation; None: the newest.

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
            f"{space!r} is none of the spaces of the forecaster {name!r}.",
            f"`tippers forecast show {name}` lists them.",
        )
    return found


def champions(settings: Settings, name: str, *, version: str | None = None) -> list[Champion]:
    """The champion of each space, in order of their ids.

    Raises
    ------
    NotForecast
        When there is no backtest.
    """
    scores = backtest_scores(settings, name, version=version)
    return [Champion(s.space, s.model, s) for s in scores if s.champion]


def what_changed(settings: Settings, name: str) -> Changes:
    """What differs between the last two materialisations.

    Raises
    ------
    NotForecast
        When there is no backtest.
    """
    kept = trainings(settings, name)
    after = last_training(settings, name)
    if len(kept) < 2:
        return Changes(None, after, (), {})
    now = backtest_scores(settings, name, version=after.version)
    then = backtest_scores(settings, name, version=kept[1].version)
    return Changes(kept[1], after, _changed_champions(then, now), _deltas(then, now))


def _changed_champions(then: Sequence[Score], now: Sequence[Score]) -> tuple[ChangedChampion, ...]:
    before, after = ({s.space: s for s in scores if s.champion} for scores in (then, now))
    changed = []
    for space in sorted(before.keys() | after.keys()):
        one, other = before.get(space), after.get(space)
        if (one and one.model) != (other and other.model):
            changed.append(
                ChangedChampion(
                    space,
                    one.model if one else None,
                    other.model if other else None,
                    one.mae if one else None,
                    other.mae if other else None,
                )
            )
    return tuple(changed)


def _deltas(then: Sequence[Score], now: Sequence[Score]) -> dict[str, float]:
    before = {(s.space, s.model): s.score for s in then if s.score is not None}
    moved: dict[str, list[float]] = {}
    for s in now:
        was = before.get((s.space, s.model))
        if was is not None and s.score is not None:
            moved.setdefault(s.model, []).append(s.score - was)
    return {model: sum(deltas) / len(deltas) for model, deltas in moved.items()}


def read_backtest(settings: Settings, name: str, space: str) -> pa.Table:
    """What each model would have forecast for a space, beside what came.

    Returns
    -------
    pa.Table
        ``model`` (string), ``origin`` (date32: the first day forecast), ``interval_begin_time``
        (timestamp[s] in the deployment's zone), float32 columns ``QUANTILE_COLUMNS``, and
        ``number_connections`` (float32; null where it is not computed).

    Raises
    ------
    NotForecast
        When there is none.
    BadInput
        A space that was deleted since.
    """
    version = last_training(settings, name).version
    try:
        found = open_lake(settings).read_table(backtest_key(name, space))
    except LakeFileMissing:
        raise NotForecast(
            f"{space!r} is none of the spaces of the forecaster {name!r} of version {version[:8]}.",
            f"`tippers forecast show {name}` lists them.",
        ) from None
    load_tree(settings).position(space)
    return _in_zone(found, settings)


# --- forecasts ----------------------------------------------------------------------------------
def forecast_spaces(settings: Settings, name: str) -> list[str]:
    """The spaces that are forecast now, sorted; empty: none yet."""
    query = sa.select(forecast.c.space).where(forecast.c.forecaster == name).distinct()
    with warehouse_engine(settings).connect() as connection:
        return sorted(connection.scalars(query))


def read_forecast(settings: Settings, name: str, space: str) -> Forecast:
    """What is expected of a space, bin by bin.

    Raises
    ------
    NotForecast
        When the forecaster has none of this space.
    BadInput
        A space that was deleted since.
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
            else f"`tippers pipeline materialize forecaster.{name}+` makes them.",
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
    """The name itself.

    Raises
    ------
    BadInput
        When no forecaster has it, with those that there are.
    """
    names = forecaster_names(settings)
    if name not in names:
        raise BadInput(
            f"There is no forecaster {name!r}.",
            f"There are: {', '.join(names)}." if names else "None is defined.",
        )
    return name


def forecaster_names(settings: Settings) -> list[str]:
    """All forecasters that are defined."""
    from tippers_dagster.catalog.kinds import Kind
    from tippers_dagster.catalog.store import load_catalog

    return sorted(d.ref.name for d in load_catalog(settings).of_kind(Kind.FORECASTER))


def _in_zone(table: pa.Table, settings: Settings) -> pa.Table:
    at = table.schema.get_field_index("interval_begin_time")
    times = table["interval_begin_time"].cast(pa.timestamp("s", settings.timezone))
    return table.set_column(at, "interval_begin_time", times)
