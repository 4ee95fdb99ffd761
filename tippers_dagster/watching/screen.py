"""`tippers status`: a reading as lines of text that fit on one screen."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Literal
from zoneinfo import ZoneInfo

from tippers_dagster.platform.text import counted, short_path, shown
from tippers_dagster.settings import Settings
from tippers_dagster.watching.concerns import Concern
from tippers_dagster.watching.figures import Reading
from tippers_dagster.watching.words import lasting, size

Style = Literal["", "bold", "green", "yellow", "red", "dim"]
Line = tuple[str, Style]

HEAD = 12
"""Width of the first column."""

UNKNOWN = "not known"


def screen(
    reading: Reading,
    found: Sequence[Concern],
    settings: Settings,
    width: int,
    height: int | None,
) -> list[Line]:
    """The lines, each cut to ``width``.

    Parameters
    ----------
    height
        Number of lines; the last concerns are left out if there are more. None: any number.
    """
    lines = [*_heading(reading, settings), *_progress(reading), *_rest(reading), ("", "")]
    room = None if height is None else height - len(lines)
    lines += _attention(found, width, room)
    return [(_cut(text, width), style) for text, style in lines]


def _heading(reading: Reading, settings: Settings) -> Iterator[Line]:
    now = reading.at.astimezone(ZoneInfo(settings.timezone))
    home = short_path(str(settings.home_path), 30)
    yield f"tippers {reading.version}, {home}, {now:%a} {now.day} {now:%b %Y %H:%M}", "bold"
    services = reading.services
    if services is None:
        yield _row("services", UNKNOWN), "red"
    elif not services:
        yield _row("services", "the stack is not running; `tippers up` starts it"), "yellow"
    else:
        working = [name for name, why in services.items() if why is None]
        yield _row("services", f"up: {', '.join(working) or 'none'}"), ""
        if down := [name for name in services if name not in working]:
            yield _row("", f"down: {', '.join(down)}"), "red"
    yield _row("counts", _counts(reading)), ""
    newest = reading.occupancy.newest if reading.occupancy is not None else None
    if newest is not None and not newest.live:
        yield _row("", f"today is not tracked; the last tracked chunk is {newest.chunk}"), "dim"


def _counts(reading: Reading) -> str:
    if reading.occupancy is None:
        return UNKNOWN
    if not reading.occupancy.levels[0].wanted:
        return "nothing is tracked; `tippers track` chooses spaces and dates"
    newest = reading.occupancy.newest
    if newest is None:
        return "no tracked date has come yet"
    computed = _ago(newest.counts_age, "never computed", "computed {} ago")
    checked = _ago(newest.observed_age, "never checked", "checked {} ago")
    return f"newest {computed}, source {checked}"


def _ago(age: float | None, never: str, text: str) -> str:
    return never if age is None else text.format(lasting(age))


def _progress(reading: Reading) -> Iterator[Line]:
    if reading.occupancy is None:
        return
    heads = ("wanted", "done", "running", "stale", "failed")
    yield f"{'':22}" + "".join(f"{head:>11}" for head in heads), "dim"
    for level in reading.occupancy.levels:
        style: Style = "red" if level.failed else "yellow" if level.stale else ""
        yield f"{level.asset:22}" + "".join(f"{n:>11,}" for n in level.numbers), style


def _rest(reading: Reading) -> Iterator[Line]:
    yield _row("definitions", _definitions(reading)), ""
    queue = reading.queue
    if queue is None:
        yield _row("runs", UNKNOWN), "red"
    else:
        wait = f", the first for {lasting(queue.oldest_wait)}" if queue.queued else ""
        yield _row("queue", f"{counted(queue.queued, 'run')} waiting{wait}"), ""
        running = sum(queue.running.values())
        kinds = f" ({queue.running['occupancy']:,} of occupancy)" if running else ""
        failed = f"{queue.failed_hour:,} in an hour, {queue.failed_day:,} in a day"
        yield _row("runs", f"{running:,} running{kinds}; failed: {failed}"), ""
    yield _row("rejected", _rejects(reading)), ""
    yield _row("locks", _locks(reading)), ""
    yield _row("storage", _storage(reading)), ""
    if reading.retention is not None and (reading.retention.on or reading.retention.sealed):
        yield _row("retention", _retention(reading)), ""


def _definitions(reading: Reading) -> str:
    if reading.definitions is None:
        return UNKNOWN
    numbers = {name: n for name, n in reading.definitions.standings.items() if n}
    if not numbers:
        return "none"
    parts = ", ".join(f"{number:,} {name}" for name, number in numbers.items())
    return f"{counted(sum(numbers.values()), 'asset')}: {parts}"


def _rejects(reading: Reading) -> str:
    found = reading.rejects
    if found is None:
        return UNKNOWN
    if not (found.loading or found.extraction or found.left_out):
        return "nothing"
    return (
        f"{counted(found.loading, 'row')} of files, {counted(found.extraction, 'row')} of the "
        f"source, {counted(found.left_out, 'space')} left out"
    )


def _locks(reading: Reading) -> str:
    found = reading.database
    if found is None:
        return UNKNOWN
    waiting = found.waiting + found.blocked
    wait = f", the first for {lasting(max(found.longest_wait, found.longest_blocked))}"
    connections = f"{found.connections:,} of {found.max_connections:,} connections"
    return f"{waiting:,} waiting{wait if waiting else ''}; {connections}"


def _storage(reading: Reading) -> str:
    parts = []
    if reading.storage is not None:
        parts.append(f"databases {size(sum(reading.storage.databases.values()))}")
    if reading.lake is not None:
        files = sum(folder.files for folder in reading.lake.values())
        total = size(sum(folder.size for folder in reading.lake.values()))
        parts.append(f"lake {total} in {counted(files, 'file')}")
    if reading.disk is not None:
        parts.append(f"disk {size(reading.disk.free)} free")
    return "; ".join(parts) or UNKNOWN


def _retention(reading: Reading) -> str:
    found = reading.retention
    assert found is not None
    last = _ago(found.success_age, "never run by Dagster", "last done {} ago")
    sealed = counted(found.sealed, "sealed chunk")
    late = f", {counted(found.late_rows, 'late row')} not counted" if found.late_rows else ""
    return f"{last if found.on else 'off'}; {sealed}{late}"


def _attention(found: Sequence[Concern], width: int, room: int | None) -> Iterator[Line]:
    """The concerns: wrapped if that fits, else two lines of each, else of the first ones."""
    if not found:
        yield "All is well.", "green"
        return
    yield f"Needs attention: {counted(len(found), 'thing')}", "bold"
    blocks = [list(_wrapped(concern, width)) for concern in found]
    if room is not None and sum(map(len, blocks)) > room - 1:
        blocks = [[(f"- {c.what}", "red"), (f"  {c.fix}", "")] for c in found]
        if sum(map(len, blocks)) > room - 1:
            blocks = blocks[: max(1, (room - 2) // 2)]
    for block in blocks:
        yield from block
    if more := len(found) - len(blocks):
        yield f"  ... and {more:,} more: `tippers status | cat` shows all.", "dim"


def _wrapped(concern: Concern, width: int) -> Iterator[Line]:
    for line in textwrap.wrap(concern.what, width, initial_indent="- ", subsequent_indent="  "):
        yield line, "red"
    for line in textwrap.wrap(concern.fix, width, initial_indent="  ", subsequent_indent="  "):
        yield line, ""


def _cut(text: str, width: int) -> str:
    return shown(text, width if len(text) <= width else width - 3)


def _row(name: str, text: str) -> str:
    return f"{name:{HEAD}}{text}"
