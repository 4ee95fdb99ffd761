"""Backtests the models on files of counts, without a warehouse or a lake."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tippers_dagster.errors import BadInput
from tippers_dagster.forecasting.backtest import (
    Failed,
    Ranking,
    Task,
    origins,
    rank,
    truth,
    try_model,
)
from tippers_dagster.forecasting.describe import records_of
from tippers_dagster.forecasting.metrics import Metrics, measure
from tippers_dagster.forecasting.models import MODELS, batches, chosen_models
from tippers_dagster.forecasting.panel import DAY, FLAGS, LEVELS, Panel
from tippers_dagster.platform.small_tables import read_table
from tippers_dagster.platform.tasks import run_tasks
from tippers_dagster.settings import Settings

_COLUMNS = {
    "spaceid": pa.string(),
    "starttime": pa.timestamp("s"),
    "endtime": pa.timestamp("s"),
    "occupancy": pa.float32(),
}


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The results of a backtest on files.

    Attributes
    ----------
    panel
        The content of the files.
    missing
        Number of missing bins.
    windows
        Number of backtest windows.
    records
        The model table, the best first.
    metrics, ranking
        The same per space.
    troubles
        Models that were not tried on every space, and why.
    """

    panel: Panel
    missing: int
    windows: int
    records: list[dict[str, Any]]
    metrics: dict[str, Metrics]
    ranking: Ranking
    troubles: dict[str, str]

    @property
    def spaces(self) -> int:
        """Number of spaces."""
        return len(self.panel.spaces)

    @property
    def empty(self) -> int:
        """Number of spaces that were always empty."""
        return int((self.panel.largest == 0).sum())

    @property
    def first_day(self) -> dt.date:
        """First day of the history."""
        return self.panel.first

    @property
    def last_day(self) -> dt.date:
        """Day after the last one of the history."""
        return self.panel.origin


def evaluate_files(
    settings: Settings,
    folder: Path,
    models: Sequence[str] = (),
    windows: int = 4,
    horizon: int = 7,
    seed: int = 123,
) -> Evaluated:
    """Backtest models on all CSV files of a folder, one per space.

    Raises
    ------
    BadInput
        If there is no file, one cannot be read, bin widths differ, or the history is too short.
    """
    panel, missing = read_panel(folder, horizon)
    return evaluate_panel(settings, panel, models, windows, horizon, seed, missing)


def evaluate_panel(
    settings: Settings,
    panel: Panel,
    models: Sequence[str] = (),
    windows: int = 4,
    horizon: int = 7,
    seed: int = 123,
    missing: int = 0,
) -> Evaluated:
    """Backtest models on a panel whose capacities are unknown."""
    starts = tuple(origins(panel.days, horizon, windows))
    tried = chosen_models(models)
    troubles = {m: why for m in tried if (why := MODELS[m].missing()) is not None}
    tried = tuple(model for model in tried if model not in troubles)
    capacity = np.full(len(panel.spaces), np.nan)
    tasks, where = [], []
    for model in sorted(tried, key=lambda m: -MODELS[m].weight):
        for at in batches(model, len(panel.spaces)):
            part = panel.take(at)
            tasks.append(Task(model, part, capacity[at], horizon, starts, seed))
            where.append(at)
    actual = truth(panel, horizon, starts)
    shape = (*actual.shape, len(LEVELS))
    quantiles = {model: np.full(shape, np.nan, np.float32) for model in tried}
    seconds = dict.fromkeys(tried, 0.0)
    for number, outcome in run_tasks(settings, try_model, tasks):
        model = tasks[number].model
        if isinstance(outcome, Failed):
            troubles[model] = outcome.reason
            continue
        quantiles[model][where[number]] = outcome.quantiles
        seconds[model] += outcome.seconds
    metrics = {model: measure(q, actual) for model, q in quantiles.items()}
    ranking = rank(metrics, panel.largest > 0)
    records = records_of(metrics, ranking, seconds)
    return Evaluated(panel, missing, len(starts), records, metrics, ranking, troubles)


def read_panel(folder: Path, horizon: int) -> tuple[Panel, int]:
    """The files of a folder as a panel, and the number of missing bins."""
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise BadInput(
            f"{folder} has no .csv file.", "Choose a folder of counts with one file per space."
        )
    tables = [_read(file) for file in files]
    starts = [table["starttime"].to_numpy().astype("datetime64[s]") for table in tables]
    width = _width(files, tables)
    first, last = min(s.min() for s in starts), max(s.max() for s in starts)
    day = first.astype("datetime64[D]")
    days = int((last.astype("datetime64[D]") - day).astype(int)) + 1
    values = np.full((len(files), days, DAY // width), np.nan, np.float32)
    for i, (table, start) in enumerate(zip(tables, starts, strict=True)):
        seconds = (start - day.astype("datetime64[s]")).astype(np.int64)
        values[i, seconds // DAY, seconds % DAY // width] = table["occupancy"].to_numpy()
    names = tuple(file.stem for file in files)
    flags = np.zeros((len(files), days + horizon, FLAGS), np.float32)
    panel = Panel(names, day.astype(dt.date), values, flags)
    return panel, int(np.isnan(values).sum())


def _read(file: Path) -> pa.Table:
    table = read_table(file, file, _COLUMNS)
    if missing := [name for name in _COLUMNS if name not in table.column_names]:
        raise BadInput(
            f"{file} has no column {', '.join(missing)}.",
            f"It needs the columns {', '.join(_COLUMNS)}.",
        )
    return table.filter(table["occupancy"].is_valid())


def _width(files: Sequence[Path], tables: Sequence[pa.Table]) -> int:
    """Width of the bins in seconds, the same in all files."""
    found: set[int] = set()
    for file, table in zip(files, tables, strict=True):
        if table.num_rows == 0:
            raise BadInput(f"{file} has no rows.", "Leave it out.")
        begin, end = (table[c].to_numpy().astype(np.int64) for c in ("starttime", "endtime"))
        found.update(np.unique(end - begin).tolist())
    width = found.pop()
    if found or not 0 < width <= DAY or DAY % width:
        raise BadInput(
            f"The bins in {files[0].parent} do not all have the same width, or it does not divide "
            "a day.",
            "For example, use bins of half an hour.",
        )
    return width
