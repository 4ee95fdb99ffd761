"""The log in the warehouse is what is recorded of the lake, chunk by chunk."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest
import sqlalchemy as sa

from tests.dbt_project.lake import write_lake, write_spaces
from tests.dbt_project.oracle import Session
from tests.sql.definitions import MACS
from tippers_dagster.automation.tokens import source_tokens
from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.campus.spaces.tracking import untrack
from tippers_dagster.errors import LakeFileMissing
from tippers_dagster.occupancy.log import LogOutdated, log_node, recorded_chunks
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.warehouse.engine import read_arrow, warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.log import LOG_TABLES, SCHEMA
from tippers_dagster.sql.log_schema import fill_log, forget_log

FIRST, SECOND = "2025-01-06", "2025-01-13"
NAMES = ("sessions", "place_days", "device_days", "device_address", "occupancy")


@pytest.fixture
def campus(stack: Settings) -> Settings:
    """Two weeks; a session on Sunday night overlaps both."""
    write_spaces(stack)
    write_lake(stack, [_session(day) for day in (0, 1, 6, 8)], [])
    return stack


def _session(day: int, hours: int = 10) -> Session:
    start = dt.datetime(2025, 1, 6, 20) + dt.timedelta(days=day)
    end = start + dt.timedelta(hours=hours)
    seconds = [round(t.replace(tzinfo=dt.UTC).timestamp()) for t in (start, end)]
    return Session(MACS[day % 2], None if day else "ap1", "1", start, end, *seconds)


def _partitions(settings: Settings) -> dict[str, tuple[int, str | None]]:
    """The oid and the comment of each."""
    query = sa.text(
        "SELECT c.relname, c.oid, obj_description(c.oid, 'pg_class') FROM pg_class c "
        f"WHERE c.relnamespace = '{SCHEMA}'::regnamespace AND c.relispartition AND c.relkind = 'r'"
    )
    with warehouse_engine(settings).connect() as connection:
        return {name: (oid, print_) for name, oid, print_ in connection.execute(query)}


def _execute(settings: Settings, sql: str) -> None:
    with warehouse_engine(settings).begin() as connection:
        connection.exec_driver_sql(sql)


def test_it_holds_the_rows_of_the_lake(campus: Settings) -> None:
    fill_log(campus, NAMES)
    lake = open_lake(campus)
    for name in ("sessions", "place_days", "device_days"):
        columns = LOG_TABLES[name].schema.names
        optional = LOG_TABLES[name].optional
        files = [lake.read_table(key, columns, optional=optional) for key in lake.list(f"{name}/")]
        wanted = pa.concat_tables(table.unify_dictionaries() for table in files)
        quoted = ", ".join(f'"{column}"' for column in columns)
        found = read_arrow(campus, f"SELECT {quoted} FROM {SCHEMA}.{name}").to_pylist()
        signed = [{**row, "device": _signed(row["device"])} for row in wanted.to_pylist()]
        assert sorted(found, key=str) == sorted(signed, key=str)
        assert len(found) == {"sessions": 5, "place_days": 4, "device_days": 4}[name]
    addresses = read_arrow(campus, f"SELECT mac_address FROM {SCHEMA}.device_address")
    assert sorted(addresses["mac_address"].to_pylist()) == list(MACS[:2])
    assert read_arrow(campus, f"SELECT * FROM {SCHEMA}.occupancy").num_rows == 0
    recorded = recorded_chunks(campus, ["sessions"])
    assert list(recorded) == [FIRST, SECOND]
    found = _partitions(campus)
    assert {n: p for n, (_, p) in found.items() if n.startswith("sessions")} == {
        f"sessions {chunk}": print_ for chunk, print_ in recorded.items()
    }


def test_devices_follow_the_registry_of_vendor_prefixes(campus: Settings) -> None:
    fill_log(campus, ["devices"])
    found = read_arrow(campus, f"SELECT mac_address, device_kind FROM {SCHEMA}.devices")
    kinds = [(mac, "randomised") for mac in MACS[:2]]
    assert sorted(map(tuple, (row.values() for row in found.to_pylist()))) == kinds
    before, token_before = _partitions(campus), registry_token(campus)
    fill_log(campus, ["devices"])
    assert (_partitions(campus), registry_token(campus)) == (before, token_before)
    _execute(campus, "INSERT INTO tippers.vendor_prefix VALUES ('00:00:01', 'A maker')")
    assert registry_token(campus) != token_before
    fill_log(campus, ["devices"])
    assert _partitions(campus) != before


def registry_token(settings: Settings) -> str:
    """What definitions that read devices depend on, besides the log."""
    (node,) = LOG_TABLES["devices"].reads
    assert node.source is not None
    return source_tokens(settings, {node.name: node.source})[node.name]


def _signed(device: int) -> int:
    return device - 2**64 if device >= 2**63 else device


def test_only_what_is_recorded_otherwise_is_loaded(campus: Settings) -> None:
    fill_log(campus, NAMES)
    before = _partitions(campus)
    fill_log(campus, NAMES)
    assert _partitions(campus) == before

    # One chunk has other rows.
    write_lake(campus, [_session(day) for day in (0, 1, 6)] + [_session(8, 3)], [])
    changed = {n for n, found in _partitions_after_fill(campus).items() if found != before.get(n)}
    kinds = ("sessions", "place_days", "device_days")
    assert changed == {f"{kind} {SECOND}" for kind in kinds} | {"device_address "}
    (row,) = read_arrow(
        campus, f"SELECT seconds FROM {SCHEMA}.device_days WHERE local_date = '2025-01-14'"
    ).to_pylist()
    assert row == {"seconds": 3 * 3600}

    # One is gone.
    _execute(campus, f"DELETE FROM tippers.partition_figures WHERE chunk = '{FIRST}'")
    assert f"sessions {FIRST}" not in _partitions_after_fill(campus)
    assert f"sessions {SECOND}" in _partitions(campus)


def _partitions_after_fill(settings: Settings) -> dict[str, tuple[int, str | None]]:
    fill_log(settings, NAMES)
    return _partitions(settings)


def test_what_is_computed_from_the_whole_log(campus: Settings) -> None:
    create_source_schema(campus)
    names = ("partners", "company", "crowds")
    fill_log(campus, names)
    before = _partitions(campus)
    assert set(before) == {f"{name} " for name in names}
    found = read_arrow(campus, f"SELECT sessions, accompanied_sessions FROM {SCHEMA}.company")
    assert sorted(found["sessions"].to_pylist()) == [1, 3]
    assert set(found["accompanied_sessions"].to_pylist()) == {0}
    fill_log(campus, names)
    assert _partitions(campus) == before
    _execute(
        campus,
        "INSERT INTO source.region_to_coverage (region_id, space_name, sensor) "
        "VALUES ('1', 'Room 1', 'ap1')",
    )
    fill_log(campus, names)
    after = _partitions(campus)
    assert {name for name in after if after[name] != before[name]} == {"crowds "}


def test_what_a_run_is_replacing_is_loaded_again(campus: Settings) -> None:
    _execute(
        campus,
        "INSERT INTO tippers.replacing (asset, space, chunk, run_id, since) "
        f"VALUES ('sessions', '', '{FIRST}', 'run', now())",
    )
    fill_log(campus, ["device_address"])
    _, print_ = _partitions(campus)["device_address "]
    assert print_ is None
    _execute(campus, "DELETE FROM tippers.replacing")
    fill_log(campus, ["device_address"])
    _, print_ = _partitions(campus)["device_address "]
    assert print_ is not None


def test_a_table_of_another_version_is_made_again(campus: Settings) -> None:
    fill_log(campus, ["device_days"])
    _execute(campus, f"ALTER TABLE {SCHEMA}.device_days DROP COLUMN seconds")
    fill_log(campus, ["device_days"])
    assert read_arrow(campus, f"SELECT seconds FROM {SCHEMA}.device_days").num_rows == 4


def test_sealed_chunks_and_what_was_made_of_them_are_forgotten(campus: Settings) -> None:
    fill_log(campus, NAMES)
    _execute(
        campus,
        "INSERT INTO tippers.sealed_chunk (chunk, fingerprint, rows, sealed_at) "
        f"VALUES ('{FIRST}', 1, 1, now())",
    )
    forget_log(campus)
    assert set(_partitions(campus)) == {
        f"{name} {SECOND}" for name in ("sessions", "place_days", "device_days")
    }


def test_untracked_chunks_are_not_read_and_make_what_read_them_stale(campus: Settings) -> None:
    fill_log(campus, ["sessions"])
    assert set(_partitions(campus)) == {f"sessions {FIRST}", f"sessions {SECOND}"}
    before = token(campus)
    untrack(campus, space=None, end=dt.date(2025, 1, 13))
    assert token(campus) != before
    fill_log(campus, ["sessions"])
    assert set(_partitions(campus)) == {f"sessions {SECOND}"}


def token(settings: Settings) -> str:
    """What definitions that read sessions depend on."""
    source = log_node("sessions").source
    assert source is not None
    return source_tokens(settings, {"sessions": source})["sessions"]


def test_the_log_of_a_chunk_that_cannot_be_read_stops_the_run(campus: Settings) -> None:
    open_lake(campus).delete(f"place_days/chunk={FIRST}.parquet")
    with pytest.raises(LakeFileMissing, match="although it is recorded"):
        fill_log(campus, ["place_days"])
    _execute(campus, "UPDATE tippers.partition_figures SET log_fingerprint = NULL")
    with pytest.raises(LogOutdated, match=r"sessions of 2 chunks .* first those of 2025-01-06"):
        fill_log(campus, ["device_address"])
