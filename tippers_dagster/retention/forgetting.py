"""Removes a device or a person from everything that identifies it; counts stay, and are recounted.

The device is put on a list that extraction leaves out, and removed from the log if that is ours.
Then the chunks with its sessions are computed again, so that presence, counts and all that is
derived agree; last it is removed from results of definitions, while none of them is computed.
Every step can be repeated.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from logging import Logger
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg2
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from psycopg2 import sql
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.automation.tables import asset_state
from tippers_dagster.campus.addresses import device_addresses
from tippers_dagster.campus.devices import addresses, normalise_devices
from tippers_dagster.campus.forgotten import Forgettable, Forgotten, list_hashes
from tippers_dagster.campus.identities import keyed_hashes
from tippers_dagster.campus.intake.tables import reject
from tippers_dagster.campus.local_time import chunk_bounds
from tippers_dagster.campus.log.people import ANONYMOUS, UserNames, persons
from tippers_dagster.campus.source.log_source import said_of_logs
from tippers_dagster.campus.source.schema import PERSON, source_tables
from tippers_dagster.campus.source.schema import SESSIONS as SESSION_TABLE
from tippers_dagster.campus.spaces.tracking import wanted_grid
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.campus.tables import device_address, forgotten
from tippers_dagster.catalog.kinds import Kind, LogSource
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.errors import BadInput, TippersError
from tippers_dagster.labelling.tables import gold_label
from tippers_dagster.occupancy.chunk_tables import PREFIXES
from tippers_dagster.occupancy.files import PRESENCE
from tippers_dagster.occupancy.launch import materialize
from tippers_dagster.occupancy.records import void
from tippers_dagster.occupancy.repack import occupancy_lake
from tippers_dagster.occupancy.state import DAYS, SESSIONS, SOURCE
from tippers_dagster.occupancy.tables import sealed_chunk, session_reject
from tippers_dagster.platform.keys import device_key
from tippers_dagster.platform.lake import Lake
from tippers_dagster.platform.lake.keys import SESSIONS_PREFIX, chunk_of
from tippers_dagster.platform.locks.locks import advisory_locks
from tippers_dagster.platform.mlflow.tables import model_file
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.log import SCHEMA as LOG
from tippers_dagster.sql.roles import ANSWERS, WRITTEN, ensure_roles

if TYPE_CHECKING:
    from dagster import DagsterInstance

ASSET_OF = {
    SESSIONS_PREFIX: SESSIONS,
    f"{PRESENCE.folder}/": SOURCE,
    **dict.fromkeys(PREFIXES, DAYS),
}
"""The asset whose partition a file about devices belongs to, by folder."""

COUNTS_ONLY = ("occupancy/", "labelled/", "forecasts/", "mlflow/")
"""Folders of the lake in which no device is named."""

DEVICE_COLUMN = "mac_address"

RUN = "forget"
SHOWN = 5


class NotForgotten(TippersError):
    """Something still contains the device or person."""


@dataclass(frozen=True)
class Entity:
    """A device or person.

    Attributes
    ----------
    name
        A device's address or id, in one form; empty for a person, whose name is kept nowhere.
    hash
        As in the lake.
    """

    kind: Forgettable
    hash: int
    name: str = ""

    @property
    def signed(self) -> int:
        """The hash as the warehouse has it."""
        return self.hash - 2**64 if self.hash >= 2**63 else self.hash


@dataclass
class Forgetting:
    """What was removed, or would be, as numbers of rows or files by place; what remains, and why.

    ``devices``: number of devices that are forgotten. ``shared``: devices of the person that others
    used too, of which only the person's sessions are removed.
    """

    devices: int = 0
    persons: int = 0
    shared: int = 0
    removed: dict[str, int] = field(default_factory=dict)
    remains: dict[str, str] = field(default_factory=dict)

    def add(self, place: str, number: int) -> None:
        """Count what was removed from a place."""
        if number:
            self.removed[place] = self.removed.get(place, 0) + number


# --- who ----------------------------------------------------------------------------------------
def device_named(settings: Settings, address: str) -> Entity:
    """The device with an address, in any spelling.

    Raises
    ------
    BadInput
        When it is no address. An id of a log's own may be any text, such as a number that is also
        that of a room, and cannot be searched for in all tables.
    """
    names, reasons = normalise_devices(pa.array([address], pa.string()))
    if reasons[0] >= 0:
        raise BadInput("This is not the address of a device.", "Write it as the log does.")
    name = names[0].as_py()
    if not _is_address(name):
        raise BadInput(
            "This is an id of the log's own, not the address of a device.",
            "Only addresses can be told from other values in all tables. Delete the id's rows "
            "where the log comes from; all that is computed from them follows.",
        )
    return Entity("device", keyed_hashes([name], device_key(settings))[0], name)


def persons_named(settings: Settings, user: str) -> list[Entity]:
    """The person with a user name: as the settings read names, and as each log source does.

    Raises
    ------
    BadInput
        When it is the name of nobody, or of a machine.
    """
    said = said_of_logs(settings)
    rules = [UserNames(said.own_realms, (*ANONYMOUS, *said.anonymous))]
    for definition in load_catalog(settings).of_kind(Kind.LOG_SOURCE):
        assert isinstance(definition.body, LogSource)
        realms, anonymous = (
            _listed_in(definition.body.mapping, name) for name in ("own_realms", "anonymous")
        )
        rules.append(
            UserNames((*said.own_realms, *realms), (*ANONYMOUS, *said.anonymous, *anonymous))
        )
    key, names = device_key(settings), pa.array([user], pa.string())
    hashes = {persons(names, rule, key)[0].as_py() for rule in rules} - {None}
    if not hashes:
        raise BadInput(
            "This is not the user name of a person.",
            "Names of machines and anonymous ones are not.",
        )
    return [Entity("person", value) for value in sorted(hashes)]


def _listed_in(mapping: Mapping[str, Any], name: str) -> list[str]:
    found = mapping.get(name) or []
    return [found] if isinstance(found, str) else list(found)


# --- all of it ----------------------------------------------------------------------------------
def forget(
    settings: Settings,
    instance: DagsterInstance,
    named: Sequence[Entity],
    by: str,
    log: Logger,
    *,
    really: bool,
    report: Callable[[str], None] = lambda _: None,
) -> Forgetting:
    """Remove a device, or a person with the devices that nobody else used.

    Parameters
    ----------
    really
        Whether to do it; otherwise it is only counted.

    Raises
    ------
    NotForgotten
        When something could not be removed; names it. What was removed stays removed.
    TippersError
        When chunks that are no longer tracked have files about it; nothing was removed.
    """
    ensure_roles(settings)
    outcome = Forgetting(persons=sum(e.kind == "person" for e in named))
    report("Looking for it.")
    entities = [*named, *_devices_of(settings, named, outcome)]
    outcome.devices = sum(e.kind == "device" for e in entities)
    _refuse_untracked(settings, entities, outcome, really=really)
    if not really:
        _look(settings, entities, outcome)
    else:
        report("Removing it from the log.")
        _list(settings, entities, by)
        _clean_source(settings, entities, outcome, really=True)
        report("Removing it from results.")
        _clean_results(settings, entities, outcome, log)
        report("Computing the log and occupancy without it.")
        try:
            _recompute(settings, instance, entities, outcome, log)
        finally:
            # Runs that had read the log before may have written results since.
            _clean_results(settings, entities, outcome, log)
        # Addresses come last: by them an interrupted call finds the devices that are on the list.
        _clean_source(settings, entities, outcome, really=True, addresses=True)
        _vacuum(settings)
        _record(settings, entities, outcome)
    _say_what_remains(settings, entities, outcome)
    if really:
        report("Checking that nothing is left.")
        _check(settings, entities)
    return outcome


def _devices_of(
    settings: Settings, named: Sequence[Entity], outcome: Forgetting
) -> Iterator[Entity]:
    """The devices of a person that nobody else is known to have used."""
    wanted = {e.hash for e in named if e.kind == "person"}
    if not wanted:
        return
    known = device_addresses(settings)
    names = dict(zip(known["device"].to_pylist(), known["mac_address"].to_pylist(), strict=True))
    hashes = known["device"].to_numpy()
    # Those of a call that was interrupted after their sessions were removed.
    mine: set[int] = set(hashes[Forgotten.read(settings).devices(hashes)].tolist())
    others: set[int] = set()
    for devices, users in (*_seen_in_lake(settings), *_seen_in_source(settings, wanted, names)):
        is_mine = np.isin(users, np.fromiter(wanted, np.uint64))
        mine.update(devices[is_mine].tolist())
        others.update(devices[~is_mine & (users > 0)].tolist())
    outcome.shared = len(mine & others)
    found = [Entity("device", device, names.get(device, "")) for device in sorted(mine - others)]
    if nameless := sum(not entity.name for entity in found):
        outcome.remains["devices without a known address"] = (
            f"{nameless:,} of the person's: tables that name them by their addresses still do."
        )
    yield from found


Seen = tuple[np.ndarray, np.ndarray]


def _seen_in_lake(settings: Settings) -> Iterator[Seen]:
    """Devices and persons (0: unknown) of all sessions in the lake."""
    lake = occupancy_lake(settings)
    for key in lake.list(SESSIONS_PREFIX):
        table = lake.read_table(key, ["device", PERSON], optional={PERSON: pa.uint64()})
        yield table["device"].to_numpy(), pc.fill_null(table[PERSON], 0).to_numpy()


def _seen_in_source(
    settings: Settings, wanted: Collection[int], addresses_of: dict[int, str]
) -> Iterator[Seen]:
    """The same of sessions in our own log, of devices that the persons used.

    ``addresses_of``: gains their addresses, by hash.
    """
    if not _is_ours(settings):
        return
    table = source_tables(settings)[SESSION_TABLE]
    mac = table.column("mac_address")
    query = (
        f"SELECT DISTINCT {mac}, {PERSON} FROM {table.sql} WHERE {PERSON} IS NOT NULL AND {mac} IN "
        f"(SELECT {mac} FROM {table.sql} WHERE {PERSON} = ANY(%s))"
    )
    with _owner(settings) as cursor:
        if not _has_person(cursor, settings):
            return
        cursor.execute(query, ([_signed(value) for value in wanted],))
        rows = cursor.fetchall()
    names, reasons = normalise_devices(pa.array([mac for mac, _ in rows], pa.string()))
    hashes = np.array(keyed_hashes(names.to_pylist(), device_key(settings)), np.uint64)
    users = np.array([person % 2**64 for _, person in rows], np.uint64)
    good = reasons < 0
    addresses_of.update(
        (value, name)
        for value, name, is_good in zip(hashes.tolist(), names.to_pylist(), good, strict=True)
        if is_good
    )
    yield hashes[good], users[good]


# --- the list and the log -----------------------------------------------------------------------
def _list(settings: Settings, entities: Sequence[Entity], by: str) -> None:
    rows: list[dict[str, Any]] = [
        {
            "hash": h,
            "kind": e.kind,
            "forgotten_at": dt.datetime.now(dt.UTC),
            "by": by,
            "removed": {},
        }
        for e, h in zip(entities, _listed(settings, entities), strict=True)
    ]
    with warehouse_engine(settings).begin() as connection:
        connection.execute(insert(forgotten).values(rows).on_conflict_do_nothing())


def _listed(settings: Settings, entities: Sequence[Entity]) -> list[int]:
    key = device_key(settings)
    return [_signed(list_hashes(key, e.kind, [e.hash])[0]) for e in entities]


def _record(settings: Settings, entities: Sequence[Entity], outcome: Forgetting) -> None:
    """Keep what was removed, the first time, beside who asked for it."""
    c = forgotten.c
    query = sa.update(forgotten).where(
        c.hash.in_(_listed(settings, entities)), c.removed == sa.cast({}, c.removed.type)
    )
    with warehouse_engine(settings).begin() as connection:
        connection.execute(query.values(removed=outcome.removed))


def _is_ours(settings: Settings) -> bool:
    return settings.source_url is None


def _clean_source(
    settings: Settings,
    entities: Sequence[Entity],
    outcome: Forgetting,
    *,
    really: bool,
    addresses: bool = False,
) -> None:
    """Remove rows of our own log, rejected rows, gold labels, and perhaps devices' addresses."""
    with _owner(settings) as cursor:
        if _is_ours(settings):
            _clean_session_table(cursor, settings, entities, outcome, really)
            session = settings.source_schema, settings.session_table
            for place, columns in _tables(cursor, [settings.source_schema]):
                if place != session:
                    number = _clean_table(cursor, place, columns, entities, really)
                    outcome.add("source", number)
        named = (
            (gold_label, "gold labels"),
            (reject, "rejected rows"),
            (session_reject, "rejected rows"),
            (device_address, "addresses"),
        )
        for table, what in named if addresses else named[:-1]:
            place = str(table.schema), table.name
            columns = dict(_columns(cursor, place))
            outcome.add(what, _clean_table(cursor, place, columns, entities, really))


def _clean_session_table(
    cursor: Any,
    settings: Settings,
    entities: Sequence[Entity],
    outcome: Forgetting,
    really: bool,
) -> None:
    table = source_tables(settings)[SESSION_TABLE]
    mac = table.column("mac_address")
    cursor.execute(
        "SELECT relkind IN ('r', 'p') FROM pg_class WHERE oid = to_regclass(%s)", (table.sql,)
    )
    found = cursor.fetchone()
    if found is None or not found[0]:
        return
    cursor.execute(f"SELECT DISTINCT {mac} FROM {table.sql}")
    written = pa.array([row[0] for row in cursor.fetchall()], pa.string())
    names, _ = normalise_devices(written)
    wanted = pa.array([e.name for e in entities if e.kind == "device" and e.name], pa.string())
    spellings = written.filter(pc.is_in(names, value_set=wanted)).to_pylist()
    where, values = [f"{mac} = ANY(%s)"], [spellings]
    if _has_person(cursor, settings):
        where.append(f"{PERSON} = ANY(%s)")
        values.append([e.signed for e in entities if e.kind == "person"])
    outcome.add("source", _run(cursor, table.sql, " OR ".join(where), values, really))


def _has_person(cursor: Any, settings: Settings) -> bool:
    table = source_tables(settings)[SESSION_TABLE]
    cursor.execute(
        "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%s) "
        "AND attname = %s AND NOT attisdropped)",
        (table.sql, PERSON),
    )
    return bool(cursor.fetchone()[0])


# --- the lake -----------------------------------------------------------------------------------
def _recompute(
    settings: Settings,
    instance: DagsterInstance,
    entities: Sequence[Entity],
    outcome: Forgetting,
    log: Logger,
) -> None:
    """Compute the chunks with their sessions again, without them."""
    grid = wanted_grid(settings, load_tree(settings))
    # Runs that read the list before it was changed end first.
    locks = [RUN, *(f"chunk {SESSIONS} {chunk}" for chunk in grid.chunks)]
    with advisory_locks(settings, locks, log):
        found = _files_with(settings, entities, ASSET_OF)
        chunks = sorted({chunk_of(key) for key in found}.intersection(grid.chunks))
        void(warehouse_engine(settings), SESSIONS, [""] * len(chunks), chunks, RUN)
    for key, rows in found.items():
        outcome.add(key.partition("/")[0], rows)
    if chunks:
        first, last = (chunk_bounds(chunk, settings.chunk) for chunk in (chunks[0], chunks[-1]))
        materialize(settings, instance, start=first[0], end=last[1])


def _refuse_untracked(
    settings: Settings, entities: Sequence[Entity], outcome: Forgetting, *, really: bool
) -> None:
    """Their files cannot be computed again, and what they say of others is not ours to delete."""
    tracked = set(wanted_grid(settings, load_tree(settings)).chunks)
    found = {chunk_of(key) for key in _files_with(settings, entities, ASSET_OF)} - tracked
    if not found:
        return
    names = ", ".join(sorted(found)[:SHOWN])
    why = f"{len(found):,} have files about it that cannot be computed again: {names}"
    if really:
        raise TippersError(
            f"Nothing was removed. Of the chunks that are no longer tracked, {why}.",
            "Track them again, or delete them for everybody with `tippers untrack --purge`.",
        )
    outcome.remains["chunks that are no longer tracked"] = why


def _files_with(
    settings: Settings, entities: Sequence[Entity], folders: Iterable[str]
) -> dict[str, int]:
    """Files below folders of the lake that name them, with numbers of rows."""
    lake = occupancy_lake(settings)
    keys = [k for folder in folders for k in lake.list(folder) if k.endswith(".parquet")]
    found = {key: int(_rows_of(lake.read_table(key), entities).sum()) for key in keys}
    return {key: rows for key, rows in found.items() if rows}


def _rows_of(table: pa.Table, entities: Sequence[Entity]) -> np.ndarray:
    """bool per row: it names one of them."""
    hashes = pa.array([e.hash for e in entities], pa.uint64())
    signed = pa.array([e.signed for e in entities], pa.int64())
    rows = np.zeros(table.num_rows, bool)
    for title, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        values = column.cast(kind) if pa.types.is_dictionary(column.type) else column
        if kind == pa.uint64():
            rows |= np.asarray(pc.is_in(values, value_set=hashes))
        elif kind == pa.int64():
            rows |= np.asarray(pc.is_in(values, value_set=signed))
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            names = pa.array(_names(entities, title), pa.string())
            rows |= np.asarray(pc.is_in(values.cast(pa.string()), value_set=names))
    return rows


# --- results ------------------------------------------------------------------------------------
def _clean_results(
    settings: Settings, entities: Sequence[Entity], outcome: Forgetting, log: Logger
) -> None:
    """Remove them from tables and files of definitions, while no run computes these."""
    with warehouse_engine(settings).connect() as connection:
        assets = connection.scalars(sa.select(asset_state.c.asset)).all()
    with advisory_locks(settings, [RUN, *(f"asset {name}" for name in assets)], log):
        with _owner(settings) as cursor:
            for place, columns in _tables(cursor, _result_schemas()):
                number = _clean_table(cursor, place, columns, entities, really=True)
                outcome.add(place[0], number)
        lake = occupancy_lake(settings)
        for key in _result_files(lake):
            outcome.add("files of results", _clean_file(lake, key, entities))
        lake.sync()
    outcome.add("Dagster's events", _clean_events(settings, entities, really=True))


def _result_schemas() -> list[str]:
    return sorted({*WRITTEN, *ANSWERS, LOG})


def _result_files(lake: Lake) -> list[str]:
    others = (*ASSET_OF, *COUNTS_ONLY)
    return [k for k in lake.list() if k.endswith(".parquet") and not k.startswith(others)]


def _clean_file(lake: Lake, key: str, entities: Sequence[Entity]) -> int:
    table = lake.read_table(key)
    rows = _rows_of(table, entities)
    if not rows.any():
        return 0
    metadata = {k: v for k, v in lake.read_metadata(key).items() if not k.startswith(b"ARROW:")}
    kept = table.filter(pa.array(~rows))
    lake.write_table(key, kept.replace_schema_metadata(metadata or None))
    return 1


def _vacuum(settings: Settings) -> None:
    """Let PostgreSQL reuse the space of deleted rows, and renew its statistics, which have values
    of them.
    """
    named = [gold_label, device_address, reject, session_reject]
    places = [(str(table.schema), table.name) for table in named]
    with _owner(settings) as cursor:
        schemas = [*_result_schemas(), *([settings.source_schema] if _is_ours(settings) else [])]
        # Partitioned tables have statistics of their own.
        places += [place for place, _ in _tables(cursor, schemas, "rp")]
    events = [("public", table) for table, _ in EVENTS]
    urls = databases(settings)
    for url, tables in ((urls.warehouse, places), (urls.dagster, events)):
        with closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for place in tables:
                    cursor.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(*place)))


EVENTS = (("event_logs", "event"), ("asset_keys", "last_materialization"))
"""Where Dagster keeps the previews of runs, which show some sessions with their devices' hashes."""


def _clean_events(settings: Settings, entities: Sequence[Entity], *, really: bool) -> int:
    """Replace hashes in Dagster's events; returns the number of events that had one."""
    hashes = "|".join(str(value) for e in entities for value in (e.hash, e.signed))
    pattern = rf"(?<![0-9-])({hashes})(?![0-9])"
    number = 0
    with (
        closing(psycopg2.connect(databases(settings).dagster)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        for table, column in EVENTS:
            if really:
                cursor.execute(
                    f"UPDATE {table} SET {column} = regexp_replace({column}, %(p)s, '0', "
                    f"'g') WHERE {column} ~ %(p)s",
                    {"p": pattern},
                )
                number += cursor.rowcount
            else:
                query = f"SELECT count(*) FROM {table} WHERE {column} ~ %s"
                cursor.execute(query, (pattern,))
                number += cursor.fetchone()[0]
    return number


# --- tables -------------------------------------------------------------------------------------
@contextmanager
def _owner(settings: Settings) -> Iterator[Any]:
    """A cursor of the warehouse's owner in a transaction."""
    with (
        closing(psycopg2.connect(databases(settings).warehouse)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        yield cursor


def _tables(
    cursor: Any, schemas: Sequence[str], kinds: str = "r"
) -> list[tuple[tuple[str, str], dict[str, str]]]:
    """Tables in schemas, with the types of their columns.

    ``kinds``: as in PostgreSQL's catalogue; partitions are tables, too.
    """
    cursor.execute(
        "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n "
        "ON n.oid = c.relnamespace WHERE position(c.relkind IN %s) > 0 AND n.nspname = ANY(%s) "
        "ORDER BY 1, 2",
        (kinds, list(schemas)),
    )
    return [(place, dict(_columns(cursor, place))) for place in cursor.fetchall()]


def _columns(cursor: Any, place: tuple[str, str]) -> list[tuple[str, str]]:
    name = sql.Identifier(*place).as_string(cursor)
    cursor.execute(
        "SELECT attname::text, format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        (name,),
    )
    return list(cursor.fetchall())


def _clean_table(
    cursor: Any,
    place: tuple[str, str],
    columns: dict[str, str],
    entities: Sequence[Entity],
    really: bool,
) -> int:
    """Remove, or count, the rows of a table that name one of them in any column."""
    name = sql.Identifier(*place).as_string(cursor)
    where, values = _naming(cursor, columns, entities, place[1])
    return _run(cursor, name, where, values, really) if where else 0


def _naming(
    cursor: Any, columns: dict[str, str], entities: Sequence[Entity], table: str
) -> tuple[str, list[Any]]:
    quoted = {c: sql.Identifier(c).as_string(cursor) for c in columns}
    where: list[str] = []
    values: list[Any] = []
    spelled = [_every_spelling(n) for n in _names(entities, "")]
    if spelled:
        whole = sql.Identifier(table).as_string(cursor)
        where.append(f"({whole}.*)::text ~* %s")
        values.append("|".join(spelled))
    for column, kind in columns.items():
        if kind in ("text", "character varying") and (names := _names(entities, column)):
            where.append(f"btrim({quoted[column]}) = ANY(%s)")
            values.append(names)
        elif kind == "bigint":
            where.append(f"{quoted[column]} = ANY(%s)")
            values.append([e.signed for e in entities])
    return " OR ".join(where), values


def _names(entities: Sequence[Entity], column: str) -> list[str]:
    """What names them in a text column: addresses in any; ids of a log's own, which may be any
    text, only in columns of devices.
    """
    every = column == DEVICE_COLUMN
    return [e.name for e in entities if e.name and (every or _is_address(e.name))]


def _is_address(name: str) -> bool:
    return bool(addresses(pa.array([name], pa.string()))[0].is_valid)


def _every_spelling(address: str) -> str:
    """A regular expression of an address with any separators, in any case."""
    octets = "[-:. ]?".join(re.escape(octet) for octet in address.split(":"))
    return rf"(^|[^0-9a-f]){octets}($|[^0-9a-f])"


def _run(cursor: Any, name: str, where: str, values: Sequence[Any], really: bool) -> int:
    if really:
        cursor.execute(f"DELETE FROM {name} WHERE {where}", values)
        return int(cursor.rowcount)
    cursor.execute(f"SELECT count(*) FROM {name} WHERE {where}", values)
    return int(cursor.fetchone()[0])


# --- saying and checking ------------------------------------------------------------------------
def _look(settings: Settings, entities: Sequence[Entity], outcome: Forgetting) -> None:
    """Count what would be removed."""
    _clean_source(settings, entities, outcome, really=False, addresses=True)
    for key, rows in _files_with(settings, entities, ASSET_OF).items():
        outcome.add(key.partition("/")[0], rows)
    with _owner(settings) as cursor:
        for place, columns in _tables(cursor, _result_schemas()):
            outcome.add(place[0], _clean_table(cursor, place, columns, entities, really=False))
    lake = occupancy_lake(settings)
    files = [k for k in _result_files(lake) if _rows_of(lake.read_table(k), entities).any()]
    outcome.add("files of results", len(files))
    outcome.add("Dagster's events", _clean_events(settings, entities, really=False))


def _say_what_remains(settings: Settings, entities: Sequence[Entity], outcome: Forgetting) -> None:
    remains = outcome.remains
    remains["counts"] = (
        "Occupancy and what is computed from it are counted again without it; numbers name nobody."
    )
    with warehouse_engine(settings).connect() as connection:
        sealed = connection.scalar(sa.select(sa.func.count()).select_from(sealed_chunk))
        models = connection.scalar(sa.select(sa.func.count()).select_from(model_file))
    if sealed:
        remains["sealed chunks"] = (
            f"{sealed:,}, whose sessions are deleted: their counts include it and cannot be "
            "counted again."
        )
    if models:
        remains["trained models"] = (
            f"{models:,} versions, perhaps trained with it among others. They have no addresses or "
            "hashes; new versions are trained without it."
        )
    if not _is_ours(settings) or settings.log_source is not None:
        remains["the campus's own log"] = (
            "It is only read. Its rows are left out from now on; delete them there."
        )
    copies = 0
    with _owner(settings) as cursor:
        cursor.execute("SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'connection\\_%'")
        for place, columns in _tables(cursor, [row[0] for row in cursor.fetchall()]):
            copies += _clean_table(cursor, place, columns, entities, really=False)
    if copies:
        remains["copies of other databases"] = (
            f"{copies:,} rows. They would come back with the next sync: delete them there, then "
            "sync again."
        )
    remains["the database's files"] = (
        "PostgreSQL keeps the bytes of deleted rows in its files and its log until it overwrites "
        "them; no query shows them."
    )
    remains["outside"] = "Backups, exports and files that were loaded are out of reach."


def _check(settings: Settings, entities: Sequence[Entity]) -> None:
    """Search everything once more.

    Raises
    ------
    NotForgotten
        Names the first places with one of them.
    """
    left: list[str] = []
    theirs = [] if _is_ours(settings) else [settings.source_schema]
    with _owner(settings) as cursor:
        cursor.execute(
            "SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^(pg_|connection_)' "
            "AND nspname <> 'information_schema' AND nspname <> ALL(%s)",
            (theirs,),
        )
        for place, columns in _tables(cursor, [row[0] for row in cursor.fetchall()]):
            if _clean_table(cursor, place, columns, entities, really=False):
                left.append(".".join(place))
    if _clean_events(settings, entities, really=False):
        left.append("Dagster's events")
    lake = occupancy_lake(settings)
    for key in (*_files_with(settings, entities, ASSET_OF), *_result_files(lake)):
        if _rows_of(lake.read_table(key), entities).any():
            left.append(lake.uri(key))
    if left:
        more = f" and {len(left) - SHOWN:,} more" if len(left) > SHOWN else ""
        raise NotForgotten(
            f"Something still contains it: {', '.join(left[:SHOWN])}{more}.",
            "Run this again. If a run keeps failing, `tippers occupancy status` shows why.",
        )


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
