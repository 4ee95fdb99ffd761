"""Runs the demo: makes a campus, computes everything, and compares it with the truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tippers_dagster.automation.computation import UNEXPECTED
from tippers_dagster.campus.local_time import chunk_bounds, chunk_keys
from tippers_dagster.campus.spaces.tracking import Grid
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.demo.classifiers import ClassifierResult, evaluate_classifiers
from tippers_dagster.demo.counts import check_equal, lake_counts, recount, true_counts
from tippers_dagster.demo.data import Extent, extent, prepare_simulated, prepare_smartspec
from tippers_dagster.demo.figures import SpaceFigures, campus_figures
from tippers_dagster.demo.forecasts import FORECASTER, ForecastResult, evaluate_forecasts
from tippers_dagster.demo.headcounts import NoTruth, PeopleResult, evaluate_people, head_counts
from tippers_dagster.demo.identities import Identified, evaluate_identities
from tippers_dagster.demo.levels import LEVELS, Level, LevelResult, evaluate_level
from tippers_dagster.errors import TippersError
from tippers_dagster.graph.launch import Outcome, materialize_definitions
from tippers_dagster.occupancy.launch import materialize
from tippers_dagster.occupancy.tracking import track_space
from tippers_dagster.people.counts.calibration import TooFewHeadCounts
from tippers_dagster.people.counts.head_counts import import_head_counts
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.table_files import write_table
from tippers_dagster.platform.text import counted
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.simulation import CampusOptions
from tippers_dagster.sql.project import rendered_project

Progress = Callable[[str, float, float], None]
"""Called with the name of a stage, the amount done and the total amount."""

RECOUNTED_WIDTHS = (900, 3600)


class DemoFailed(TippersError):
    """Part of the demo could not be computed."""


@dataclass(frozen=True)
class Timing:
    """A stage, with its duration and result."""

    stage: str
    seconds: float
    result: str


@dataclass
class Demonstration:
    """The results of the demo.

    ``true_bins`` are equal to the truth (None if it is unknown), ``recounted_bins`` to a recount,
    in devices, people and other devices. ``missing``: label models,
    classifiers and forecasters without enough data, with the reason: a small campus may have no
    visitors, a short log no week to learn from.
    """

    tree: SpaceTree
    span: Extent
    campus: SpaceFigures
    buildings: list[SpaceFigures]
    true_bins: int | None
    recounted_bins: int
    fresh_data: bool
    levels: list[LevelResult]
    classifiers: list[ClassifierResult]
    people: list[PeopleResult]
    identities: list[Identified]
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
        """Time a stage; append its result to the list."""
        result: list[str] = []
        began = time.monotonic()
        self._progress(name, 0, 1)
        yield result
        self._progress(name, 1, 1)
        self.timings.append(Timing(name, time.monotonic() - began, " ".join(result)))


def demonstrate(
    settings: Settings, data: CampusOptions | Path, progress: Progress
) -> Demonstration:
    """Make the campus or reuse it, materialise everything, and compare it with the truth.

    Parameters
    ----------
    settings
        The deployment's settings.
    data
        Options of a campus to simulate, or the folder of a SmartSPEC scenario.
    progress
        Called with the progress of each stage.

    Raises
    ------
    BadInput
        When the source tables contain other data, which is not changed.
    WrongCounts
        When any count differs; names the first few.
    DemoFailed
        When a definition could not be computed.
    """
    stages = _Stages(progress)
    with stages.stage("start the database"):
        warehouse_engine(settings)
    with _parsing_meanwhile(settings):
        fresh_data = _prepare(settings, data, stages, progress)
        span = extent(settings)
        grid = _track(settings, span, stages)
        _materialize(settings, stages, progress)
        true_bins = (
            None if isinstance(data, Path) else _compare_with_truth(settings, grid, span, stages)
        )
        recounted_bins = _compare_with_recount(settings, grid, span, stages)
        _count_heads(settings, stages)
    missing = _compute_definitions(settings, stages, progress)
    levels = [evaluate_level(settings, level) for level in LEVELS if _name(level) not in missing]
    campus, buildings = campus_figures(settings, grid.tree, span)
    with stages.stage("evaluate models"):
        classifiers = evaluate_classifiers(settings)
        people = _people(settings, missing)
        identities = _identities(settings)
        no_forecast = any(name.startswith(f"forecaster/{FORECASTER}") for name in missing)
        forecasts = None if no_forecast else evaluate_forecasts(settings)
    return Demonstration(
        tree=grid.tree,
        span=span,
        campus=campus,
        buildings=buildings,
        true_bins=true_bins,
        recounted_bins=recounted_bins,
        fresh_data=fresh_data,
        levels=[result for result in levels if result.evaluation.entities],
        classifiers=classifiers,
        people=people,
        identities=identities,
        forecasts=forecasts,
        missing=missing,
        timings=stages.timings,
    )


@contextmanager
def _parsing_meanwhile(settings: Settings) -> Iterator[None]:
    """Let dbt parse the definitions in its own process while the block runs.

    Whatever fails, fails again when they are computed.
    """
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: rendered_project(settings, load_catalog(settings)))
        yield


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
            result.append("already there")
    return fresh


def _track(settings: Settings, span: Extent, stages: _Stages) -> Grid:
    with stages.stage("track") as result:
        for root in load_tree(settings).roots:
            grid = track_space(settings, space=root, start=span.first, end=span.until)
        spaces = len(grid.leaves) + len(grid.parents)
        chunks = counted(len(grid.chunks), settings.chunk)
        result.append(f"{counted(spaces, 'space')} x {chunks}")
    return grid


def _materialize(settings: Settings, stages: _Stages, progress: Progress) -> None:

    with dagster_instance(settings) as instance:
        for done in materialize(settings, instance, on_progress=progress):
            result = f"{counted(done.partitions, 'partition')}, {counted(done.runs, 'run')}"
            if not done.partitions:
                result = "already up to date"
            stages.timings.append(Timing(done.asset, done.seconds, result))


def _count_heads(settings: Settings, stages: _Stages) -> None:
    """Import head counts taken from the truth, if it is known."""
    with stages.stage("import head counts") as result, TemporaryDirectory() as folder:
        try:
            counts = head_counts(settings)
        except NoTruth:
            result.append("none: the true numbers are unknown")
            return
        file = Path(folder) / "head_counts.parquet"
        write_table(counts, file)
        import_head_counts(settings, file, by="demo")
        result.append(f"{counts.num_rows:,}, in some spaces on every other day")


def _compute_definitions(settings: Settings, stages: _Stages, progress: Progress) -> dict[str, str]:
    """Compute the definitions; returns those without enough data, with the reason."""
    with stages.stage("indexes to forecasts") as result, dagster_instance(settings) as instance:
        outcomes = materialize_definitions(settings, instance, on_progress=progress)
        computed = sum(o.state == "computed" for o in outcomes)
        result.append(counted(computed, "asset") if outcomes else "already up to date")
    missing = too_little_data(settings, outcomes)
    failed = [o for o in outcomes if o.state != "computed" and o.name not in missing]
    if failed:
        reasons = "\n".join(f"{o.name}: {o.why}" for o in failed[:5])
        raise DemoFailed(
            f"{counted(len(failed), 'asset')} could not be computed:\n{reasons}",
            "`tippers pipeline status` lists all of them.",
        )
    return missing


def too_little_data(settings: Settings, outcomes: list[Outcome]) -> dict[str, str]:
    """Learned assets without enough data, and their dependents, with the reason.

    Unexpected errors are not blamed on the data.
    """
    learned = _learned(settings)
    found: dict[str, str] = {}
    for o in outcomes:  # each after its inputs
        explained = o.state == "failed" and not o.why.startswith(UNEXPECTED)
        if o.above in found or (explained and o.name.split("__")[0] in learned):
            found[o.name] = o.why
    return found


def _learned(settings: Settings) -> set[str]:
    """Names of the assets that need enough data."""
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
    """The errors of people counts, if the truth is known."""
    if "device/device_type" in missing:
        return []
    try:
        return evaluate_people(settings)
    except (NoTruth, TooFewHeadCounts):
        return []  # a scenario has no true numbers, and a tiny campus too few head counts


def _identities(settings: Settings) -> list[Identified]:
    """What user names add, if the truth is known."""
    try:
        return evaluate_identities(settings)
    except NoTruth:
        return []


def _compare_with_truth(settings: Settings, grid: Grid, span: Extent, stages: _Stages) -> int:
    with stages.stage("compare with the truth") as result:
        expected = true_counts(settings)
        widths = expected["interval_seconds"].unique().to_pylist()
        chunks = chunk_keys(span.first, span.until, settings.chunk)
        found = lake_counts(settings, grid.tree.ids, chunks, widths)
        equal = check_equal(found, expected, grid.tree, "truth")
        result.append(f"{equal:,} equal counts")
    return equal


def _compare_with_recount(settings: Settings, grid: Grid, span: Extent, stages: _Stages) -> int:
    """Chunk by chunk, so that memory is bounded."""
    equal = 0
    with stages.stage("compare with a recount") as result:
        for chunk in chunk_keys(span.first, span.until, settings.chunk):
            first, after = chunk_bounds(chunk, settings.chunk)
            days = (after - first).days
            expected = recount(settings, grid.tree, first, days, RECOUNTED_WIDTHS)
            found = lake_counts(settings, grid.tree.ids, [chunk], RECOUNTED_WIDTHS)
            equal += check_equal(found, expected, grid.tree, "recount")
        result.append(f"{equal:,} equal counts")
    return equal
