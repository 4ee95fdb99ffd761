"""The academic calendar as a CSV or YAML file, in which last days are included."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tippers_dagster.calendar.periods import Period, period
from tippers_dagster.errors import BadInput
from tippers_dagster.platform import yaml_text
from tippers_dagster.platform.small_tables import unescape_formula
from tippers_dagster.platform.table_files import csv_of_rows, replacing
from tippers_dagster.platform.text import shown

COLUMNS = ("kind", "name", "first_day", "last_day", "space")
"""Columns of a CSV file, and fields of each entry in a YAML file's list ``periods``. ``space`` is
optional; ``last_day`` is included in the period."""

SUFFIXES = (".csv", ".yaml", ".yml")
MAX_BYTES = 1 << 20
MAX_FAULTS = 5


# --- reading -------------------------------------------------------------------------------------
def read_file(path: Path) -> list[Period]:
    """The periods of a file.

    Raises
    ------
    BadInput
        When it cannot be read; the message names the wrong lines.
    """
    if path.suffix not in SUFFIXES:
        raise BadInput(
            f"{path} is not a CSV or YAML file.", f"Its name must end in {', '.join(SUFFIXES)}."
        )
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{path} could not be read: {error.strerror}.") from None
    return read_bytes(content, path.name)


def read_bytes(content: bytes, name: str) -> list[Period]:
    """The periods of a file's content; the extension of ``name`` says whether it is CSV or YAML.

    Raises
    ------
    BadInput
        As :func:`read_file`.
    """
    if len(content) > MAX_BYTES:
        raise BadInput(f"{name} is larger than {MAX_BYTES:,} bytes.", "Is it a calendar?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"{name} is not UTF-8.", "Save it as UTF-8.") from None
    entries = _of_csv(text, name) if name.endswith(".csv") else _of_yaml(text, name)
    found, faults = [], []
    for place, entry in entries:
        try:
            found.append(_period(entry))
        except BadInput as error:
            faults.append(f"{place}: {error.message}")
    if faults:
        more = len(faults) - MAX_FAULTS
        lines = faults[:MAX_FAULTS] + ([f"and {more} more."] if more > 0 else [])
        raise BadInput(
            f"{name} cannot be used; nothing was imported.\n" + "\n".join(lines),
            f"Columns are {', '.join(COLUMNS)}; dates look like 2025-09-25.",
        )
    return found


def _of_csv(text: str, name: str) -> list[tuple[str, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text), restkey="", strict=True)
    try:
        rows: list[tuple[str, Mapping[str, Any]]] = [
            (f"line {reader.line_num}", {k: _as_it_was(v) for k, v in row.items()})
            for row in reader
        ]
    except csv.Error as error:
        raise BadInput(f"{name}, line {reader.line_num}: this is not CSV: {error}.") from None
    _refuse_fields(reader.fieldnames or (), name)
    return rows


def _as_it_was(value: Any) -> Any:
    """A cell without an export's apostrophe; not text if the row has too few or too many cells."""
    return unescape_formula(value) if isinstance(value, str) else value


def _of_yaml(text: str, name: str) -> list[tuple[str, Mapping[str, Any]]]:
    found = yaml_text.load(text)
    entries = found.get("periods")
    if set(found) != {"periods"} or not isinstance(entries, list):
        raise BadInput(
            f"{name} does not consist of a list `periods`.",
            "`tippers calendar export` writes an example.",
        )
    periods: list[tuple[str, Mapping[str, Any]]] = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise BadInput(f"{name}: period {number} has no fields.")
        unknown = [shown(field) for field in entry if field not in COLUMNS]
        if unknown:
            raise BadInput(
                f"{name}: period {number} has unknown fields: {', '.join(unknown)}.",
                f"Fields are {', '.join(COLUMNS)}.",
            )
        periods.append((f"period {number}", entry))
    return periods


def _refuse_fields(fields: Sequence[str], name: str) -> None:
    duplicates = [field for field, count in Counter(fields).items() if count > 1]
    if duplicates:
        raise BadInput(f"{name} has the column {shown(duplicates[0])} twice.", "Keep one.")
    missing = [column for column in COLUMNS[:-1] if column not in fields]
    unknown = [shown(field) for field in fields if field not in COLUMNS]
    if missing or unknown:
        faults = [f"missing columns: {', '.join(missing)}"] if missing else []
        faults += [f"unknown columns: {', '.join(unknown)}"] if unknown else []
        raise BadInput(f"{name} has {'; '.join(faults)}.", f"Columns are {', '.join(COLUMNS)}.")


def _period(entry: Mapping[str, Any]) -> Period:
    if "" in entry:
        raise BadInput("it has more values than columns.")
    days = [_day(entry.get(column), column) for column in ("first_day", "last_day")]
    kind, name, space = (str(entry.get(c) or "").strip() for c in ("kind", "name", "space"))
    return period(kind, name, days[0], days[1], space)


def _day(value: Any, column: str) -> dt.date:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    try:
        return dt.date.fromisoformat(str(value or "").strip())
    except ValueError:
        raise BadInput(f"{column} is {value!r:.60}, which is not a date.") from None


# --- writing -------------------------------------------------------------------------------------
def as_csv(periods: Iterable[Period]) -> str:
    """A CSV that :func:`read_bytes` takes."""
    return csv_of_rows([COLUMNS, *(_entry(p).values() for p in periods)])


def as_yaml(periods: Iterable[Period]) -> str:
    """YAML text that :func:`read_bytes` can read."""
    entries = [{k: v for k, v in _entry(p).items() if v} for p in periods]
    return yaml_text.dump({"periods": entries})


def write_file(periods: Iterable[Period], path: Path) -> None:
    """Write a file that :func:`read_file` can read, completely or not at all.

    Raises
    ------
    BadInput
        When it is neither CSV nor YAML, or cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise BadInput(
            f"{path} is not a CSV or YAML file.", f"Its name must end in {', '.join(SUFFIXES)}."
        )
    text = as_csv(periods) if path.suffix == ".csv" else as_yaml(periods)
    with replacing(path) as file:
        file.write(text.encode())


def _entry(p: Period) -> dict[str, str]:
    days = p.start.isoformat(), p.last_day.isoformat()
    values = (p.kind.value, p.name, *days, p.space)
    return dict(zip(COLUMNS, values, strict=True))
