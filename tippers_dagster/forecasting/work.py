"""What the assets of this domain do: backtests that can be gone on with, forecasts.

What a model made of some spaces is one file of the lake, in a folder named by all that it depends
on. The next run resumes a killed one and computes what has no file yet. The warehouse
has the SHA-256 of each file, and one that was changed is not read.
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
    Ahead,
    Failed,
    Ranking,
    Task,
    Trial,
    look_ahead,
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
    """How the models of a forecaster would have done.

    Attributes
    ----------
    origins
        Days of history known at each.
    metrics
        By model, the plainest first.
    left_out
        Models that were not tried, and why.
    failed
        Models that could not cope with some spaces, and why.
    seconds
        CPU seconds by model.
    work
        Folder of the trained models.
    tasks, done_before
        How many tasks there were, and how many of them an earlier run had done.
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
    """Backtest and train all models, and write what they would have forecast.

    Parameters
    ----------
    before_writing
        Called before the first file of an earlier backtest is replaced.

    Raises
    ------
    BadInput
        No history, too little of it, an unknown model or space.
    """
    history = load_history(settings, body)
    starts = tuple(origins(history.panel.days, body.horizon_days, body.windows))
    models, left_out = _available(body)
    work = _work_name(version, history)
    tasks = _tasks(history, body, models, starts)
    done_before, failed = _do(settings, name, work, tasks)
    seconds, metrics = {}, {}
    came = truth(history.panel, body.horizon_days, starts)
    quantiles = {}
    for model in models:
        quantiles[model], seconds[model] = _collected(settings, name, work, model, history, came)
        metrics[model] = measure(quantiles[model], came)
    ranking = rank(metrics, history.panel.largest > 0)
    before_writing()
    _write_backtest(settings, name, history.panel, starts, quantiles, came)
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


def forget_other_work(settings: Settings, name: str, work: str) -> None:
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
    """A name that differs whenever what is trained differs."""
    mixed = hashlib.blake2b(f"{VERSION} {version}".encode(), digest_size=16)
    panel = history.panel
    mixed.update(repr((panel.spaces, panel.first, panel.values.shape)).encode())
    for values in (panel.values, panel.flags, history.capacity):
        mixed.update(np.ascontiguousarray(values).tobytes())
    return mixed.hexdigest()


def _tasks(
    history: History, body: Forecaster, models: Sequence[str], starts: tuple[int, ...]
) -> dict[str, Task]:
    """By the names of their files, the longest first."""
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


def _do(
    settings: Settings, name: str, work: str, tasks: Mapping[str, Task]
) -> tuple[int, dict[str, str]]:
    """Do what is not done; how much was, and what could not be."""
    done = trained_files.intact(settings, name, work)
    todo = {file: task for file, task in tasks.items() if file not in done}
    cheap = {file: task for file, task in todo.items() if not MODELS[task.model].weight}
    dear = {file: task for file, task in todo.items() if file not in cheap}
    failed: dict[str, str] = {}

    def keep(file: str, made: Trial | Failed) -> None:
        if isinstance(made, Failed):
            failed[todo[file].model] = made.reason
        else:
            trained_files.write(settings, name, work, file, _packed(todo[file].panel.spaces, made))

    for file, task in cheap.items():  # done before another process has begun
        keep(file, try_model(task))
    files = list(dear)
    for at, made in run_tasks(settings, try_model, list(dear.values())):
        keep(files[at], made)
    return len(tasks) - len(todo), failed


def _packed(spaces: Sequence[str], made: Trial) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        spaces=np.array(spaces, np.str_),
        quantiles=made.quantiles,
        state=np.frombuffer(made.state, np.uint8),
        seconds=np.float64(made.seconds),
    )
    return buffer.getvalue()


def _files(settings: Settings, name: str, work: str, model: str) -> Iterator[Mapping[str, NDArray]]:
    """What is there of a model, file by file."""
    for file in trained_files.names(settings, name, work):
        if file.rpartition("-")[0] == model:
            content = trained_files.read(settings, name, work, file)
            with np.load(io.BytesIO(content), allow_pickle=False) as found:
                yield found


def _collected(
    settings: Settings, name: str, work: str, model: str, history: History, came: Floats
) -> tuple[Floats, float]:
    """Quantiles [spaces, windows, horizon, slots, levels] of a model, NaN where it failed; and
    the seconds that it took.
    """
    at = {space: i for i, space in enumerate(history.panel.spaces)}
    quantiles = np.full((*came.shape, len(LEVELS)), np.nan, np.float32)
    seconds = 0.0
    for file in _files(settings, name, work, model):
        quantiles[[at[space] for space in file["spaces"].tolist()]] = file["quantiles"]
        seconds += float(file["seconds"])
    return quantiles, seconds


# --- what the models would have forecast --------------------------------------------------------
def _write_backtest(
    settings: Settings,
    name: str,
    panel: Panel,
    starts: Sequence[int],
    quantiles: Mapping[str, Floats],
    came: Floats,
) -> None:
    """A file for each space; those of spaces that are no longer forecast are removed."""
    lake = open_lake(settings)
    begins, window, day, slot = _bins_of(settings, panel, starts, came.shape[2])
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
            all_of_it = np.concatenate([q[i, window, day, slot] for q in quantiles.values()])
            columns = {
                column: pa.array(all_of_it[:, k], pa.float32())
                for k, column in enumerate(QUANTILE_COLUMNS)
            }
            there = np.tile(came[i, window, day, slot], len(models))
            counts = pa.array(there, pa.float32(), from_pandas=True)
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
    """The real bins of all windows: UTC seconds, window, day within it, slot."""
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
    """Trained champions with the histories that they go on from: all that forecasting takes.

    ``parts``: each a model, and the spaces whose champion it is; no space is in two.
    """

    parts: tuple[Ahead, ...]


@dataclass(frozen=True, eq=False)
class Forecasts:
    """What is expected of the spaces that have a champion.

    Attributes
    ----------
    panel
        The history up to the origin, of these spaces.
    capacity
        Of each, people; NaN where unknown.
    models
        The champion of each.
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
    """The champions of the spaces of a history, as they were trained.

    Parameters
    ----------
    work
        Folder of the trained models.
    champions
        Model by space; a space that is not in the history any more is passed over.

    Raises
    ------
    TippersError
        When a trained model is missing from the lake, or was changed.
    """
    panel, parts = history.panel, []
    at = {space: i for i, space in enumerate(panel.spaces)}
    for model in MODELS:
        mine = [space for space in panel.spaces if champions.get(space) == model]
        for spaces, state in _trained(settings, name, work, model, mine) if mine else ():
            here = np.array([at[space] for space in spaces])
            part = panel.take(here), history.capacity[here], body.horizon_days
            parts.append(Ahead(model, state, *part))
    return Bundle(tuple(parts))


def forecast_all(settings: Settings, bundle: Bundle, history: History) -> Forecasts:
    """Forecast from the end of the history, each space by its champion, in its order."""
    parts = bundle.parts
    dear = [i for i, part in enumerate(parts) if MODELS[part.model].weight]
    found = {i: look_ahead(part) for i, part in enumerate(parts) if i not in dear}
    for number, made in run_tasks(settings, look_ahead, [parts[i] for i in dear]):
        found[dear[number]] = made
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
    """The trained models of some spaces: those that each is for, and it."""
    wanted, found = set(spaces), []
    for file in _files(settings, name, work, model):
        there = file["spaces"].tolist()
        mine = [i for i, space in enumerate(there) if space in wanted]
        if mine:
            state = MODELS[model].pick(file["state"].tobytes(), mine)
            found.append(([there[i] for i in mine], state))
    lacking = wanted.difference(*(mine for mine, _ in found))
    if lacking:
        raise TippersError(
            f"There is no usable trained {model} of space {min(lacking)!r}: it was deleted, or "
            "trained by an earlier version.",
            trained_files.again(name),
        )
    return found


def forecast_rows(settings: Settings, made: Forecasts) -> pa.Table:
    """One row per space and bin to come: ``space``, ``interval_begin_time`` (UTC), the quantiles
    (float32), ``model``, ``origin`` (timestamp[s], UTC).
    """
    clock = LocalClock(settings.timezone)
    panel, horizon = made.panel, made.quantiles.shape[1]
    begins = bin_begins(clock, panel.origin, horizon, panel.width)
    day, slot = places(clock, begins, panel.origin, panel.width)
    n, spaces = len(begins), len(panel.spaces)
    values = made.quantiles[:, day, slot].reshape(spaces * n, len(LEVELS))
    utc = pa.timestamp("s", "UTC")

    def repeated(texts: Sequence[str]) -> pa.Array:
        return pa.array(texts, pa.string()).take(pa.array(np.repeat(np.arange(spaces), n)))

    return pa.table(
        {
            "space": repeated(panel.spaces),
            "interval_begin_time": pa.array(np.tile(begins, spaces), utc),
            **{c: pa.array(values[:, k]) for k, c in enumerate(QUANTILE_COLUMNS)},
            "model": repeated(made.models),
            "origin": pa.array(np.full(spaces * n, clock.day_start(panel.origin)), utc),
        }
    )
