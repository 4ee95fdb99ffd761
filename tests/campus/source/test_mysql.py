"""FreeRADIUS's accounting table in MariaDB, read in place by a user that may only read."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.mariadb import ACCOUNT, MariaDB
from tests.occupancy.campus import compute_all, look_again, stale
from tippers_dagster.campus.intake.ingest import ingest_file
from tippers_dagster.campus.source.log_source import log_table, open_table, ref_of
from tippers_dagster.campus.source.read import source_snapshot
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.catalog import store as catalog_store
from tippers_dagster.catalog.kinds import LogSource
from tippers_dagster.catalog.model import Draft
from tippers_dagster.connections import reading
from tippers_dagster.connections import store as connections_store
from tippers_dagster.connections.faults import ConnectionFault
from tippers_dagster.errors import SourceError
from tippers_dagster.occupancy.reading import read_occupancy
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.stack import doctor

RADACCT = """
CREATE TABLE radacct (
    radacctid bigint(21) NOT NULL auto_increment,
    acctsessionid varchar(64) NOT NULL default '',
    acctuniqueid varchar(32) NOT NULL default '',
    username varchar(64) NOT NULL default '',
    realm varchar(64) default '',
    nasipaddress varchar(15) NOT NULL default '',
    nasportid varchar(32) default NULL,
    nasporttype varchar(32) default NULL,
    acctstarttime datetime NULL default NULL,
    acctupdatetime datetime NULL default NULL,
    acctstoptime datetime NULL default NULL,
    acctinterval int(12) default NULL,
    acctsessiontime int(12) unsigned default NULL,
    acctinputoctets bigint(20) default NULL,
    acctoutputoctets bigint(20) default NULL,
    calledstationid varchar(50) NOT NULL default '',
    callingstationid varchar(50) NOT NULL default '',
    acctterminatecause varchar(32) NOT NULL default '',
    framedipaddress varchar(15) NOT NULL default '',
    class varchar(64) default NULL,
    PRIMARY KEY (radacctid),
    UNIQUE KEY acctuniqueid (acctuniqueid),
    KEY acctstarttime (acctstarttime)
) ENGINE = INNODB
"""
"""As FreeRADIUS 3.2 ships it for MySQL, without columns of no use here."""

SPACES = ["space_id,space_name,parent_space_id,building_room", "campus,,,", "12,Café Ω,campus,"]
SPACES += ["13,,campus,"]
COVERAGE = [
    "region_id,space_name,wapcov_id,sensor,intersection_percentage",
    "12,,w,02:11:22:33:44:01,90",
    "13,,w,02:11:22:33:44:02,90",
]
DAY = "2025-01-07"
AP_12, AP_13 = "02-11-22-33-44-01:eduroam", "02-11-22-33-44-02"
A, B, C = "00-1A-2B-3C-52-01", "DA-A1-19-00-00-01", "DA-A1-19-00-00-02"


@pytest.fixture
def campus(
    stack: Settings,
    mariadb: MariaDB,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    """A deployment that reads sessions from the server's table ``radacct``."""
    for kind, lines in (("spaces", SPACES), ("region_to_coverage", COVERAGE)):
        path = tmp_path / f"{kind}.csv"
        path.write_text("\n".join([*lines, ""]))
        ingest_file(stack, kind, path)
    mariadb.run(RADACCT)
    connections_store.add(stack, "radius", mariadb.fields, by="ada", password=mariadb.password)
    return use(stack, monkeypatch, preset="radacct")


def use(settings: Settings, monkeypatch: pytest.MonkeyPatch, **body: object) -> Settings:
    """Read sessions from the table by these fields of a log source."""
    source = LogSource(connection="radius", **{"table": "radacct", **body})  # type: ignore[arg-type]
    catalog_store.save(settings, Draft(ref_of("wifi"), source), by="ada")
    monkeypatch.setenv("TIPPERS_LOG_SOURCE", "wifi")
    get_settings.cache_clear()
    return get_settings()


def add(server: MariaDB, number: int, device: str, ap: str, start: str, **others: object) -> None:
    """Insert a row of ``radacct``; times are of ``DAY``, unless they are dates."""
    row = {"callingstationid": device, "calledstationid": ap, "acctstarttime": start, **others}
    row = {n: f"{DAY} {v}" if "time" in n and len(str(v)) == 5 else v for n, v in row.items()}
    row |= {"acctuniqueid": f"u{number}", "acctsessionid": f"s{number}"}
    marks = ", ".join(f":{name}" for name in row)
    with server.engine.begin() as connection:
        words = sa.text(f"INSERT INTO radacct ({', '.join(row)}) VALUES ({marks})")
        connection.execute(words, row)


def tracked(settings: Settings) -> None:
    track(settings, space="campus", start=dt.date(2025, 1, 6), end=dt.date(2025, 1, 13))
    compute_all(settings)


def devices(settings: Settings, space: str = "campus") -> list[int]:
    """In the four quarters of the hour from 09:00."""
    table = read_occupancy(space, f"{DAY}T09:00", f"{DAY}T10:00", 900, settings=settings)
    return table["number_connections"].to_pylist()


def people(settings: Settings) -> list[int]:
    """The same of people, on the whole campus."""
    table = read_occupancy(
        "campus", f"{DAY}T09:00", f"{DAY}T10:00", 900, settings=settings, count="people"
    )
    return table["number_people"].to_pylist()


def rejected(settings: Settings) -> list[tuple[str, str]]:
    with warehouse_engine(settings).connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT mac_address, reason FROM tippers.session_reject ORDER BY mac_address, reason"
        )
        return [(row.mac_address, row.reason) for row in found]


# --- rows -----------------------------------------------------------------------------------
def test_a_row_that_is_updated_later(campus: Settings, mariadb: MariaDB) -> None:
    add(mariadb, 1, A, AP_12, "09:00", acctstoptime="09:30", username="kim@example.edu")
    add(mariadb, 2, B, AP_12, "09:10", acctupdatetime="09:20", username="Žofie Ω 🐝")
    add(mariadb, 3, C, AP_13, "09:00", acctupdatetime="09:40", username="anonymous@example.edu")
    tracked(campus)
    assert devices(campus, "12") == [2, 2, 0, 0]
    assert devices(campus) == [3, 3, 1, 0]
    assert people(campus) == [2, 2, 0, 0]
    mariadb.run(
        f"UPDATE radacct SET acctstoptime = '{DAY} 09:50', acctsessiontime = 2400 "
        "WHERE acctuniqueid = 'u2'"
    )
    look_again(campus)
    assert stale(campus)["sessions"] == {("", "2025-01-06")}
    compute_all(campus)
    assert devices(campus, "12") == [2, 2, 1, 1]


@pytest.mark.parametrize("stop", ["0000-00-00 00:00:00", "1970-01-01 00:00:00", None])
def test_not_ended(campus: Settings, mariadb: MariaDB, stop: str | None) -> None:
    add(mariadb, 1, A, AP_12, "09:00", acctstoptime=stop, acctupdatetime="09:20")
    tracked(campus)
    assert devices(campus) == [1, 1, 0, 0]
    assert rejected(campus) == []


def test_rows_without_a_start_are_found(campus: Settings, mariadb: MariaDB) -> None:
    """Also where the database finds rows by their start."""
    add(mariadb, 1, A, AP_12, "09:00", acctstoptime="09:10")
    add(mariadb, 2, B, AP_12, "0000-00-00 00:00:00", acctstoptime="09:10")
    add(mariadb, 3, C, AP_12, "1970-01-01 00:00:00", acctstoptime="09:10")
    mariadb.run("UPDATE radacct SET acctstarttime = NULL WHERE acctuniqueid = 'u3'")
    tracked(campus)
    assert devices(campus) == [1, 0, 0, 0]
    assert [device for device, _ in rejected(campus)] == [B, C]
    assert all("acctstarttime" in reason for _, reason in rejected(campus))


def test_instants_do_not_depend_on_the_zone_of_the_server(
    campus: Settings,
    mariadb: MariaDB,
) -> None:
    times = ("acctstarttime", "acctupdatetime", "acctstoptime")
    mariadb.run(f"ALTER TABLE radacct {', '.join(f'MODIFY {t} timestamp NULL' for t in times)}")
    # 09:00 and 09:30 in Los Angeles.
    add(mariadb, 1, A, AP_12, f"{DAY} 17:00:00", acctstoptime=f"{DAY} 17:30:00")
    add(mariadb, 2, B, AP_13, f"{DAY} 17:20:00", acctstoptime="0000-00-00 00:00:00")
    mariadb.run(f"UPDATE radacct SET acctupdatetime = '{DAY} 17:50:00' WHERE acctuniqueid = 'u2'")
    tracked(campus)
    assert devices(campus) == [1, 2, 1, 1]


def test_addresses_may_be_bytes(
    campus: Settings,
    mariadb: MariaDB,
) -> None:
    for name in ("callingstationid", "calledstationid"):
        mariadb.run(f"ALTER TABLE radacct DROP {name}", f"ALTER TABLE radacct ADD {name} binary(6)")
    device, ap = bytes.fromhex("001a2b3c5201"), bytes.fromhex("021122334401")
    with mariadb.engine.begin() as connection:
        words = sa.text(
            "INSERT INTO radacct (callingstationid, calledstationid, acctstarttime, acctstoptime) "
            f"VALUES (:device, :ap, '{DAY} 09:00:00', '{DAY} 09:20:00')"
        )
        connection.execute(words, {"device": device, "ap": ap})
    tracked(campus)
    assert devices(campus, "12") == [1, 1, 0, 0]


def test_rows_that_come_meanwhile_are_not_read(
    campus: Settings,
    mariadb: MariaDB,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One statement reads what there was when it began."""
    monkeypatch.setattr(reading, "PIECE_ROWS", 2)
    for number in range(6):
        add(mariadb, number, A, AP_12, f"09:{number:02}", acctstoptime="09:10")
    with open_table(campus, log_table(campus, "wifi")) as table:
        batches = table.batches(table.names)
        first = next(batches)
        add(mariadb, 6, B, AP_12, "09:00")
        mariadb.run("DELETE FROM radacct WHERE acctuniqueid = 'u5'")
        read = first.columns.num_rows + sum(batch.columns.num_rows for batch in batches)
    assert read == 6
    with source_snapshot(campus) as source:
        span = (dt.date(2025, 1, 6), dt.date(2025, 1, 13))
        rows = sum(batch.num_rows for batch in source.sessions(span))
    assert rows == 6


# --- what the reader may do -----------------------------------------------------------------
def test_a_view_or_some_columns_are_enough(
    campus: Settings,
    mariadb: MariaDB,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add(mariadb, 1, A, AP_12, "09:00", acctstoptime="09:20", username="kim")
    used = "callingstationid, calledstationid, acctstarttime, acctstoptime, acctuniqueid"
    mariadb.run(
        f"REVOKE SELECT ON radius.* FROM {ACCOUNT}",
        f"GRANT SELECT ({used}) ON radacct TO {ACCOUNT}",
        f"CREATE VIEW sessions_without_names AS SELECT {used} FROM radacct",
        f"GRANT SELECT ON sessions_without_names TO {ACCOUNT}",
    )
    tables = connections_store.list_tables(campus, "radius")
    assert [(table.name, len(table.columns)) for table in tables] == [
        ("radacct", 5),
        ("sessions_without_names", 5),
    ]
    tracked(campus)
    assert devices(campus) == [1, 1, 0, 0]
    assert [check.state for check in doctor.CHECKS["log source"](campus)] == ["ok"]
    by_view = use(campus, monkeypatch, table="sessions_without_names", preset="radacct")
    assert [check.state for check in doctor.CHECKS["log source"](by_view)] == ["ok"]
    look_again(by_view)
    compute_all(by_view)
    assert devices(by_view) == [1, 1, 0, 0]


def test_what_goes_wrong_says_what_to_do(
    campus: Settings,
    mariadb: MariaDB,
) -> None:
    add(mariadb, 1, A, AP_12, "09:00")
    tracked(campus)

    def said() -> tuple[str, str]:
        with pytest.raises(SourceError) as error:
            look_again(campus)
        assert mariadb.password not in str(error.value)
        return error.value.message, error.value.hint or ""

    mariadb.run("ALTER TABLE radacct CHANGE callingstationid mac varchar(50)")
    message, hint = said()
    assert "no column callingstationid of the preset radacct" in message
    assert "acctstarttime" in message
    assert "give a mapping" in hint
    mariadb.run("ALTER TABLE radacct CHANGE mac callingstationid varchar(50)")

    mariadb.run("RENAME TABLE radacct TO accounting")
    message, hint = said()
    assert "there is no table radacct" in message
    assert "tippers connections tables radius" in hint
    mariadb.run("CREATE SQL SECURITY INVOKER VIEW radacct AS SELECT * FROM accounting")
    mariadb.run(f"REVOKE SELECT ON radius.* FROM {ACCOUNT}")
    mariadb.run(f"GRANT SELECT ON radacct TO {ACCOUNT}")
    assert "rights" in said()[0]

    mariadb.run(f"SET PASSWORD FOR {ACCOUNT} = password('another')")
    message, hint = said()
    assert "rejects the login of 'reader': wrong user or password" in message
    assert "--password-stdin" in hint

    connections_store.edit(campus, "radius", {"port": 1}, by="ada", password=mariadb.password)
    message, hint = said()
    assert "127.0.0.1:1 refuses the connection" in message
    assert "database is running" in hint


def test_a_connection_that_breaks_says_so(
    campus: Settings,
    mariadb: MariaDB,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "PIECE_ROWS", 1000)
    mariadb.run(  # more than buffers on the way hold
        "INSERT INTO radacct (acctuniqueid, username) "
        "SELECT seq, repeat('x', 60) FROM seq_1_to_100000"
    )

    def read() -> None:
        with open_table(campus, log_table(campus, "wifi")) as table:
            batches = table.batches(table.names)
            next(batches)
            with mariadb.engine.connect() as connection:
                of_reader = connection.exec_driver_sql(
                    "SELECT id FROM information_schema.processlist WHERE user = 'reader'"
                )
                for number in of_reader.scalars().all():
                    connection.exec_driver_sql(f"KILL {number}")
            for _ in batches:
                pass

    with pytest.raises(ConnectionFault, match="the connection broke"):
        read()
