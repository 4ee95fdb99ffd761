"""The work of this domain's assets: resumable backtests, and forecasts.

The result of a model on some spaces is one file in the lake, in a folder named after everything
that it depends on. A run resumes the work of a killed one, and computes what has no file yet. The
warehouse has the SHA-256 of each file; a changed file is not read.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tippers_dagster.campus.local_time import LocalClock
from tippers_dagster.catalog.kinds import Forecaster
from tippers_dagster.errors import TippersError
from tippers_dagster.forecasting import trained_files
from tippers_dagster.forecasting.backtest import (
    Failed,
    ForecastTask,
    Ranking,
    Task,
    Trial,
    forecast_ahead,
    origins,
    rank,
    truth,
    try_model,
)
from tippers_dagster.forecasting.metrics import Metrics, measure
from tippers_dagster.forecasting.models import MODELS, batches, chosen_models
from tippers_dagster.forecasting.names import backtest_key, forecasts_prefix, work_prefix
from tippers_dagster.forecasting.panel import LEVELS, Floats, Panel
from tippers_dagster.forecasting.reading import QUANTILE_COLUMNS
from tippers_dagster.forecasting.series import History, bin_begins, load_history, places
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.tasks import run_tasks
from tippers_dagster.settings import Settings

VERSION = 2
"""Raise it when the same history would give other forecasts."""


@dataclass(frozen=True, eq=False)
class Backtest:
    """The backtest of a forecaster.

    Attributes
    ----------
    origins
        Days of history known at each origin.
    metrics
        Per model, the simplest first.
    left_out
        Models that were not tried, and why.
    failed
        Models that failed on some spaces, and why.
    seconds
        CPU seconds per model.
    work
        Folder of the trained models.
    tasks, done_before
        Number of tasks, and how many of them an earlier run had done.
    """

    history: History
    origins: tuple[int, ...]
    metrics: Mapping[str, Metrics]
    ranking: Ranking
    left_out: Mapping[str, str]
    failed: Mapping[str, str]
    seconds: Mapping[str, float]
    work: str
    tasks: int
    done_before: int


def run_backtest(
    settings: Settings,
    name: str,
    body: Forecaster,
    version: str,
    before_writing: Callable[[], None] = lambda: None,
) -> Backtest:
    """Backtest and train all models, and write their backtest forecasts.

    Parameters
    ----------
    before_writing
        Called before the first file of an earlier backtest is replaced.

    Raises
    ------
    BadInput
        If there is no or too little history, or a model or space is unknown.
    """
    history = load_history(settings, body)
    starts = tuple(origins(history.panel.days, body.horizon_days, body.windows))
    models, left_out = _available(body)
    work = _work_name(version, history)
    tasks = _tasks(history, body, models, starts)
    done_before, failed = _run_missing(settings, name, work, tasks)
    seconds, metrics = {}, {}
    actual = truth(history.panel, body.horizon_days, starts)
    quantiles = {}
    for model in models:
        quantiles[model], seconds[model] = _collected(settings, name, work, model, history, actual)
        metrics[model] = measure(quantiles[model], actual)
    ranking = rank(metrics, history.panel.largest > 0)
    before_writing()
    _write_backtest(settings, name, history.panel, starts, quantiles, actual)
    return Backtest(
        history,
        starts,
        metrics,
        ranking,
        left_out,
        failed,
        seconds,
        work,
        len(tasks),
        done_before,
    )


def delete_other_work(settings: Settings, name: str, work: str) -> None:
    """Remove the trained models of all other materialisations."""
    lake, folder = open_lake(settings), work_prefix(name)
    trained_files.forget_others(settings, name, work)
    others = {key[len(folder) :].split("/")[0] for key in lake.list(folder)} - {work}
    for other in sorted(others):
        lake.delete_prefix(work_prefix(name, other))


# --- tasks --------------------------------------------------------------------------------------
def _available(body: Forecaster) -> tuple[tuple[str, ...], dict[str, str]]:
    left_out: dict[str, str] = {}
    models = []
    for model in chosen_models(body.models):
        why = MODELS[model].missing()
        if why is None:
            models.append(model)
        else:
            left_out[model] = why
    return tuple(models), left_out


def _work_name(version: str, history: History) -> str:
    """A name that changes whenever the inputs of training change."""
    mixed = hashlib.blake2b(f"{VERSION} {version}".encode(), digest_size=16)
    panel = history.panel
    mixed.update(repr((panel.spaces, panel.first, panel.values.shape)).encode())
    for values in (panel.values, panel.flags, history.capacity):
        mixed.update(np.ascontiguousarray(values).tobytes())
    return mixed.hexdigest()


def _tasks(
    history: History, body: Forecaster, models: Sequence[str], starts: tuple[int, ...]
) -> dict[str, Task]:
    """Tasks by the names of their files, the slowest first."""
    tasks = {}
    for model in sorted(models, key=lambda m: -MODELS[m].weight):
        for positions in batches(model, len(history.panel.spaces)):
            tasks[f"{model}-{positions[0]}.npz"] = Task(
                model,
                history.panel.take(positions),
                history.capacity[positions],
                body.horizon_days,
                starts,
                body.seed,
            )
    return tasks


def _run_missing(
    settings: Settings, name: str, work: str, tasks: Mapping[str, Task]
) -> tuple[int, dict[str, str]]:
    """Run the tasks that are not done; returns how many were, and the reasons of failed models."""
    done = trained_files.intact(settings, name, work)
    todo = {file: task for file, task in tasks.items() if file not in done}
    cheap = {file: task for file, task in todo.items() if not MODELS[task.model].weight}
    expensive = {file: task for file, task in todo.items() if file not in cheap}
    failed: dict[str, str] = {}

    def keep(file: str, outcome: Trial | Failed) -> None:
        if isinstance(outcome, Failed):
            failed[todo[file].model] = outcome.reason
        else:
            trained_files.write(
                settings, name, work, file, _packed(todo[file].panel.spaces, outcome)
            )

    for file, task in cheap.items():  # faster than starting another process
        keep(file, try_model(task))
    files = list(expensive)
    for at, outcome in run_tasks(settings, try_model, list(expensive.values())):
        keep(files[at], outcome)
    return len(tasks) - len(todo), failed


def _packed(spaces: Sequence[str], outcome: Trial) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        spaces=np.array(spaces, np.str_),
        quantiles=outcome.quantiles,
        state=np.frombuffer(outcome.state, np.uint8),
        seconds=np.float64(outcome.seconds),
    )
    return buffer.getvalue()


def _files(settings: Settings, name: str, work: str, model: str) -> Iterator[Mapping[str, NDArray]]:
    """The contents of a model's files, one by one."""
    for file in trained_files.names(settings, name, work):
        if file.rpartition("-")[0] == model:
            content = trained_files.read(settings, name, work, file)
            with np.load(io.BytesIO(content), allow_pickle=False) as found:
                yield found


def _collected(
    settings: Settings, name: str, work: str, model: str, history: History, actual: Floats
) -> tuple[Floats, float]:
    """Quantiles [spaces, windows, horizon, slots, levels] of a model, NaN where it failed; and its
    CPU seconds.
    """
    at = {space: i for i, space in enumerate(history.panel.spaces)}
    quantiles = np.full((*actual.shape, len(LEVELS)), np.nan, np.float32)
    seconds = 0.0
    for file in _files(settings, name, work, model):
        quantiles[[at[space] for space in file["spaces"].tolist()]] = file["quantiles"]
        seconds += float(file["seconds"])
    return quantiles, seconds


# --- backtest forecasts -------------------------------------------------------------------------
def _write_backtest(
    settings: Settings,
    name: str,
    panel: Panel,
    starts: Sequence[int],
    quantiles: Mapping[str, Floats],
    actual: Floats,
) -> None:
    """Write one file per space, and delete the files of spaces that are no longer forecast."""
    lake = open_lake(settings)
    begins, window, day, slot = _bins_of(settings, panel, starts, actual.shape[2])
    models = list(quantiles)
    n = len(begins)
    model = pa.DictionaryArray.from_arrays(
        pa.array(np.repeat(np.arange(len(models)), n), pa.int32()), pa.array(models)
    )
    first = np.datetime64(panel.first, "D")
    fixed = {
        "model": model,
        "origin": pa.array(np.tile(first + np.array(starts)[window], len(models))),
        "interval_begin_time": pa.array(np.tile(begins, len(models)), pa.timestamp("s", "UTC")),
    }

    def tables() -> Iterator[tuple[str, pa.Table]]:
        for i, space in enumerate(panel.spaces):
            values = np.concatenate([q[i, window, day, slot] for q in quantiles.values()])
            columns = {
                column: pa.array(values[:, k], pa.float32())
                for k, column in enumerate(QUANTILE_COLUMNS)
            }
            counted = np.tile(actual[i, window, day, slot], len(models))
            counts = pa.array(counted, pa.float32(), from_pandas=True)
            yield (
                backtest_key(name, space),
                pa.table({**fixed, **columns, "number_connections": counts}),
            )

    lake.write_tables(tables())
    kept = {backtest_key(name, space) for space in panel.spaces}
    for key in lake.list(f"{forecasts_prefix(name)}backtest/"):
        if key not in kept:
            lake.delete(key)


def _bins_of(
    settings: Settings, panel: Panel, starts: Sequence[int], horizon: int
) -> tuple[NDArray[np.int64], ...]:
    """The existing bins of all windows: UTC seconds, window, day in the window, slot."""
    clock = LocalClock(settings.timezone)
    parts = []
    for number, start in enumerate(starts):
        first = panel.until(start, 0).origin
        begins = bin_begins(clock, first, horizon, panel.width)
        day, slot = places(clock, begins, first, panel.width)
        parts.append((begins, np.full(len(begins), number), day, slot))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


# --- forecasts ----------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Bundle:
    """Trained champions with the histories that they continue: all that forecasting needs.

    Each part is a model with the spaces whose champion it is; no space is in two parts.
    """

    parts: tuple[ForecastTask, ...]


@dataclass(frozen=True, eq=False)
class Forecasts:
    """Forecasts of the spaces that have a champion.

    Attributes
    ----------
    panel
        The history of these spaces up to the origin.
    capacity
        Capacity of each space in people; NaN where unknown.
    models
        The champion of each space.
    quantiles
        float32 [spaces, horizon, slots, levels].
    """

    panel: Panel
    capacity: NDArray[np.float64]
    models: tuple[str, ...]
    quantiles: Floats


def champion_bundle(
    settings: Settings,
    name: str,
    body: Forecaster,
    history: History,
    work: str,
    champions: Mapping[str, str],
) -> Bundle:
    """The trained champions of the spaces in a history.

    Parameters
    ----------
    work
        Folder of the trained models.
    champions
        Model per space; spaces that are no longer in the history are skipped.

    Raises
    ------
    TippersError
        When a trained model is missing from the lake or was changed.
    """
    panel, parts = history.panel, []
    at = {space: i for i, space in enumerate(panel.spaces)}
    for model in MODELS:
        mine = [space for space in panel.spaces if champions.get(space) == model]
        for spaces, state in _trained(settings, name, work, model, mine) if mine else ():
            here = np.array([at[space] for space in spaces])
            part = panel.take(here), history.capacity[here], body.horizon_days
            parts.append(ForecastTask(model, state, *part))
    return Bundle(tuple(parts))


def forecast_all(settings: Settings, bundle: Bundle, history: History) -> Forecasts:
    """Forecast from the end of the history, each space with its champion, in their order there."""
    parts = bundle.parts
    expensive = [i for i, part in enumerate(parts) if MODELS[part.model].weight]
    found = {i: forecast_ahead(part) for i, part in enumerate(parts) if i not in expensive}
    for number, outcome in run_tasks(settings, forecast_ahead, [parts[i] for i in expensive]):
        found[expensive[number]] = outcome
    where = {space: (i, j) for i, p in enumerate(parts) for j, space in enumerate(p.panel.spaces)}
    kept = [i for i, space in enumerate(history.panel.spaces) if space in where]
    panel = history.panel.take(kept)
    rows = [where[space] for space in panel.spaces]
    shape = (parts[0].horizon if parts else 0, panel.slots, len(LEVELS))
    return Forecasts(
        panel,
        history.capacity[kept],
        tuple(parts[i].model for i, _ in rows),
        np.stack([found[i][j] for i, j in rows]) if rows else np.zeros((0, *shape), np.float32),
    )


def _trained(
    settings: Settings, name: str, work: str, model: str, spaces: Sequence[str]
) -> list[tuple[list[str], bytes]]:
    """The trained models of some spaces, each with the spaces that it is for."""
    wanted, found = set(spaces), []
    for file in _files(settings, name, work, model):
        trained = file["spaces"].tolist()
        chosen = [i for i, space in enumerate(trained) if space in wanted]
        if chosen:
            state = MODELS[model].pick(file["state"].tobytes(), chosen)
            found.append(([trained[i] for i in chosen], state))
    missing = wanted.difference(*(trained for trained, _ in found))
    if missing:
        raise TippersError(
            f"There is no usable trained {model} for space {min(missing)!r}: it was deleted, or "
            "trained by an earlier version.",
            trained_files.again(name),
        )
    return found


def forecast_rows(settings: Settings, outcome: Forecasts) -> pa.Table:
    """One row per space and future bin: ``space``, ``interval_begin_time`` (UTC), the quantiles
    (float32), ``model``, ``origin`` (timestamp[s], UTC).
    """
    clock = LocalClock(settings.timezone)
    panel, horizon = outcome.panel, outcome.quantiles.shape[1]
    begins = bin_begins(clock, panel.origin, horizon, panel.width)
    day, slot = places(clock, begins, panel.origin, panel.width)
    n, spaces = len(begins), len(panel.spaces)
    values = outcome.quantiles[:, day, slot].reshape(spaces * n, len(LEVELS))
    utc = pa.timestamp("s", "UTC")

    def repeated(texts: Sequence[str]) -> pa.Array:
        return pa.array(texts, pa.string()).take(pa.array(np.repeat(np.arange(spaces), n)))

    return pa.table(
        {
            "space": repeated(panel.spaces),
            "interval_begin_time": pa.array(np.tile(begins, spaces), utc),
            **{c: pa.array(values[:, k]) for k, c in enumerate(QUANTILE_COLUMNS)},
            "model": repeated(outcome.models),
            "origin": pa.array(np.full(spaces * n, clock.day_start(panel.origin)), utc),
        }
    )
