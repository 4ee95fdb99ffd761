"""A log that is read in place from a table of another database."""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from tests.conftest import REPOSITORY
from tests.connections.conftest import PASSWORD, Other, guarded, other  # noqa: F401 (fixtures)
from tests.mariadb import MariaDB
from tests.occupancy import campus
from tests.occupancy.campus import compute_all, look_again, stale
from tippers_dagster.campus.intake.ingest import ingest_file
from tippers_dagster.campus.intake.log import ingest_log
from tippers_dagster.campus.log.guessing import find_mapping
from tippers_dagster.campus.log.mapping import read_mapping, write_mapping
from tippers_dagster.campus.source.log_source import ref_of
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.catalog import store as catalog_store
from tippers_dagster.catalog.kinds import LogSource
from tippers_dagster.catalog.model import Draft
from tippers_dagster.cli import build_app
from tippers_dagster.connections import store as connections_store
from tippers_dagster.errors import BadInput, SourceError
from tippers_dagster.occupancy.reading import read_occupancy
from tippers_dagster.occupancy.rejects import Totals, totals, write_rejects
from tippers_dagster.occupancy.sessions import UNDATED
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import sessions_key
from tippers_dagster.platform.postgres.owner import OWNER
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.stack import doctor

ZONE = ZoneInfo("America/Los_Angeles")
W1 = "2025-01-06"
SPACES = ["space_id,space_name,parent_space_id,building_room", "campus,,,", "hall,,campus,"]
SPACES += ["r1,,hall,", "r2,,hall,", "plaza,,campus,"]
COVERAGE = [
    "region_id,space_name,wapcov_id,sensor,intersection_percentage",
    "r1,,w,00:11:22:33:44:01,90",
    "r2,,w,00:11:22:33:44:02,90",
    "plaza,,w,00:11:22:33:44:03,90",
]
COLUMNS = ("mac", "ap", "begins", "ends", "seen", "login", "number", "net", "rssi")
MAPPING = {
    "device": "mac",
    "access_point": "ap",
    "start": "begins",
    "end": "ends",
    "updated": "seen",
    "user": "login",
    "session_id": "number",
    "own_realms": "example.edu",
    "keep": ["rssi", "Net"],
}
NETS = [None, "", "eduroam", " eduroam", 'guests "of" \\ all', "büro", "a\tb"]


def places(settings: Settings, folder: Path) -> None:
    for kind, lines in (("spaces", SPACES), ("region_to_coverage", COVERAGE)):
        path = folder / f"{kind}.csv"
        path.write_text("\n".join([*lines, ""]))
        ingest_file(settings, kind, path)


Value = str | int | dt.datetime | None
Row = tuple[Value, ...]


def made(seed: int, n: int = 300) -> list[Row]:
    """Sessions in random spellings; some open, some of which are closed by later rows."""
    rng = random.Random(seed)
    rows: list[Row] = []

    def kept() -> tuple[Value, Value]:
        return rng.choice(NETS), rng.choice([None, None, -rng.randrange(40, 90)])

    for number in range(n):
        digits = f"{rng.choice(['3c22fb', 'a2b1c3'])}0000{rng.randrange(12):02x}"
        octets = [digits[i : i + 2] for i in range(0, 12, 2)]
        mac = rng.choice([":".join(octets), "-".join(octets).upper(), digits])
        ap = f"00-11-22-33-44-0{rng.randrange(1, 5)}" + rng.choice(["", ":eduroam"])
        begins = dt.datetime(2025, 1, 5) + dt.timedelta(seconds=rng.randrange(15 * 86400))
        ends = begins + dt.timedelta(seconds=rng.randrange(0, 30_000))
        login = rng.choice([None, "kim", "KIM@example.edu", "lee", "anonymous@example.edu", "ann"])
        seen = begins + dt.timedelta(seconds=600) if rng.random() < 0.3 else None
        if rng.random() < 0.25:
            rows.append((mac, ap, begins, None, seen, login, f"s{number}", *kept()))
            if rng.random() < 0.5:
                rows.append((mac, ap, begins, ends, seen, login, f"s{number}", *kept()))
        else:
            rows.append((mac, ap, begins, ends, None, login, f"s{number}", *kept()))
        if rng.random() < 0.05:
            rows.append(rows[-1])
    return rows


# --- databases ------------------------------------------------------------------------------
def fill(engine: sa.Engine, rows: list[Row], times: str, convert: Convert) -> None:
    """The table ``wifi`` with these rows, its times of a type."""
    is_time = [name in ("begins", "ends", "seen") for name in COLUMNS]
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS wifi")
        columns = (
            f"{name} {times if timed else 'varchar(80)'} NULL"
            for name, timed in zip(COLUMNS, is_time, strict=True)
        )
        connection.exec_driver_sql(f"CREATE TABLE wifi ({', '.join(columns)})")
        add(connection, rows, convert)


def whole(row: Row) -> Row:
    """A row with a value for each column; the last ones may have been left out."""
    return (*row, *[None] * (len(COLUMNS) - len(row)))


def add(connection: sa.Connection, rows: list[Row], convert: Convert) -> None:
    marks = ", ".join(f":{name}" for name in COLUMNS)
    given = [
        {
            name: convert(value) if isinstance(value, dt.datetime) else value
            for name, value in zip(COLUMNS, whole(row), strict=True)
        }
        for row in rows
    ]
    connection.execute(sa.text(f"INSERT INTO wifi VALUES ({marks})"), given)


Convert = Callable[[dt.datetime], object]


def as_it_is(local: dt.datetime) -> object:
    return local


def as_text(local: dt.datetime) -> object:
    return local.isoformat(" ")


def as_instant(local: dt.datetime) -> object:
    return local.replace(tzinfo=ZONE)


def as_utc(local: dt.datetime) -> object:
    return local.replace(tzinfo=ZONE).astimezone(dt.UTC).replace(tzinfo=None)


def as_epoch(local: dt.datetime) -> object:
    return int(local.replace(tzinfo=ZONE).timestamp())


def as_milliseconds(local: dt.datetime) -> object:
    return int(local.replace(tzinfo=ZONE).timestamp()) * 1000


@dataclass(frozen=True)
class Database:
    """Another database: an engine that may write, and the fields of a connection."""

    engine: sa.Engine
    fields: dict[str, object]
    password: str | None = None


@pytest.fixture
def database_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Database]:
    def found(kind: str) -> Database:
        if kind == "postgresql":
            theirs: Other = request.getfixturevalue("other")
            return Database(theirs.engine, theirs.fields, PASSWORD)
        if kind == "mysql":
            server: MariaDB = request.getfixturevalue("mariadb")
            return Database(server.engine, server.fields, server.password)
        path = tmp_path / "wifi.db"
        engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
        return Database(engine, {"dialect": "sqlite", "database": str(path)})

    return found


KINDS = [
    ("postgresql", "timestamp", as_it_is),
    ("postgresql", "timestamptz", as_instant),
    ("postgresql", "text", as_text),
    ("postgresql", "bigint", as_milliseconds),
    ("sqlite", "DATETIME", as_text),
    ("sqlite", "INTEGER", as_epoch),
    ("mysql", "datetime", as_it_is),
    ("mysql", "timestamp", as_utc),
    ("mysql", "varchar(40)", as_text),
    ("mysql", "bigint unsigned", as_epoch),
]


def use(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch, **body: object
) -> Settings:
    """Define the table as a log source, and read sessions from it."""
    connections_store.add(settings, "radius", database.fields, by="ada", password=database.password)
    source = LogSource(connection="radius", table="wifi", **(body or {"mapping": MAPPING}))  # type: ignore[arg-type]
    catalog_store.save(settings, Draft(ref_of("wifi"), source), by="ada")
    monkeypatch.setenv("TIPPERS_LOG_SOURCE", "wifi")
    get_settings.cache_clear()
    return get_settings()


def tracked(settings: Settings) -> None:
    track(settings, space="campus", start=dt.date(2025, 1, 6), end=dt.date(2025, 1, 20))
    compute_all(settings)


def lake_of(settings: Settings) -> dict[str, bytes]:
    lake = open_lake(settings)
    return {key: lake.backend.get(key) for key in lake.list("")}


def forget(settings: Settings) -> None:
    """Empty the session table and the lake."""
    campus.forget_all(settings)
    campus.change(settings, "TRUNCATE source.user_ap_trajectory")
    for key in open_lake(settings).list(""):
        open_lake(settings).delete(key)


def as_csv(rows: list[Row], path: Path) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *map(whole, rows)])
    return path


# --- tests ----------------------------------------------------------------------------------
@pytest.mark.parametrize(("kind", "times", "convert"), KINDS)
def test_a_table_gives_the_same_lake_as_a_file(
    stack: Settings,
    database_of: Callable[[str], Database],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    times: str,
    convert: Convert,
) -> None:
    rows = made(len(kind) + len(times))
    places(stack, tmp_path)
    path = as_csv(rows, tmp_path / "log.csv")
    report = ingest_log(stack, path, read_mapping(MAPPING))
    assert set(report.rejected) == {"access point 00:11:22:33:44:04 covers no space"}
    tracked(stack)
    by_file = lake_of(stack)
    assert any(key.startswith("presence/") for key in by_file)
    people = read_occupancy(
        "campus", "2025-01-06", "2025-01-20", 3600, settings=stack, count="people"
    )
    assert max(people["number_people"].to_pylist()) >= 2

    forget(stack)
    database = database_of(kind)
    fill(database.engine, rows, times, convert)
    settings = use(stack, database, monkeypatch)
    tracked(settings)
    live = lake_of(settings)
    assert live.keys() == by_file.keys()
    assert [key for key in live if live[key] != by_file[key]] == []
    with warehouse_engine(settings).connect() as connection:
        reasons = connection.exec_driver_sql(
            "SELECT DISTINCT reason FROM tippers.session_reject"
        ).scalars()
        assert list(reasons) == ["access point 00:11:22:33:44:04 covers no space"]

    # A late row, and one that closes an open session.
    late = (
        "3c22fb-0000ff",
        "00:11:22:33:44:01",
        dt.datetime(2025, 1, 7, 9),
        dt.datetime(2025, 1, 7, 10),
    )
    with database.engine.begin() as connection:
        add(connection, [(*late, None, "zoe", "late", None, None)], convert)
    look_again(settings)
    assert stale(settings)["sessions"] == {("", W1)}
    campus.compute_level(settings, "sessions")
    assert stale(settings)["source_occupancy"] == {("r1", W1)}
    look_again(settings)
    assert "sessions" not in stale(settings)

    # What is kept of a session changes its chunk, but no count.
    compute_all(settings)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE wifi SET net = 'guests' WHERE number = 'late'")
    look_again(settings)
    assert stale(settings)["sessions"] == {("", W1)}
    campus.compute_level(settings, "sessions")
    assert stale(settings).keys() <= {"days_and_encounters"}
    kept = open_lake(settings).read_table(sessions_key(W1), ["kept"])["kept"].to_pylist()
    assert '{"Net": "guests"}' in kept


@pytest.fixture
def in_sqlite(stack: Settings, tmp_path: Path, database_of: Callable[[str], Database]) -> Database:
    places(stack, tmp_path)
    return database_of("sqlite")


def test_rows_without_a_start_are_kept_with_their_reason(
    stack: Settings, in_sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = made(1, 20)
    fill(
        in_sqlite.engine,
        [*good, ("3c22fb000001", "00:11:22:33:44:01", "soon", None, None, None, "x", None, None)],
        "TEXT",
        as_text,
    )
    settings = use(stack, in_sqlite, monkeypatch)
    for _ in range(2):
        tracked(settings)
        campus.compute_level(settings, "sessions", stale_only=False)
    with warehouse_engine(settings).connect() as connection:
        (row,) = connection.exec_driver_sql(
            f"SELECT reason, mac_address FROM tippers.session_reject WHERE chunk = '{UNDATED}'"
        ).all()
    assert row.mac_address == "3c22fb000001"
    assert "begins" in row.reason
    assert totals(settings).extraction == 1 + _dated(settings)


def _dated(settings: Settings) -> int:
    with warehouse_engine(settings).connect() as connection:
        found = connection.exec_driver_sql(
            f"SELECT count(*) FROM tippers.session_reject WHERE chunk <> '{UNDATED}'"
        )
        return int(found.scalar_one())


def test_rejected_rows_keep_what_they_said_as_those_of_files_do(
    stack: Settings, in_sqlite: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ap, begins = "00:11:22:33:44:01", dt.datetime(2025, 1, 7, 9)
    wrong: list[Row] = [
        ("n/a", ap, begins, None, None, "kim", "1"),
        ('3c "22" fb \\', ap, None, None, None, "kim", "tab\t\x01, 🐝"),
        ("3c22fb000001", None, begins, None, None, "lee", "x" * 600),
        ("3c22fb000001", "ap-7", begins, begins, None, None, None),
    ]
    good: Row = ("3c22fb000001", ap, begins, None, None, "kim", "4")
    ingest_log(stack, as_csv([*wrong, good], tmp_path / "log.csv"), read_mapping(MAPPING))
    fill(in_sqlite.engine, [*wrong, good], "TEXT", as_text)
    settings = use(stack, in_sqlite, monkeypatch)
    tracked(settings)
    with warehouse_engine(settings).connect() as connection:
        by_file, in_place = (
            {
                tuple(sorted((k, v or "") for k, v in json.loads(row.row).items())): row.reason
                for row in connection.exec_driver_sql(f"SELECT reason, row::text FROM {table}")
            }
            for table in ("tippers.reject", "tippers.session_reject")
        )
    assert len(by_file) == len(wrong)
    assert in_place == by_file
    assert not any("kim" in row or "login" in row for row in map(str, in_place))
    out = tmp_path / "rejects.csv"
    assert write_rejects(settings, out) == 2 * len(wrong)
    assert out.read_text().count("ap-7") == 2 * 2  # the row, and its reason
    assert totals(settings) == Totals(len(wrong), len(wrong), 0)


def test_a_preset_names_the_columns(
    stack: Settings, in_sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_sqlite.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE wifi (acctuniqueid TEXT, username TEXT, acctstarttime TEXT, "
            "acctupdatetime TEXT, acctstoptime TEXT, calledstationid TEXT, callingstationid TEXT)"
        )
        connection.exec_driver_sql(
            "INSERT INTO wifi VALUES ('u1', 'kim', '2025-01-07 09:00:00', NULL, "
            "'2025-01-07 09:30:00', '00-11-22-33-44-01:eduroam', 'A2-B1-C3-00-00-01')"
        )
    settings = use(stack, in_sqlite, monkeypatch, preset="radacct")
    tracked(settings)
    table = read_occupancy(
        "r1", "2025-01-07T09:00", "2025-01-07T10:00", 900, settings=settings, count="people"
    )
    assert table["number_people"].to_pylist() == [1, 1, 0, 0]


def test_what_cannot_be_read_says_what_to_do(
    stack: Settings, in_sqlite: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIPPERS_LOG_SOURCE", "wifi")
    get_settings.cache_clear()
    nothing = get_settings()
    track(nothing, space="campus", start=dt.date(2025, 1, 6), end=dt.date(2025, 1, 20))
    with pytest.raises(SourceError, match="no log source wifi"):
        look_again(nothing)
    with pytest.raises(SourceError, match="TIPPERS_LOG_SOURCE is set"):
        ingest_log(nothing, as_csv(made(1, 5), tmp_path / "log.csv"), read_mapping(MAPPING))
    fill(in_sqlite.engine, made(1, 5), "TEXT", as_text)
    settings = use(stack, in_sqlite, monkeypatch, mapping={**MAPPING, "device": "station"})
    with pytest.raises(SourceError, match="no column station"):
        look_again(settings)
    with in_sqlite.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE wifi SET begins = '01/07/2025 09:00'")
        connection.exec_driver_sql("ALTER TABLE wifi RENAME COLUMN mac TO station")
    with pytest.raises(SourceError, match="day") as open_order:
        look_again(settings)
    assert "`order`" in str(open_order.value.hint)
    with in_sqlite.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE wifi")
    with pytest.raises(SourceError, match="no table wifi"):
        look_again(settings)


def test_a_source_needs_no_coverage(
    stack: Settings,
    database_of: Callable[[str], Database],
    other: Other,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other.run(
        f"SET LOCAL ROLE {OWNER}; CREATE SCHEMA source; "
        "CREATE TABLE source.space (space_id int, space_name text, parent_space_id int, "
        "building_room text); INSERT INTO source.space VALUES "
        "(1, 'Campus', NULL, NULL), (7, 'Hall', 1, NULL)"
    )
    monkeypatch.setenv("TIPPERS_SOURCE_URL", other.url)
    database = database_of("sqlite")
    begins = dt.datetime(2025, 1, 7, 9)
    ends = begins + dt.timedelta(minutes=30)
    seen: list[Row] = [
        (f"3c22fb00000{ap}", ap, begins, ends, None, None, ap) for ap in ("7", "9", "99")
    ]
    fill(database.engine, seen, "TEXT", as_text)
    settings = use(stack, database, monkeypatch)
    track(settings, space="1", start=dt.date(2025, 1, 6), end=dt.date(2025, 1, 20))
    compute_all(settings)
    table = read_occupancy("1", "2025-01-07T09:00", "2025-01-07T10:00", 900, settings=settings)
    assert table["number_connections"].to_pylist() == [1, 1, 0, 0]
    with warehouse_engine(settings).connect() as connection:
        reasons = connection.exec_driver_sql("SELECT reason FROM tippers.session_reject")
        assert set(reasons.scalars()) == {
            f"access point {name} covers no space" for name in ("9", "99")
        }


def test_a_changed_mapping_makes_what_was_computed_stale(
    stack: Settings, in_sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(in_sqlite.engine, made(2), "TEXT", as_text)
    without = {key: value for key, value in MAPPING.items() if key != "own_realms"}
    settings = use(stack, in_sqlite, monkeypatch, mapping=without)
    tracked(settings)
    assert not stale(settings)

    def people() -> int:
        asked = ("campus", "2025-01-06", "2025-01-20", 86400)
        table = read_occupancy(*asked, settings=settings, count="people")
        return sum(table["number_people"].to_pylist())

    before = people()
    changed = LogSource(connection="radius", table="wifi", mapping=MAPPING)
    catalog_store.save(settings, Draft(ref_of("wifi"), changed), by="ada")
    assert stale(settings)["sessions"] == {("", W1), ("", "2025-01-13")}
    compute_all(settings)
    assert people() < before
    catalog_store.save(
        settings, Draft(ref_of("wifi"), changed.model_copy(update={"mapping": without})), by="ada"
    )
    compute_all(settings)
    assert people() == before
    # The same, said of all logs.
    monkeypatch.setenv("TIPPERS_OWN_REALMS", "other.edu, example.edu")
    get_settings.cache_clear()
    settings = get_settings()
    assert stale(settings)["sessions"]
    compute_all(settings)
    assert people() < before


def test_a_connection_that_is_read_cannot_be_deleted(
    stack: Settings, in_sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(in_sqlite.engine, made(1, 5), "TEXT", as_text)
    use(stack, in_sqlite, monkeypatch)
    with pytest.raises(BadInput, match="is read by the log source wifi"):
        connections_store.delete(stack, "radius", by="ada")
    catalog_store.delete(stack, ref_of("wifi"), by="ada")
    connections_store.delete(stack, "radius", by="ada")


def test_a_database_is_not_written(
    stack: Settings, in_sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(in_sqlite.engine, made(2), "TEXT", as_text)
    path = Path(str(in_sqlite.fields["database"]))
    before = path.read_bytes()
    settings = use(stack, in_sqlite, monkeypatch)
    tracked(settings)
    assert path.read_bytes() == before


SHARED = Path(os.environ.get("TIPPERS_SHARED", REPOSITORY.parent / "shared" / "data"))
AWKWARD = SHARED / "awkward"
PLACES = ("spaces", "coverage", "space_names")
SAID = {"day_or_month_first.csv": {"order": "month first"}}


@pytest.mark.skipif(not AWKWARD.is_dir(), reason="needs the awkward logs")
@pytest.mark.parametrize("kind", ["postgresql", "sqlite", "mysql"])
def test_awkward_logs_as_tables_of_text(
    stack: Settings,
    database_of: Callable[[str], Database],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    for table in ("spaces", "coverage"):
        name = {"coverage": "region_to_coverage"}.get(table, table)
        ingest_file(stack, name, AWKWARD / f"{table}.csv")
    database, settings = database_of(kind), stack
    logs = [path for path in sorted(AWKWARD.glob("*.csv")) if path.stem not in PLACES]
    assert len(logs) > 8
    for path in logs:
        given = find_mapping(path, fields=SAID.get(path.name, {})).mapping
        assert given is not None, path
        forget(stack)
        monkeypatch.delenv("TIPPERS_LOG_SOURCE", raising=False)
        ingest_log(stack, path, given)
        tracked(stack)
        by_file = lake_of(stack)
        forget(stack)
        with path.open(newline="") as file:
            names, *rows = csv.reader(file)
        with database.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE IF EXISTS wifi")
            columns = ", ".join(f"{name} varchar(200)" for name in names)
            connection.exec_driver_sql(f"CREATE TABLE wifi ({columns})")
            marks = ", ".join(f":{name}" for name in names)
            values = [dict(zip(names, row, strict=True)) for row in rows]
            connection.execute(sa.text(f"INSERT INTO wifi VALUES ({marks})"), values)
        settings = use(stack, database, monkeypatch, mapping=given.as_fields())
        tracked(settings)
        assert lake_of(settings) == by_file, path
        with warehouse_engine(stack).begin() as connection:
            connection.exec_driver_sql("TRUNCATE tippers.definition CASCADE")


@pytest.mark.parametrize(
    ("kind", "times", "convert"),
    [
        ("postgresql", "timestamp", as_it_is),
        ("mysql", "datetime", as_it_is),
        ("sqlite", "INTEGER", as_epoch),
    ],
)
def test_the_doctor_says_which_index_is_needed(
    stack: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    database_of: Callable[[str], Database],
    kind: str,
    times: str,
    convert: Convert,
) -> None:
    places(stack, tmp_path)
    database = database_of(kind)
    fill(database.engine, made(1, 5), times, convert)
    settings = use(stack, database, monkeypatch)

    def checks() -> list[doctor.Check]:
        return list(doctor.CHECKS["log source"](settings))

    readable, missing = checks()
    assert readable.state == "ok"
    assert readable.text == "wifi: wifi of the connection radius can be read"
    assert missing.state == "warning"
    assert missing.text == (
        "wifi: no index begins with begins, so all rows are looked at whenever it is checked "
        "for changes."
    )
    with database.engine.begin() as connection:
        connection.exec_driver_sql(missing.hint.removeprefix("Create one: "))
    assert [check.state for check in checks()] == ["ok"]
    fill(database.engine, made(1, 5), "varchar(40)", as_text)
    assert "not in one column of times or numbers" in checks()[1].text


def test_commands(
    stack: Settings, in_sqlite: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    app = build_app(["log", "connections", "ingest"])

    def said(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, words)
        assert done.exit_code == code, (words, done.output, done.exception)
        return done.output or str(done.exception)

    fill(in_sqlite.engine, made(1, 30), "TEXT", as_text)
    database = str(in_sqlite.fields["database"])
    said("connections", "add", "radius", "--dialect", "sqlite", "--database", database)
    mapping = tmp_path / "mapping.yaml"
    write_mapping(mapping, read_mapping(MAPPING), [])
    add_table = ("--connection", "radius", "--table", "wifi", "--mapping", str(mapping))
    assert "log preview --source wifi" in said("log", "add", "wifi", *add_table)
    assert "files" not in said("log", "sources")
    shown = said("log", "preview", "--source", "wifi")
    assert "wifi of the connection radius, up to 10,000 rows" in shown
    assert "kim" not in shown.split("of all rows")[0].split("row  ")[-1]
    said("log", "add", "exports", "--mapping", str(mapping))
    path = as_csv(made(2, 30), tmp_path / "export.csv")
    assert "rows" in said("ingest", "log", str(path), "--source", "exports")
    assert "no log source other" in said("ingest", "log", str(path), "--source", "other", code=1)
    wrong = said(
        "log", "add", "bad", "--connection", "nowhere", "--table", "t", "--preset", "x", code=1
    )
    assert "There is no preset x" in wrong
