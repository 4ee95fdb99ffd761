"""Forecasts: history and forecast of a space, backtest scores, what the newest backtest changed.

Charts take times as milliseconds of the local wall clock counted as if they were UTC, as on the
occupancy page.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from streamlit_app.services.app import App
from streamlit_app.services.occupancy.computed import Log, log_span
from streamlit_app.services.occupancy.local_time import local_seconds, local_time
from streamlit_app.services.occupancy.series import Series, series
from streamlit_app.services.occupancy.window import Window
from tippers_dagster.access.model import Role
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.catalog.kinds import Forecaster, Kind
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.forecasting import reading
from tippers_dagster.forecasting.names import ALWAYS, FORECAST_SUFFIX
from tippers_dagster.forecasting.reading import (
    QUANTILE_COLUMNS,
    Changes,
    Forecast,
    NotForecast,
    Score,
    Training,
)
from tippers_dagster.forecasting.tables import forecast
from tippers_dagster.occupancy.export import times_as_text
from tippers_dagster.platform.table_files import Format, table_bytes
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from streamlit_app.services.pipeline.graph import Graph, Item

MEDIAN = "q50"
T = TypeVar("T")


# --- forecasters ---------------------------------------------------------------------------------
@dataclass(frozen=True)
class Defined:
    """A defined forecaster.

    Attributes
    ----------
    problem
        Why it cannot work; empty if it can.
    body
        None when the definition cannot be read.
    spaces
        Ids of the spaces that have a backtest or a forecast.
    """

    name: str
    description: str
    problem: str
    body: Forecaster | None
    spaces: tuple[str, ...]


def forecasters(app: App) -> list[Defined]:
    """All forecasters, by name."""
    catalog = load_catalog(app.settings)
    return [
        Defined(
            d.ref.name,
            d.description,
            catalog.problems.get(d.ref, ""),
            d.body if isinstance(d.body, Forecaster) else None,
            _spaces(app.settings, d.ref.name),
        )
        for d in catalog.of_kind(Kind.FORECASTER, broken=True)
    ]


def _spaces(settings: Settings, name: str) -> tuple[str, ...]:
    tested = _or_none(lambda: reading.backtest_scores(settings, name)) or []
    found = {s.space for s in tested} | set(reading.forecast_spaces(settings, name))
    return tuple(sorted(found.intersection(load_tree(settings).index))) if found else ()


def _or_none(read: Callable[[], T]) -> T | None:
    """Call a reading function; None when there is nothing to read yet."""
    try:
        return read()
    except NotForecast:
        return None


@dataclass(frozen=True)
class Status:
    """The status of a forecaster's two assets; None: Dagster has not loaded the asset yet."""

    backtest: Item | None
    forecast: Item | None

    @property
    def stale(self) -> list[str]:
        """Names of the assets that need computing."""
        both = [item for item in (self.backtest, self.forecast) if item is not None]
        return [item.name for item in both if item.standing in ("waiting", "stale", "failed")]


def status(seen: Graph, name: str) -> Status:
    """The status of a forecaster's assets in the graph of all assets."""
    asset = f"{Kind.FORECASTER.value}/{name}"
    return Status(seen.items.get(asset), seen.items.get(f"{asset}{FORECAST_SUFFIX}"))


def training(app: App, name: str) -> Training | None:
    """The newest backtest; None before the first."""
    found = reading.trainings(app.settings, name)
    return found[0] if found else None


def changes(app: App, name: str) -> Changes | None:
    """What the newest backtest changed; None before the first."""
    return _or_none(lambda: reading.changes_since_last(app.settings, name))


# --- models --------------------------------------------------------------------------------------
ModelRole = Literal["champion", "baseline", "model"]


@dataclass(frozen=True)
class Compared:
    """A model in the backtest of a space, and its role there."""

    score: Score
    role: ModelRole


def comparison(app: App, name: str, space: str) -> list[Compared]:
    """All models, best first; empty when the space has no backtest."""
    found = _or_none(lambda: reading.backtest_scores(app.settings, name, space)) or []
    return [Compared(score, _role(score)) for score in found]


def _role(score: Score) -> ModelRole:
    if score.champion:
        return "champion"
    return "baseline" if score.model in ALWAYS else "model"


@dataclass(frozen=True)
class Winner:
    """The champion of a space, and the error of the seasonal naive baseline."""

    space: str
    model: str
    mae: float | None
    naive_mae: float | None
    coverage_80: float | None


def winners(app: App, name: str) -> list[Winner]:
    """The champion of every space."""
    scores = _or_none(lambda: reading.backtest_scores(app.settings, name)) or []
    naive = {s.space: s.mae for s in scores if s.model == "seasonal_naive"}
    return [
        Winner(s.space, s.model, s.mae, naive.get(s.space), s.coverage_80)
        for s in scores
        if s.champion
    ]


# --- history and forecast ------------------------------------------------------------------------
@dataclass(frozen=True)
class Numbers:
    """The main numbers of a forecast, in devices: ``peak`` and ``mean`` of its median.

    ``low`` and ``high`` are the ends of the 80 % interval at the peak.
    """

    peak: float
    peak_at: dt.datetime
    low: float
    high: float
    mean: float
    total_bins: int


@dataclass(frozen=True, eq=False)
class ShownForecast:
    """The history and the forecast of a space.

    Attributes
    ----------
    history
        None when nothing in the window is computed. Includes actual counts after the origin.
    points
        ``time``, ``until`` (milliseconds of the wall clock), and the quantiles.
    origin
        Local time at which the forecast begins.
    """

    forecast: Forecast
    history: Series | None
    points: pa.Table
    numbers: Numbers
    origin: dt.datetime
    width: int


def ahead(app: App, name: str, space: str, days: int, width: int) -> ShownForecast | None:
    """The forecast of a space with its recent history; None when there is no forecast yet.

    Parameters
    ----------
    days
        Days of history.
    width
        The forecaster's bin width in seconds.
    """
    found = _or_none(lambda: reading.read_forecast(app.settings, name, space))
    if found is None:
        return None
    points = quantile_points(app.settings, found.rows, width)
    origin = local_time(app.settings, int(found.origin.timestamp()))
    start = dt.datetime.combine(origin.date() - dt.timedelta(days), dt.time())
    end = origin + dt.timedelta(days=_days(points))
    history = history_of(app.settings, space, Window(start, end), width)
    return ShownForecast(found, history, points, _numbers(points), origin, width)


def history_of(settings: Settings, space: str, window: Window, width: int) -> Series | None:
    """The actual counts; None when nothing in the window is computed."""
    log: Log | None = log_span(settings)
    found = series(settings, [space], window, width, log)[0]
    return found if found.computed.any() else None


def quantile_points(settings: Settings, rows: pa.Table, width: int) -> pa.Table:
    """Quantiles with the local begin and end of each bin."""
    instants = rows["interval_begin_time"].cast(pa.timestamp("s", "UTC")).cast(pa.int64())
    local = local_seconds(settings, instants.to_numpy())
    columns = {name: rows[name] for name in QUANTILE_COLUMNS}
    return pa.table({"time": local * 1000.0, "until": (local + width) * 1000.0, **columns})


def _days(points: pa.Table) -> int:
    if not points.num_rows:
        return 0
    span = points["until"][-1].as_py() - points["time"][0].as_py()
    return int(-(-span // 86_400_000))


def _numbers(points: pa.Table) -> Numbers:
    median = points[MEDIAN].to_numpy()
    at = int(np.argmax(median))
    peak_at = dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=points["time"][at].as_py())
    low, high = (float(points[name][at].as_py()) for name in ("q10", "q90"))
    return Numbers(float(median[at]), peak_at, low, high, float(median.mean()), len(median))


# --- backtests -----------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Backtest:
    """A model's forecast from one past day, and the actual counts.

    ``points``: as in ``ShownForecast``, with ``actual`` (null where not computed). ``covered``: the
    share of bins whose actual count is within the 80 % interval.
    """

    model: str
    origin: dt.date
    points: pa.Table
    covered: float | None
    mae: float | None


def backtest(
    app: App, name: str, space: str, model: str, origin: dt.date, width: int
) -> Backtest | None:
    """One model's forecast from one past day; None when there is none."""
    rows = _or_none(lambda: reading.read_backtest(app.settings, name, space))
    if rows is None:
        return None
    chosen = np.array(rows["model"].to_pylist()) == model
    chosen &= rows["origin"].to_numpy() == np.datetime64(origin)
    rows = rows.filter(pa.array(chosen))
    if not rows.num_rows:
        return None
    points = quantile_points(app.settings, rows, width)
    counts = rows["number_connections"]
    points = points.append_column("actual", counts.cast(pa.float64()))
    actual = counts.to_numpy().astype(float)
    known = np.isfinite(actual)
    low, high = (rows[n].to_numpy() for n in ("q10", "q90"))
    inside = (actual >= low) & (actual <= high)
    error = np.abs(actual - rows[MEDIAN].to_numpy())
    return Backtest(
        model,
        origin,
        points,
        float(inside[known].mean()) if known.any() else None,
        float(error[known].mean()) if known.any() else None,
    )


def origins(app: App, name: str, space: str) -> list[dt.date]:
    """The first days of the backtest's forecasts, latest first."""
    rows = _or_none(lambda: reading.read_backtest(app.settings, name, space))
    if rows is None:
        return []
    return sorted(set(rows["origin"].unique().to_pylist()), reverse=True)


# --- a file --------------------------------------------------------------------------------------
def export(app: App, name: str, spaces: Sequence[str], kind: Format) -> bytes:
    """The forecasts of some spaces as a file: space, begin of the bin, quantiles, model.

    Raises
    ------
    NotAllowed
        The person may not view forecasts.
    NotForecast
        None of these spaces has a forecast.
    """
    app.person.require(Role.VIEWER, "download forecasts")
    table = _forecasts(app.settings, name, spaces)
    return table_bytes(times_as_text(table) if kind == "csv" else table, kind)


def _forecasts(settings: Settings, name: str, spaces: Sequence[str]) -> pa.Table:
    """The forecasts of some spaces. Raises BadInput for a space that no longer exists."""
    c = forecast.c
    names = ("space", "interval_begin_time", *QUANTILE_COLUMNS, "model")
    query = (
        sa.select(*(c[n] for n in names))
        .where(c.forecaster == name, c.space.in_(spaces))
        .order_by(c.space, c.interval_begin_time)
    )
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(query).all()
    if not rows:
        raise NotForecast(f"The forecaster {name!r} has no forecasts for these spaces yet.")
    tree = load_tree(settings)
    for space in spaces:
        tree.position(space)
    types = {"interval_begin_time": pa.timestamp("s", "UTC"), "space": pa.string()}
    types |= {"model": pa.string()}
    columns = zip(names, zip(*rows, strict=True), strict=True)
    table = pa.table({n: pa.array(v, types.get(n, pa.float32())) for n, v in columns})
    times = table["interval_begin_time"].cast(pa.timestamp("s", settings.timezone))
    return table.set_column(1, "interval_begin_time", times)
