"""The demonstration from nothing to judged counts. Every step can be repeated."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq

from tippers_dagster.automation.specs import UNEXPECTED
from tippers_dagster.campus.spaces.tracking import Grid
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.demo.classifiers import ClassifierResult, judge_classifiers
from tippers_dagster.demo.counts import check_equal, lake_counts, recount, true_counts
from tippers_dagster.demo.data import Extent, extent, prepare_simulated, prepare_smartspec
from tippers_dagster.demo.figures import SpaceFigures, campus_figures
from tippers_dagster.demo.forecasts import FORECASTER, ForecastResult, judge_forecasts
from tippers_dagster.demo.headcounts import NoTruth, PeopleResult, head_counts, judge_people
from tippers_dagster.demo.levels import LEVELS, Level, LevelResult, judge_level
from tippers_dagster.errors import TippersError
from tippers_dagster.graph.launch import Outcome
from tippers_dagster.people.counts.calibration import TooFew
from tippers_dagster.people.counts.head_counts import import_head_counts
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.simulation import CampusOptions

Progress = Callable[[str, float, float], None]
"""Called with what is being done, how much of it is done, and how much there is."""

RECOUNTED_WIDTHS = (900, 3600)


class DemoFailed(TippersError):
    """Something of the demonstration could not be computed."""


@dataclass(frozen=True)
class Timing:
    """One stage: what it came to, and how long it took."""

    stage: str
    seconds: float
    result: str


@dataclass
class Demonstration:
    """What was found.

    ``equal`` counts the bins that were compared with ``against``. ``missing``: label models,
    classifiers and forecasters that these data do not suffice for, and why: a small campus may
    have no visitor, a short log no week to learn from.
    """

    tree: SpaceTree
    span: Extent
    campus: SpaceFigures
    buildings: list[SpaceFigures]
    equal: int
    against: str
    fresh_data: bool
    levels: list[LevelResult]
    classifiers: list[ClassifierResult]
    people: list[PeopleResult]
    forecasts: ForecastResult | None
    missing: dict[str, str]
    timings: list[Timing] = field(default_factory=list)


class _Stages:
    """Times the stages, and reports them as they run."""

    def __init__(self, progress: Progress) -> None:
        self.timings: list[Timing] = []
        self._progress = progress

    @contextmanager
    def stage(self, name: str) -> Iterator[list[str]]:
        """Append to the list what the stage came to."""
        result: list[str] = []
        began = time.monotonic()
        self._progress(name, 0, 1)
        yield result
        self._progress(name, 1, 1)
        self.timings.append(Timing(name, time.monotonic() - began, " ".join(result)))


def demonstrate(
    settings: Settings, data: CampusOptions | Path, progress: Progress
) -> Demonstration:
    """Make or find the campus, materialize all of it through Dagster, and judge the counts.

    Parameters
    ----------
    settings
        Of the home, or deployment.
    data
        A campus to simulate, or the folder of a SmartSPEC scenario.
    progress
        Told how far each stage is.

    Raises
    ------
    BadInput
        When the source tables hold other data, which is left alone.
    WrongCounts
        When a single count is not what it must be, naming the first few.
    DemoFailed
        When a definition could not be computed.
    """
    stages = _Stages(progress)
    with stages.stage("start the database"):
        warehouse_engine(settings)
    fresh_data = _prepare(settings, data, stages, progress)
    span = extent(settings)
    grid = _track(settings, span, stages)
    _materialize(settings, stages, progress)
    against = "recount" if isinstance(data, Path) else "truth"
    with stages.stage(f"compare with the {against}") as result:
        equal = _judge(settings, grid, span, against)
        result.append(f"{equal:,} counts equal")
    _count_heads(settings, stages)
    missing = _compute_definitions(settings, stages, progress)
    levels = [judge_level(settings, level) for level in LEVELS if _name(level) not in missing]
    campus, buildings = campus_figures(settings, grid.tree, span)
    with stages.stage("judge classifiers, people, forecasts"):
        classifiers = judge_classifiers(settings)
        people = _people(settings, missing)
        no_forecast = any(name.startswith(f"forecaster/{FORECASTER}") for name in missing)
        forecasts = None if no_forecast else judge_forecasts(settings)
    return Demonstration(
        tree=grid.tree,
        span=span,
        campus=campus,
        buildings=buildings,
        equal=equal,
        against=against,
        fresh_data=fresh_data,
        levels=[result for result in levels if result.evaluation.entities],
        classifiers=classifiers,
        people=people,
        forecasts=forecasts,
        missing=missing,
        timings=stages.timings,
    )


def _prepare(
    settings: Settings, data: CampusOptions | Path, stages: _Stages, progress: Progress
) -> bool:
    name = "ingest the scenario" if isinstance(data, Path) else "simulate the campus"
    with stages.stage(name) as result:

        def share(done: float, total: float) -> None:
            progress(name, done, total)

        if isinstance(data, Path):
            fresh = prepare_smartspec(settings, data, share)
        else:
            fresh = prepare_simulated(settings, data, share)
        if not fresh:
            result.append("there already")
    return fresh


def _track(settings: Settings, span: Extent, stages: _Stages) -> Grid:
    # Dagster takes a while to import: told apart from what it then does.
    with stages.stage("load Dagster"):
        from tippers_dagster.occupancy.tracking import track_space
    with stages.stage("track") as result:
        for root in load_tree(settings).roots:
            grid = track_space(settings, space=root, start=span.first, end=span.until)
        spaces = len(grid.leaves) + len(grid.parents)
        chunks = _counted(len(grid.chunks), settings.chunk)
        result.append(f"{_counted(spaces, 'space')} x {chunks}")
    return grid


def _materialize(settings: Settings, stages: _Stages, progress: Progress) -> None:
    from tippers_dagster.occupancy.launch import materialize
    from tippers_dagster.platform.dagster.environment import dagster_instance

    with dagster_instance(settings) as instance:
        for done in materialize(settings, instance, on_progress=progress):
            told = f"{_counted(done.partitions, 'partition')}, {_counted(done.runs, 'run')}"
            stages.timings.append(
                Timing(done.asset, done.seconds, told if done.partitions else "up to date already")
            )


def _count_heads(settings: Settings, stages: _Stages) -> None:
    """Take in head counts as somebody might have made them, where the truth is known."""
    with stages.stage("import head counts") as result, TemporaryDirectory() as folder:
        try:
            counted = head_counts(settings)
        except NoTruth:
            result.append("none: nobody knows how many there were")
            return
        file = Path(folder) / "head_counts.parquet"
        pq.write_table(counted, file)
        import_head_counts(settings, file, by="demo")
        result.append(f"{counted.num_rows:,} of some spaces, on every other day")


def _compute_definitions(settings: Settings, stages: _Stages, progress: Progress) -> dict[str, str]:
    """Compute the definitions; which could not be learned from these data, and why."""
    from tippers_dagster.graph.launch import materialize_definitions
    from tippers_dagster.platform.dagster.environment import dagster_instance

    with stages.stage("indexes to forecasts") as result, dagster_instance(settings) as instance:
        outcomes = materialize_definitions(settings, instance, on_progress=progress)
        computed = sum(o.state == "computed" for o in outcomes)
        result.append(_counted(computed, "asset") if outcomes else "up to date already")
    missing = unlearned(settings, outcomes)
    wrong = [o for o in outcomes if o.state != "computed" and o.name not in missing]
    if wrong:
        told = "\n".join(f"{o.name}: {o.why}" for o in wrong[:5])
        raise DemoFailed(
            f"{_counted(len(wrong), 'asset')} could not be computed:\n{told}",
            "`tippers pipeline status` tells of all of them.",
        )
    return missing


def unlearned(settings: Settings, outcomes: list[Outcome]) -> dict[str, str]:
    """Why what is learned could not be from these data, and what stands on it, by name.

    What nobody foresaw is no matter of the data.
    """
    learned = _learned(settings)
    found: dict[str, str] = {}
    for o in outcomes:  # each after what it reads
        refused = o.state == "failed" and not o.why.startswith(UNEXPECTED)
        if o.above in found or (refused and o.name.split("__")[0] in learned):
            found[o.name] = o.why
    return found


def _learned(settings: Settings) -> set[str]:
    """Names of the assets that need enough data of the right kind."""
    catalog = load_catalog(settings)
    kinds = (
        Kind.LABEL_MODEL,
        Kind.CLASSIFIER,
        Kind.FORECASTER,
        Kind.LABELLED_OCCUPANCY,
        Kind.PEOPLE_COUNT,
    )
    return {d.ref.asset_name for kind in kinds for d in catalog.of_kind(kind)}


def _name(level: Level) -> str:
    return f"{level.concept}/{level.label_model}"


def _people(settings: Settings, missing: dict[str, str]) -> list[PeopleResult]:
    """How well people are counted, where it is known how many there were."""
    if "device/device_type" in missing:
        return []
    try:
        return judge_people(settings)
    except (NoTruth, TooFew):
        return []  # a scenario has no truth, and a tiny campus too little of it


def _judge(settings: Settings, grid: Grid, span: Extent, against: str) -> int:
    if against == "recount":
        expected = recount(settings, grid.tree, span.first, span.days, RECOUNTED_WIDTHS)
    else:
        expected = true_counts(settings)
    widths = expected["interval_seconds"].unique().to_pylist()
    chunks = _chunks(settings, span)
    found = lake_counts(settings, grid.tree.ids, chunks, widths)
    return check_equal(found, expected, grid.tree, against)


def _chunks(settings: Settings, span: Extent) -> list[str]:
    from tippers_dagster.campus.local_time import chunk_keys

    return chunk_keys(span.first, span.until, settings.chunk)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
