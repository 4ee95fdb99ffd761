"""The first rows of a log as they would be taken: what was understood, and what was not."""

from __future__ import annotations

import datetime as dt
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from tippers_dagster.campus.devices import KINDS
from tippers_dagster.campus.log.arrow_types import text_of
from tippers_dagster.campus.log.checks import Checks
from tippers_dagster.campus.log.guessing import Choice, Look
from tippers_dagster.campus.log.mapping import LogMapping
from tippers_dagster.campus.log.presets import Preset
from tippers_dagster.campus.log.reading import (
    Deployment,
    LogRows,
    Place,
    columns_by_role,
    day_month_order,
    meaning_of,
    open_by,
    read_rows,
    usable_rows,
)
from tippers_dagster.campus.log.rows import Malformed
from tippers_dagster.campus.log.sessions import Meaning
from tippers_dagster.campus.log.times import Order
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.small_tables import column_names

SHOWN_ROWS = 10
CHECKED_ROWS = 100_000
"""Rows whose reasons are counted."""
CHECKED_BYTES = 256 << 20
"""Of the columns that are read: with longer values, fewer rows are counted."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_KEY_BYTES = 32


@dataclass(frozen=True)
class PreviewedRow:
    """One row: its values by role as the log has them, and what was made of them."""

    number: int
    values: dict[str, str | None]
    understood: dict[str, str]
    """Empty when the row is rejected."""
    reason: str | None = None


@dataclass
class Preview:
    """What a log's first rows are."""

    look: Look
    """The file, as it was read."""
    preset: Preset | None
    guesses: list[tuple[Preset, str]]
    """The presets that it may be, with the reason; the likeliest first."""
    mapping: LogMapping | None
    """How it was read; ``None`` when no mapping was given and no preset fits."""
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The columns of each role."""
    unseen: list[str] = field(default_factory=list)
    """Columns of the mapping that the first records of a JSON file do not have."""
    order: Order | None = None
    """Of day and month, where its times leave that open."""
    rows: list[PreviewedRow] = field(default_factory=list)
    read: int = 0
    usable: int = 0
    left_out: int = 0
    malformed: list[Malformed] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    is_whole: bool = False
    """Whether all rows of the file were read."""

    def comments(self) -> list[str]:
        """What to say above the mapping in a file: no values, as the file may go into git."""
        lines = ["What the columns of this log mean, see docs/log_sources.md."]
        if self.preset is not None:
            lines += [f"From the preset {self.preset.name}. Source: {self.preset.source}"]
            lines += [f"Not known: {sentence}" for sentence in self.preset.not_known]
        return [*lines, f"Columns of the log: {column_names(self.look.names)}"]


def preview(
    path: Path,
    choice: Choice,
    deployment: Deployment,
    *,
    shown: int = SHOWN_ROWS,
    place: Place | None = None,
) -> Preview:
    """Read the first rows of a log as they would be taken.

    Parameters
    ----------
    path
        The log.
    choice
        How to read it, see ``guessing.find_mapping``.
    deployment
        What the deployment says of all logs.
    shown
        How many rows to show.
    place
        Finds the spaces of rows; default: rows have the space that they name.

    Raises
    ------
    BadInput
        When the file cannot be read, lacks columns of the mapping, or leaves the order of day and
        month open.
    """
    made = Preview(choice.look, choice.preset, choice.guesses, choice.mapping)
    if made.mapping is not None:
        _read(path, made.mapping, deployment, made, shown, place or _as_named)
    return made


def _as_named(rows: pa.Table, checks: Checks) -> pa.Array:
    return rows["space"].combine_chunks()


def _read(
    path: Path,
    mapping: LogMapping,
    deployment: Deployment,
    made: Preview,
    shown: int,
    place: Place,
) -> None:
    with open_by(path, mapping) as file:
        made.roles = columns_by_role(file, mapping)
        made.unseen = [name for name in mapping.columns if file.find(name) is None]
        parts = list(_first(read_rows(file, mapping), made))
        made.malformed = list(file.malformed)
    made.order = _order(path, mapping, parts)
    meaning = meaning_of(mapping, deployment, secrets.token_bytes(_KEY_BYTES), made.order)
    for part in parts:
        _judge(part, meaning, made, shown, place)


def _first(parts: Iterator[LogRows], made: Preview) -> Iterator[LogRows]:
    """The parts with the first ``CHECKED_ROWS`` rows, or about ``CHECKED_BYTES``."""
    size = 0
    for part in parts:
        left = CHECKED_ROWS - made.read
        size += part.columns.nbytes
        made.read += min(part.columns.num_rows, left)
        made.left_out += part.left_out
        yield replace(
            part,
            columns=part.columns.slice(0, left),
            kept=part.kept.slice(0, left),
            row_numbers=part.row_numbers[:left],
        )
        if part.columns.num_rows >= left or size >= CHECKED_BYTES:
            return
    made.is_whole = True


def _order(path: Path, mapping: LogMapping, parts: list[LogRows]) -> Order | None:
    """The order of day and month, judged by the first rows if they decide it, else by all."""
    try:
        return day_month_order(parts, mapping)
    except BadInput:
        with open_by(path, mapping) as file:
            return day_month_order(read_rows(file, mapping), mapping)


def _judge(part: LogRows, meaning: Meaning, made: Preview, shown: int, place: Place) -> None:
    """Count what can be used and what cannot, and keep the first rows."""
    rows, checks = usable_rows(part, meaning, place)
    made.usable += rows.num_rows
    made.reasons.update(checks.counts())
    count = min(shown - len(made.rows), part.columns.num_rows)
    if count <= 0:
        return
    usable = iter(rows.slice(0, int(checks.good[:count].sum())).to_pylist())
    values = {
        name: text_of(part.columns[name].slice(0, count)) for name in part.columns.column_names
    }
    numbers = part.row_numbers[:count].tolist()
    for at, (number, reason) in enumerate(zip(numbers, _reasons(checks, count), strict=True)):
        given = {role: column[at].as_py() for role, column in values.items()}
        taken = {} if reason else _understood(next(usable), meaning, "seen" in given)
        made.rows.append(PreviewedRow(number, given, taken, reason))


def _reasons(checks: Checks, count: int) -> list[str | None]:
    """Of each of the first rows, why it is rejected."""
    good = checks.good[:count]
    rejected = iter(checks.reasons().slice(0, int((~good).sum())).to_pylist())
    return [None if is_good else next(rejected) for is_good in good]


def _understood(row: dict[str, Any], meaning: Meaning, is_observation: bool) -> dict[str, str]:
    """A normalised row for people: local times with their offset, and no hash of a person."""
    zone = ZoneInfo(meaning.clock.timezone)
    found = {"device": row["device"], "kind": KINDS[row["device_kind"]]}
    start = _local(row["start"], zone)
    if is_observation:
        found["seen"] = start
    else:
        found |= {"start": start, "end": _local(row["end"], zone) or "open"}
        if row["end"] is None and row["last_seen"] is not None:
            found["end"] = f"open, last seen {_local(row['last_seen'], zone)}"
    found |= {key: row[key] for key in ("access_point", "space", "ssid") if row[key] is not None}
    if row["person"] is not None:
        found["person"] = "yes"
    if row["kept"] is not None:
        found["kept"] = row["kept"]
    return found


def _local(us: int | None, zone: ZoneInfo) -> str:
    if us is None:
        return ""
    local = (_EPOCH + dt.timedelta(microseconds=us)).astimezone(zone)
    return local.isoformat(" ", "seconds")
