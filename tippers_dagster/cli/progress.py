"""Progress bars, of one look for all commands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

LINE_SECONDS = 20.0
"""Minimum time between two progress lines in a pipe."""

Show = Callable[[str, float, float], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@contextmanager
def progress_bars(console: Console) -> Iterator[Show]:
    """A progress bar per task; none for a task with nothing to do.

    In a pipe or a file, where bars cannot move, a line when a task begins, and now and then.
    """
    if not console.is_terminal:
        yield _lines(console)
        return
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TimeElapsedColumn

    columns = ("{task.description:24}", BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: float, total: float) -> None:
            if not total:
                return
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show


def _lines(console: Console) -> Show:
    said: dict[str, float] = {}

    def show(what: str, done: float, total: float) -> None:
        now = time.monotonic()
        if not total or now - said.get(what, -LINE_SECONDS) < LINE_SECONDS:
            return
        how_far = f"{what}: {done / total:.0%}" if what in said else f"{what} ..."
        said[what] = now
        console.print(how_far, highlight=False)
        console.file.flush()

    return show
