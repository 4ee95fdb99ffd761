"""Forecasts of many rooms: ``python -m benchmarks.forecasts``.

Times two tasks, from series in memory to backtests, champions and models trained on all data, in
``TIPPERS_THREADS`` processes: ten rooms with all models, and 500 rooms with the two best models
that are not neural networks, and the naive ones. The rooms are simulated: classes, meetings, labs
and corridors of a campus, in half hours of a year (26 weeks for the ten rooms), with holidays,
growth and noise. ``--uci FOLDER`` instead evaluates the models on files of counts, like ``tippers
forecast evaluate``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tippers_dagster.forecasting.files import Evaluated, evaluate_files, evaluate_panel
from tippers_dagster.forecasting.panel import FLAGS, HOLIDAY, IN_SESSION, Panel
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

SLOTS = 48
MONDAY = dt.date(2024, 1, 1)
TWO_BEST = ("lightgbm", "past_weeks")
TARGETS = {"ten": 180, "many": 300}
COLUMNS = ("champion of", "mae", "rmse", "mae_occupied", "pinball", "coverage_80", "coverage_95")


def made_up(rooms: int, weeks: int, horizon: int, seed: int = 1) -> Panel:
    """Simulate rooms of several kinds, each with its own weekly pattern."""
    rng = np.random.default_rng(seed)
    days = 7 * weeks
    flags = np.zeros((days + horizon, FLAGS), np.float32)
    flags[:, IN_SESSION] = 1
    flags[rng.choice(days, days // 40, replace=False), HOLIDAY] = 1
    flags[:, IN_SESSION] -= flags[:, HOLIDAY]
    size = rng.lognormal(1.5, 1.0, rooms)
    hour = np.arange(SLOTS) / 2
    week = np.zeros((rooms, 7, SLOTS))
    for room in range(rooms):
        for _ in range(rng.integers(2, 12)):  # classes, meetings, habits
            day, begin = rng.integers(0, 5), rng.uniform(8, 18)
            week[room, day] += np.exp(-(((hour - begin) / rng.uniform(0.6, 3)) ** 2))
    mean = np.tile(week, (1, weeks, 1)) * size[:, None, None]
    mean *= 1 + 0.3 * np.sin(2 * np.pi * np.arange(days) / 365)[:, None]
    mean *= np.where(flags[:days, HOLIDAY] > 0, 0.1, 1)[:, None]
    values = rng.poisson(mean).astype(np.float32)
    names = tuple(f"room {i}" for i in range(rooms))
    return Panel(names, MONDAY, values, np.broadcast_to(flags, (rooms, *flags.shape)))


def timed(settings: Settings, panel: Panel, models: tuple[str, ...]) -> tuple[float, Evaluated]:
    began = time.monotonic()
    found = evaluate_panel(settings, panel, models, windows=3, horizon=7)
    return time.monotonic() - began, found


def show(console: Console, found: Evaluated) -> None:
    from rich.table import Table

    table = Table("model", *COLUMNS, "CPU s")
    for record in found.records:
        cells = ("-" if record[c] is None else f"{record[c]:.3f}" for c in COLUMNS[1:])
        table.add_row(
            record["model"], str(record["champion of"]), *cells, f"{record['seconds']:.1f}"
        )
    console.print(table)
    for model, why in found.troubles.items():
        console.print(f"{model}: {why}", style="yellow")


def measure(settings: Settings, console: Console, rooms: int) -> dict[str, Any]:
    figures: dict[str, Any] = {"threads": settings.threads, "load": os.getloadavg()[0]}
    for name, panel, models in (
        ("ten", made_up(10, 26, 7), ()),
        ("many", made_up(rooms, 52, 7), TWO_BEST),
    ):
        seconds, found = timed(settings, panel, models)
        cpu = sum(record["seconds"] for record in found.records)
        figures[name] = {"seconds": seconds, "cpu": cpu, "models": found.records}
        console.print(
            f"{found.spaces} rooms x {len(found.records)} models: {seconds:.0f} s, CPU {cpu:.0f} s "
            f"(target {TARGETS[name]} s), load {os.getloadavg()[0]:.1f}"
        )
        show(console, found)
    return figures


def main() -> None:
    from rich.console import Console

    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecasts", description=__doc__)
    parser.add_argument("--uci", type=Path, help="folder of counts: only evaluate the models")
    parser.add_argument("--rooms", type=int, default=500)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    settings, console = Settings(), Console(width=120)
    if given.uci:
        found = evaluate_files(settings, given.uci)
        show(console, found)
        figures: Any = {"models": found.records, "missing": found.missing, "empty": found.empty}
    else:
        figures = measure(settings, console, given.rooms)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
