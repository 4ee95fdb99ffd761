"""What the columns of a log mean: a mapping, which people write as YAML."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from tippers_dagster.campus.log.durations import DurationUnit
from tippers_dagster.campus.log.sessions import ROLES
from tippers_dagster.campus.log.times import Order
from tippers_dagster.errors import BadInput
from tippers_dagster.platform import yaml_text
from tippers_dagster.platform.text import shown

MAX_NAME = 300
"""Characters of a column's name."""
MAX_COLUMNS = 100
"""Columns that one field of a mapping may name."""
MAX_MAPPING_BYTES = 1 << 20

Encoding = Literal[
    "utf-8", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "windows-1250", "windows-1252"
]
_Made = TypeVar("_Made", bound=BaseModel)

_ONE_CHARACTER = re.compile(r"[\t!#-&(-/:-@\[\]^`{-~]")
TO_FILL_IN = {
    "device": "column of the device",
    "start": "column of the start; or seen instead of start and end",
    "end": "column of the end",
    "access_point": "column of the access point",
}
"""The fields of a mapping that somebody is to write."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _check_name(name: str) -> str:
    if not name.strip() or len(name) > MAX_NAME or _UNPRINTABLE.search(name):
        raise ValueError(f"a column's name has 1 to {MAX_NAME} printable characters")
    return name


Name = Annotated[str, Field(strict=True)]
Columns = Annotated[tuple[Name, ...], BeforeValidator(_as_list), Field(max_length=MAX_COLUMNS)]
"""A column, or several of which the first counts that has a value."""


class _Fields(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileLayout(_Fields):
    """How a file is written, as far as that cannot be found by itself."""

    encoding: Encoding | None = None
    """Default: UTF-8, or UTF-16 with a byte order mark."""
    separator: str | None = None
    """What stands between the fields of a CSV; default: found among ``, ; tab |``."""
    header: Annotated[tuple[Name, ...], Field(min_length=2, max_length=5000)] | None = None
    """The columns of a CSV that does not name them."""
    records: Name | None = None
    """In a JSON document, the keys that lead to the list of records, joined by dots."""
    explode: Annotated[tuple[Name, ...], BeforeValidator(_as_list), Field(max_length=3)] = ()
    """Lists of records within a JSON record, each within the one before: a row for each item."""

    @field_validator("separator")
    @classmethod
    def _check_separator(cls, separator: str | None) -> str | None:
        if separator is not None and not _ONE_CHARACTER.fullmatch(separator):
            raise ValueError(
                'one character that is no letter, digit or quote, such as "," or ";" or "\\t"'
            )
        return separator

    @field_validator("header")
    @classmethod
    def _check_header(cls, header: tuple[str, ...] | None) -> tuple[str, ...] | None:
        names = [_check_name(name).strip().casefold() for name in header or ()]
        if len(set(names)) < len(names):
            raise ValueError("a column is named twice")
        return header

    @field_validator("records")
    @classmethod
    def _check_records(cls, records: str | None) -> str | None:
        return None if records is None else _check_keys(records)

    @field_validator("explode")
    @classmethod
    def _check_explode(cls, explode: tuple[str, ...]) -> tuple[str, ...]:
        for outer, inner in zip(("", *explode), explode, strict=False):
            _check_keys(inner)
            if outer and not inner.startswith(f"{outer}."):
                raise ValueError(f"{inner} is not within {outer}")
        return explode


def _check_keys(path: str) -> str:
    _check_name(path)
    if '"' in path or "\\" in path or not all(path.split(".")):
        raise ValueError("keys joined by dots, without quotes and backslashes")
    return path


AS_FOUND = FileLayout()
"""Everything about how a file is written is found by itself."""


class Condition(_Fields):
    """Which rows count, by the values of a column; upper and lower case are equal.

    A row without a value differs from all values.
    """

    column: Name
    equals: Annotated[tuple[str, ...], BeforeValidator(lambda v: _as_texts(v))] | None = None
    differs: Annotated[tuple[str, ...], BeforeValidator(lambda v: _as_texts(v))] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_name(self.column)
        if (self.equals is None) == (self.differs is None):
            raise ValueError("either equals or differs, with one or more values")
        if not (self.equals or self.differs):
            raise ValueError("at least one value")
        if any(map(_UNPRINTABLE.search, self.equals or self.differs or ())):
            raise ValueError("values have printable characters only")
        return self


def _as_texts(value: object) -> object:
    """Values as text, as YAML reads some of them as booleans and numbers."""
    if value is None:
        return None
    values = value if isinstance(value, list | tuple) else [value]
    return [str(v).lower() if isinstance(v, bool) else str(v) for v in values]


class LogMapping(_Fields):
    """What the columns of a log mean.

    A log has sessions (``start`` with ``end``, ``duration`` or ``updated``; or ``end`` with
    ``duration``) or observations (``seen``). A field names a column, or several of which the first
    counts that has a value. Keys of nested JSON are joined by dots.
    """

    device: Columns
    start: Columns = ()
    end: Columns = ()
    duration: Columns = ()
    duration_unit: DurationUnit | None = None
    """Default: seconds."""
    updated: Columns = ()
    """When an open session was last known to go on."""
    seen: Columns = ()
    """The instant of an observation."""
    access_point: Columns = ()
    space: Columns = ()
    user: Columns = ()
    ssid: Columns = ()
    session_id: Columns = ()
    keep: Columns = ()
    """Further columns to keep with each session, as text."""
    where: Annotated[tuple[Condition, ...], Field(max_length=20)] = ()
    """Rows that count; all others are left out, and their number is shown."""
    timezone: str | None = None
    """IANA zone of times without a zone; default: the deployment's."""
    order: Order | None = None
    """Of day and month, in times such as 01/07/2025."""
    device_is: Literal["address", "any"] = "any"
    """``address``: ids that are no addresses are rejected."""
    own_realms: Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(max_length=100)] = ()
    """Realms of the campus: ``kim@example.edu`` and ``kim`` are one person."""
    anonymous: Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(max_length=100)] = ()
    """Further user names that are of nobody: regular expressions, such as ``guest.*``."""
    open_hours: Annotated[float, Field(gt=0, le=31 * 24)] | None = None
    """How long a session without an end and without an update lasts; default: the deployment's."""
    file: FileLayout = FileLayout()

    @field_validator(*ROLES, "keep")
    @classmethod
    def _check_columns(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        names = [_check_name(name).strip().casefold() for name in columns]
        if len(set(names)) < len(names):
            raise ValueError("a column is named twice")
        return columns

    @field_validator("timezone")
    @classmethod
    def _check_zone(cls, name: str | None) -> str | None:
        if name is not None:
            try:
                ZoneInfo(name)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                raise ValueError(
                    f"{shown(name)} is no time zone; expected a name such as Europe/London"
                ) from None
        return name

    @field_validator("own_realms", "anonymous")
    @classmethod
    def _check_texts(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_check_name(text) for text in texts)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if not self.device:
            raise ValueError("device: which column names the device?")
        self._check_times()
        if not (self.access_point or self.space):
            raise ValueError("where was the device? Name a column for access_point or space")
        if self.duration_unit and not self.duration:
            raise ValueError("duration_unit is for duration, which is not mapped")
        if (self.own_realms or self.anonymous) and not self.user:
            raise ValueError("own_realms and anonymous are for user, which is not mapped")
        self._check_distinct()
        return self

    def _check_times(self) -> None:
        of_sessions = {"start", "end", "duration", "updated", "session_id"} & self.mapped.keys()
        if self.seen:
            if of_sessions or self.open_hours is not None:
                raise ValueError(
                    "seen is for observations; start, end, duration, updated, session_id and "
                    "open_hours are for sessions. Map either"
                )
        elif not self.start and not (self.end and self.duration):
            raise ValueError(
                "when was the device there? Name a column for start, or for end and duration, or "
                "for seen"
            )
        elif not (self.end or self.duration or self.updated):
            raise ValueError(
                "when does a session end? Map end, duration or updated, or map seen instead of "
                "start"
            )

    def _check_distinct(self) -> None:
        names = [name.strip().casefold() for columns in self.mapped.values() for name in columns]
        twice = [name for name, number in Counter(names).items() if number > 1]
        if twice:
            raise ValueError(f"the column {shown(twice[0])} is mapped to two fields")
        secret = {name.strip().casefold() for name in (*self.device, *self.user)}
        for name in self.keep:
            if name.strip().casefold() in secret:
                raise ValueError(
                    f"keep: {shown(name)} is the column of the device or of the user name, of "
                    "which only hashes are kept. Name other columns"
                )
            if name.strip().startswith(("$", "/")):
                raise ValueError(
                    f"keep: rules cannot read a value called {shown(name)}, which is a path to "
                    "DuckDB. Name other columns"
                )

    @property
    def mapped(self) -> dict[str, tuple[str, ...]]:
        """The columns of each role that has any."""
        found: dict[str, tuple[str, ...]] = {role: getattr(self, role) for role in ROLES}
        return {role: columns for role, columns in found.items() if columns}

    @property
    def needed(self) -> tuple[str, ...]:
        """The roles without which no row can be used."""
        if self.seen:
            return ("device", "seen")
        return ("device", "start") if self.start else ("device", "end", "duration")

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read, each once."""
        names = [*(name for columns in self.mapped.values() for name in columns), *self.keep]
        names += [condition.column for condition in self.where]
        once: dict[str, str] = {}
        for name in names:
            once.setdefault(name.strip().casefold(), name)
        return tuple(once.values())

    def as_fields(self) -> dict[str, Any]:
        """As plain values for YAML: what differs from the defaults, a single column as text."""
        return _plain(self.model_dump(mode="json", exclude_defaults=True))


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            made[name] = _plain(value)
        elif name == "where":
            made[name] = [_plain({k: v for k, v in c.items() if v is not None}) for c in value]
        elif isinstance(value, list) and len(value) == 1 and name not in ("header", "keep"):
            made[name] = value[0]
        else:
            made[name] = value
    return made


def read_mapping(fields: Mapping[str, Any]) -> LogMapping:
    """A mapping from plain values.

    Raises
    ------
    BadInput
        A line for each field that is wrong.
    """
    return _read(LogMapping, fields)


def read_layout(fields: Mapping[str, Any]) -> FileLayout:
    """How a file is written, from plain values.

    Raises
    ------
    BadInput
        A line for each field that is wrong.
    """
    return _read(FileLayout, fields)


def _read(kind: type[_Made], fields: Mapping[str, Any]) -> _Made:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise BadInput("\n".join(problems(error)), "See docs/log_sources.md.") from None


def load_mapping(path: Path) -> LogMapping:
    """A mapping from a YAML file.

    Raises
    ------
    BadInput
        Names the file, and what is wrong in it.
    """
    try:
        content = path.read_bytes()[: MAX_MAPPING_BYTES + 1]
        return read_mapping(yaml_text.load(content.decode("utf-8-sig")))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from None
    except BadInput as error:
        raise BadInput(f"{path}: {error.message}", error.hint) from None


def mapping_text(fields: Mapping[str, Any], comments: Iterable[str] = ()) -> str:
    """The YAML text of a mapping's fields, with these lines above it."""
    return "".join(f"# {line}".rstrip() + "\n" for line in comments) + yaml_text.dump(fields)


def write_mapping(path: Path, mapping: LogMapping | None, comments: Iterable[str]) -> None:
    """Write a mapping to a new YAML file, to be edited.

    Parameters
    ----------
    path
        The file; it appears whole, or not at all.
    mapping
        The mapping; ``None``: one whose columns are yet to be filled in.
    comments
        Lines above it.

    Raises
    ------
    BadInput
        When the file exists, or cannot be written.
    """
    if path.exists():
        raise BadInput(f"{path} exists already.", "Give another name, or remove it.")
    text = mapping_text(TO_FILL_IN if mapping is None else mapping.as_fields(), comments)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise BadInput(f"{path} cannot be written: {error.strerror}.") from error


def problems(error: ValidationError) -> Iterator[str]:
    """A sentence for each field that is wrong."""
    for found in error.errors(include_url=False):
        place = shown(".".join(str(part) for part in found["loc"]))
        message = found["msg"].removeprefix("Value error, ")
        if found["type"] == "extra_forbidden":
            message = "there is no such field"
        elif found["type"] == "missing":
            message = "required"
        elif found["type"] == "tuple_type":
            message = "expected a name, or a list of names; quote on, off, yes and no"
        elif found["type"] == "string_type":
            message = "expected text; quote it if it is"
        yield f"{place + ': ' if place else ''}{message.rstrip('.')}."
