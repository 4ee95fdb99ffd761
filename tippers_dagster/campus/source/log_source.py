"""Log sources: where a WiFi log is, and what its columns mean, as people define it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from tippers_dagster.campus.log.arrow_types import PlainColumns
from tippers_dagster.campus.log.formats import LogFile
from tippers_dagster.campus.log.mapping import LogMapping, read_mapping
from tippers_dagster.campus.log.presets import Preset, preset
from tippers_dagster.campus.log.reading import Deployment, meaning_of, read_rows
from tippers_dagster.campus.log.rows import Batch, Malformed
from tippers_dagster.campus.log.sessions import normalised
from tippers_dagster.catalog.kinds import ConnectionTable, Kind, LogSource
from tippers_dagster.catalog.model import Definition, Ref, Unreadable
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.connections.bodies import connections
from tippers_dagster.connections.columns import Column
from tippers_dagster.connections.opening import Place, opened, place_of
from tippers_dagster.connections.reading import Reflected, reflect
from tippers_dagster.connections.reading import read_rows as read_table_rows
from tippers_dagster.errors import BadInput, SourceError, TippersError
from tippers_dagster.platform.keys import device_key
from tippers_dagster.platform.text import shown
from tippers_dagster.settings import Settings

TRIED_ROWS = 1000


def said_of_logs(settings: Settings) -> Deployment:
    """What a deployment says of all logs."""
    return Deployment(
        settings.timezone,
        settings.plausible_range(),
        settings.longest_session_seconds,
        _listed(settings.own_realms),
        _listed(settings.anonymous_users),
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def content(settings: Settings) -> str:
    """What sessions depend on besides the rows of the log source that they are read from.

    Empty if they are not read from one. It changes with the definition, and with what is said of
    all logs.
    """
    if settings.log_source is None:
        return ""
    found = log_sources(settings).get(settings.log_source)
    body = "" if found is None else found.body.model_dump_json()
    return "\x1f".join((settings.log_source, body, settings.own_realms, settings.anonymous_users))


# --- definitions ----------------------------------------------------------------------------
def ref_of(name: str) -> Ref:
    """The reference of a log source among the definitions."""
    return Ref("", name, Kind.LOG_SOURCE)


def log_sources(settings: Settings) -> dict[str, Definition]:
    """All log sources by name, also those that cannot work."""
    found = load_catalog(settings).of_kind(Kind.LOG_SOURCE, broken=True)
    return {definition.ref.name: definition for definition in found}


def log_source(settings: Settings, name: str) -> LogSource:
    """The log source of a name.

    Raises
    ------
    BadInput
        There is none, or it cannot work.
    """
    found = log_sources(settings)
    if name not in found:
        names = ", ".join(found) or "none"
        raise BadInput(f"There is no log source {shown(name)}.", f"Defined: {names}.")
    body = found[name].body
    if isinstance(body, Unreadable):
        raise BadInput(f"The log source {name} cannot be read: {body.reason}")
    assert isinstance(body, LogSource)
    return body


def check_body(name: str, body: LogSource) -> None:
    """Refuse a mapping or preset that cannot be read.

    Raises
    ------
    BadInput
        A line for each field that is wrong.
    """
    try:
        if body.preset is not None:
            preset(body.preset)
        if body.mapping:
            read_mapping(body.mapping)
    except BadInput as error:
        raise BadInput(f"{name}: {error.message}", error.hint) from None


def way_of(body: LogSource) -> tuple[LogMapping | None, Preset | None]:
    """How files are read by a log source: its mapping, or its preset.

    Raises
    ------
    BadInput
        The mapping is wrong, or there is no such preset.
    """
    mapping = read_mapping(body.mapping) if body.mapping else None
    return mapping, None if body.preset is None else preset(body.preset)


def mapping_for(name: str, body: LogSource, columns: list[str], *, sparse: bool) -> LogMapping:
    """What the columns of a log mean, by its definition.

    Parameters
    ----------
    name, body
        The log source.
    columns
        Those that the log has.
    sparse
        Whether it may have more.

    Raises
    ------
    BadInput
        The log lacks columns of the preset.
    """
    if body.mapping:
        return read_mapping(body.mapping)
    assert body.preset is not None  # one of the two is there
    known = preset(body.preset)
    fitted = known.fitted(columns, sparse=sparse)
    if fitted is None:
        lacking = ", ".join(known.lacking(columns))
        what = f"has no column {lacking}" if lacking else "lacks columns"
        raise BadInput(
            f"{name}: the log {what} of the preset {body.preset}; its columns are: "
            f"{', '.join(map(shown, columns))}.",
            f"`tippers log presets {body.preset}` shows those of the preset. If yours have other "
            "names, give a mapping instead.",
        )
    return fitted


# --- tables ---------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class LogTable:
    """A log source whose rows are in a table, as its database describes it now."""

    name: str
    place: Place
    found: Reflected
    mapping: LogMapping

    @property
    def title(self) -> str:
        """Where the rows are, for people."""
        return f"{self.found.table.fullname} of the connection {self.place.name}"

    def column(self, *roles: str) -> sa.Column[Any] | None:
        """The column of the first of the roles that is mapped, if that names only one."""
        for role in roles:
            names = self.mapping.mapped.get(role, ())
            if names:
                folded = {c.name.strip().casefold(): c for c in self.found.table.columns}
                return folded.get(names[0].strip().casefold()) if len(names) == 1 else None
        return None


def log_table(settings: Settings, name: str) -> LogTable:
    """The table of a log source.

    Raises
    ------
    SourceError
        There is no such log source, its rows are in files, or its table cannot be read.
    """
    try:
        body = log_source(settings, name)
        if body.connection is None or body.table is None:
            raise BadInput(
                f"the log source {name} is for files that are handed in, and names no table.",
                "Name a log source with a table: `tippers log sources` shows them.",
            )
        known = connections(settings, load_catalog(settings))
        if body.connection not in known:
            raise BadInput(f"{name}: there is no connection {body.connection}.")
        place = place_of(settings, body.connection, known[body.connection])
        wanted = ConnectionTable(name=body.table, schema_name=body.schema_name)
        with opened(settings, place) as connection:
            found = reflect(connection, body.connection, wanted)
        names = [column.name for column in found.columns]
        return LogTable(name, place, found, mapping_for(name, body, names, sparse=False))
    except TippersError as error:
        setting = f" (TIPPERS_LOG_SOURCE={name})" if name == settings.log_source else ""
        raise SourceError(
            f"The log{setting} cannot be read: {error.message}",
            error.hint or "`tippers log sources` shows all log sources.",
        ) from error


@contextmanager
def open_table(
    settings: Settings,
    source: LogTable,
    where: sa.ColumnElement[bool] | None = None,
    limit: int | None = None,
) -> Iterator[LogFile]:
    """The rows of a log source's table, read as those of a file are: in one statement.

    Parameters
    ----------
    where
        Only these rows.
    limit
        So many at most.
    """
    columns = {column.name: _as_logged(column, source) for column in source.found.columns}
    plain = PlainColumns()

    def read(chosen: Mapping[str, str], _: list[Malformed]) -> Iterator[Batch]:
        wanted = [columns[name] for name in chosen]
        query = sa.select(*(column.read.label(column.name) for column in wanted))
        query = query.select_from(source.found.table)
        if where is not None:
            query = query.where(where)
        if limit is not None:
            query = query.limit(limit)
        first = 1
        for batch in read_table_rows(settings, source.place, query, wanted):
            rows = pa.Table.from_batches([batch])
            values = [plain(column, n) for n, column in zip(chosen, rows.columns, strict=True)]
            rows = pa.table(values, list(chosen.values()))
            yield Batch(rows, np.arange(first, first + rows.num_rows))
            first += rows.num_rows

    yield LogFile(
        source.title,
        "a table",
        list(columns),
        is_sparse=False,
        _read=read,
        _position=lambda: 0,
    )


def try_table(settings: Settings, source: LogTable) -> None:
    """Read the first rows of a log source's table as extraction would, to see whether they can be.

    Raises
    ------
    TippersError
        The table cannot be read, lacks columns, or leaves the order of day and month open.
    """
    mapping = source.mapping
    meaning = meaning_of(mapping, said_of_logs(settings), device_key(settings), mapping.order)
    with open_table(settings, source, limit=TRIED_ROWS) as table:
        for part in read_rows(table, mapping):
            normalised(part.columns, meaning)


def write_sample(settings: Settings, source: LogTable, path: Path, rows: int) -> None:
    """Write the first rows of a log source's table to a Parquet file, to look at.

    Raises
    ------
    TippersError
        The table cannot be read.
    """
    with open_table(settings, source, limit=rows) as table:
        parts = [batch.columns for batch in table.batches(table.names)]
    empty = pa.table({name: pa.array([], pa.string()) for name in table.names})
    pq.write_table(pa.concat_tables(parts) if parts else empty, path)


def _as_logged(column: Column, source: LogTable) -> Column:
    """How a column of a log is read: bytes as they are, as they may be those of an address; times
    that drivers refuse, such as zero dates, as text.
    """
    dialect, place = source.place.body.dialect, source.found.table.columns[column.name]
    kind = place.type
    if column.type == "bytea":
        return Column(column.name, place, pa.binary(), column.type)
    if not isinstance(kind, sa.DateTime | sa.Date) or dialect not in ("mysql", "sqlite"):
        return column
    text = sa.cast(place, sa.String(40))
    if isinstance(kind, mysql.TIMESTAMP):  # an instant, in UTC in our sessions
        instant = sa.case((text.like("0000%"), sa.null()), else_=sa.func.concat(text, "Z"))
        return Column(column.name, instant, pa.string(), "text")
    return Column(column.name, text, pa.string(), "text")
