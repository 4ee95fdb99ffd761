"""A hall with two rooms used during the day, over five weeks."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import dagster as dg

from tests.labelling.small import QUIET
from tests.occupancy.campus import Seen, compute_all, fill
from tippers_dagster.automation.nodes import Node
from tippers_dagster.automation.snapshot import Snapshot
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Forecaster, Kind
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.forecasting.assets import forecast_assets, forecast_nodes
from tippers_dagster.settings import Settings

MONDAY = dt.date(2025, 1, 6)
WEEKS = 5
PARENTS = {"campus": None, "hall": "campus", "r1": "hall", "r2": "hall", "r3": "hall"}
BODY = Forecaster(spaces=("hall", "r1", "r2", "r3"), interval_seconds=3600, models=("lightgbm",))
BACKTEST, FORECAST = "forecaster/hall", "forecaster/hall__forecast"


def people_of(day: int, room: str) -> int:
    """Number of people in a room from 09:00 to 17:00; fewer at weekends, none in r3."""
    if room == "r3":
        return 0
    weekday = day % 7
    return 1 if weekday > 4 else 5 + weekday + (3 if room == "r2" else 0)


def seen(day: int) -> list[Seen]:
    """The sessions of a day; a printer is present day and night."""
    midnight = dt.datetime.combine(MONDAY + dt.timedelta(day), dt.time())
    rows = [Seen("02:00:00:00:99:99", "r1", midnight, midnight + dt.timedelta(days=1))]
    for r, room in enumerate(("r1", "r2")):
        begin, end = midnight + dt.timedelta(hours=9), midnight + dt.timedelta(hours=17)
        for person in range(people_of(day, room)):
            rows.append(Seen(f"02:00:00:00:0{r}:{person:02x}", room, begin, end))
    return rows


def make(settings: Settings, weeks: int = WEEKS) -> None:
    """The campus, all computed."""
    fill(settings, PARENTS, [row for day in range(7 * weeks) for row in seen(day)])
    track(settings, space="campus", start=MONDAY, end=MONDAY + dt.timedelta(weeks=weeks))
    compute_all(settings)


@dataclass
class World:
    """Its forecaster."""

    settings: Settings
    instance: dg.DagsterInstance
    body: Forecaster = BODY

    @property
    def catalog(self) -> Catalog:
        ref = Ref("", "hall", Kind.FORECASTER)
        return Catalog([Definition(ref, self.body, "The hall.", "ada@campus.edu")])

    @property
    def nodes(self) -> list[Node]:
        return forecast_nodes(self.settings, self.catalog)

    def run(self, *assets: str) -> dg.ExecuteInProcessResult:
        """Materialize these of its assets, or both."""
        keys = [dg.AssetKey(name.split("/")) for name in assets]
        return dg.materialize(
            forecast_assets(self.settings, self.catalog, self.nodes),
            instance=self.instance,
            selection=dg.AssetSelection.assets(*keys) if keys else None,
            raise_on_error=False,
            run_config=QUIET,
        )

    def stale(self) -> set[str]:
        return Snapshot.take(self.settings, self.instance, self.nodes, check_sources_now=True).stale
