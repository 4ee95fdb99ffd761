"""The sandbox: it answers queries on what it is given, and can reach nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import Bucket
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.sql.duckdb import child
from tippers_dagster.sql.duckdb.sandbox import Contents, Dataset, Sandbox, SandboxError, sandbox

SESSIONS = pa.table(
    {
        "device": pa.array([1, 2, (1 << 64) - 1], pa.uint64()),
        "space": pa.array(["a", "b", None]).dictionary_encode(),
        "start": pa.array([10, 20, 30], pa.int64()),
    }
)
DEVICES = pa.table({"device": [1, 2], "mac_address": ["m1", "m2"]})
VIEWS = (
    ("staging.named", "SELECT mac_address, start FROM lake.log JOIN own.devices USING (device)"),
)


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", sql_memory_mb=256, sql_temporary_mb=64)


def contents(settings: Settings) -> Contents:
    lake = open_lake(settings)
    keys = [f"log/{n}.parquet" for n in range(2)]
    for key in keys:
        lake.write_table(key, SESSIONS)
    log = Dataset(keys, SESSIONS.schema)
    return Contents({"lake.log": log}, {"own.devices": DEVICES}, VIEWS)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One for all tests that leave it as it is."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), sql_memory_mb=256)
    with sandbox(settings, contents(settings), statement_seconds=0.5) as running:
        yield running


def test_it_answers_on_files_tables_and_views(box: Sandbox) -> None:
    found = box.query("SELECT * FROM staging.named ORDER BY start", 10)
    assert found.to_pydict() == {"mac_address": ["m1", "m1", "m2", "m2"], "start": [10, 10, 20, 20]}
    found = box.query("SELECT max(device) AS d, count(space) AS n FROM lake.log", 10)
    assert found.to_pydict() == {"d": [(1 << 64) - 1], "n": [4]}
    assert box.columns("SELECT sum(start) AS s, 'x' AS t FROM lake.log", 10) == [
        ("s", "HUGEINT"),
        ("t", "VARCHAR"),
    ]


def test_a_join_with_the_log_keeps_the_smaller_table_in_memory(here: Settings) -> None:
    rows = 6_000_000
    log = pa.table({name: np.arange(rows) % 1000 + at for at, name in enumerate("abcdef")})
    open_lake(here).write_table("log/large.parquet", log)
    given = Contents(
        {"lake.log": Dataset(["log/large.parquet"], log.schema)},
        {"own.devices": pa.table({"a": np.arange(1000), "name": [f"m{i}" for i in range(1000)]})},
    )
    # 288 MB of values: neither memory nor disk would hold them.
    settings = here.model_copy(update={"sql_temporary_mb": 0})
    sums = ", ".join(f"sum({name}) AS {name}" for name in "bcdef")
    sql = f"SELECT name, count(*) AS n, {sums} FROM lake.log JOIN own.devices USING (a) GROUP BY 1"
    with sandbox(settings, given, statement_seconds=60) as box:
        found = box.query(sql, 60)
    assert found.num_rows == 1000
    assert set(found["n"].to_pylist()) == {rows // 1000}


def test_whole_numbers_are_divided_as_in_postgresql(box: Sandbox) -> None:
    sql = "SELECT 7 / 2 AS a, -7 / 2 AS b, count(*) / 4 AS c, 7 / 2.0 AS d, avg(7) / 2 AS e"
    found = box.query(f"{sql} FROM lake.log", 10).to_pylist()
    assert found == [{"a": 3, "b": -3, "c": 1, "d": 3.5, "e": 3.5}]


def test_a_dataset_without_files_is_empty(here: Settings) -> None:
    given = Contents({"lake.log": Dataset([], SESSIONS.schema)})
    with sandbox(here, given, statement_seconds=3) as box:
        assert box.query("SELECT * FROM lake.log", 10).num_rows == 0


def test_files_of_another_version_are_an_error(here: Settings) -> None:
    """Columns that a file lacks would be read as nulls."""
    open_lake(here).write_table("log/old.parquet", SESSIONS.drop_columns("space"))
    given = Contents({"lake.log": Dataset(["log/old.parquet"], SESSIONS.schema)})
    with (
        pytest.raises(SandboxError, match=r"old.parquet has no column space"),
        sandbox(here, given, statement_seconds=3),
    ):
        pass


def test_files_that_are_replaced_or_deleted_meanwhile_stay_what_they_were(here: Settings) -> None:
    given, lake = contents(here), open_lake(here)
    total = "SELECT count(*) AS n, sum(start)::bigint AS s, max(space) AS m FROM lake.log"
    with sandbox(here, given, statement_seconds=3) as box:
        before = box.query(total, 10).to_pylist()
        lake.write_table("log/0.parquet", pa.concat_tables([SESSIONS] * 1000))
        lake.delete("log/1.parquet")
        assert box.query(total, 10).to_pylist() == before == [{"n": 6, "s": 120, "m": "b"}]


def test_given_files_cannot_be_written(tmp_path: Path) -> None:
    """Even by statements that no request can contain."""
    pq.write_table(DEVICES, tmp_path / "own.devices.parquet")
    before = (tmp_path / "own.devices.parquet").read_bytes()
    setup = {"folder": str(tmp_path), "settings": {}, "datasets": {}, "views": ()}
    connection, _ = child._open({**setup, "tables": ["own.devices"]})
    path = "given://own.devices"
    assert connection.sql(f"SELECT count(*) FROM read_parquet('{path}')").fetchall() == [(2,)]
    for sql in (
        f"COPY (SELECT 1 AS a) TO '{path}' (FORMAT parquet)",
        "COPY (SELECT 1 AS a) TO 'given://other.parquet'",
        "SET allowed_directories = ['/']",
        f"COPY (SELECT 1 AS a) TO '{tmp_path}/own.devices.parquet'",
        "ATTACH 'given://x.db' AS x",
        f"EXPORT DATABASE '{tmp_path}/all'",
    ):
        with pytest.raises((duckdb.Error, OSError)):
            connection.execute(sql)
    assert (tmp_path / "own.devices.parquet").read_bytes() == before
    assert os.listdir(tmp_path) == ["own.devices.parquet"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; SELECT 2",
        ";;",
        "",
        "CREATE TABLE own.x AS SELECT 1",
        "DELETE FROM own.devices",
        "SET threads = 1",
        "ATTACH ':memory:' AS other",
        "COPY (SELECT 1) TO 'x.csv'",
        "INSTALL httpfs",
        "CALL enable_logging()",
    ],
)
def test_only_one_query_is_run(box: Sandbox, sql: str) -> None:
    with pytest.raises(SandboxError, match="not one query"):
        box.query(sql, 10)
    assert box.query("SELECT 42 AS n", 10)["n"].to_pylist() == [42]


REFUSED = [
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_blob('{folder}/own.devices.parquet')",
    "SELECT * FROM read_parquet('{lake}/log/0.parquet')",
    "SELECT * FROM parquet_metadata('{lake}/log/0.parquet')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM '{lake}/log/0.parquet'",
    "SELECT * FROM read_text('given:///etc/passwd')",
    "SELECT * FROM read_text('given://../../etc/passwd')",
    "SELECT * FROM read_parquet('given://**')",
    "SELECT * FROM 'https://example.org/x.csv'",
    "SELECT * FROM 's3://bucket/x.parquet'",
    "SELECT getenv('HOME')",
    "SELECT system('id')",
    "SELECT * FROM setup",
    "SELECT * FROM connection",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM python_arrow_scan()",
    "SELECT * FROM query('SELECT 1; ATTACH ''x.db''')",
    "SELECT * FROM pg_authid",
    "SELECT * FROM postgres_scan('host=localhost', 'public', 'x')",
    "SELECT * FROM sqlite_scan('x.db', 'x')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT 1 / 0",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_nothing_outside_is_in_reach(box: Sandbox, sql: str) -> None:
    """By DuckDB itself: these queries pass no guard."""
    written = sql.format(folder=box.folder, lake=box.folder.parents[1] / "lake")
    with pytest.raises(SandboxError):
        box.query(written, 10)
    assert box.query("SELECT 42 AS n", 10)["n"].to_pylist() == [42]


HARMLESS = [
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM which_secret('s3://bucket', 's3')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_variables()",
    "SELECT * FROM duckdb_logs()",
    "SELECT * FROM duckdb_views()",
]
"""Nothing that it answers is of use: no credentials are there, and no path can be opened."""


def test_there_is_no_secret_to_be_read(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "TIPPERS_DEVICE_KEY"):
        monkeypatch.setenv(name, "unguessable")
    with sandbox(here, Contents(), statement_seconds=3) as box:
        for sql in HARMLESS:
            assert "unguessable" not in str(box.query(sql, 10).to_pydict())
        assert "unguessable" not in Path(f"/proc/{box.process.pid}/environ").read_text()


HOSTILE = Path(__file__).parents[1].joinpath("hostile_texts.txt").read_text().splitlines()


def test_hostile_texts_are_refused_or_harmless_without_the_guard(box: Sandbox) -> None:
    """What is answered at all has read nothing but the database's own lists."""
    before = box.query("SELECT * FROM own.devices", 10)
    answered = set()
    for sql in HOSTILE:
        try:
            found = str(box.query(sql, 10).to_pydict())
        except SandboxError as error:
            found = error.kind
        else:
            answered.add(sql)
        assert not any(word in found for word in ("Stopped", "root:", "m1", "SCRAM")), sql
    assert box.query("SELECT * FROM own.devices", 10).equals(before)
    assert len(answered) < len(HOSTILE) / 3


def test_what_a_query_leaves_is_gone_with_it(box: Sandbox) -> None:
    with pytest.raises(SandboxError):
        box.query("WITH x AS (INSERT INTO own.devices VALUES (1, 'x') RETURNING 1) TABLE x", 10)
    assert box.query("SELECT * FROM own.devices", 10).num_rows == 2


# --- limits -------------------------------------------------------------------------------------
ENDLESS = (
    "SELECT count(*) FROM range(100000000) a, range(1000000) b WHERE a.range % 7 = b.range % 3"
)


def test_a_statement_is_stopped_and_the_sandbox_lives(here: Settings) -> None:
    with sandbox(here, Contents(), statement_seconds=0.5) as box:
        with pytest.raises(SandboxError, match="exceeded maximum execution time"):
            box.query(ENDLESS, 30)
        assert box.query("SELECT 42 AS n", 10)["n"].to_pylist() == [42]


def test_a_process_that_does_not_stop_is_ended(here: Settings) -> None:
    with sandbox(here, Contents(), statement_seconds=60) as box:
        with pytest.raises(SandboxError, match=r"longer than 0\.5 s"):
            box.query(ENDLESS, 0.5)
        assert not psutil.pid_exists(box.process.pid)
        with pytest.raises(SandboxError, match="process ended"):
            box.query("SELECT 42 AS n", 10)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(DISTINCT i), count(DISTINCT i * 3) FROM range(300000000) t(i)",
        "SELECT array_agg(i) FROM range(100000000) t(i)",
        "SELECT string_agg(repeat('x', 1000), '') FROM range(3000000) t(i)",
    ],
)
def test_memory_and_space_are_bounded(here: Settings, sql: str) -> None:
    with sandbox(here, Contents(), statement_seconds=60) as box:
        with pytest.raises(SandboxError) as caught:
            box.query(sql, 60)
        assert caught.value.kind == "OutOfMemoryException"
        assert box.query("SELECT 42 AS n", 10)["n"].to_pylist() == [42]


def test_a_process_that_takes_too_much_is_ended(
    here: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that DuckDB does not count as its own."""
    monkeypatch.setattr("tippers_dagster.sql.duckdb.sandbox.OTHER_MEMORY", -(256 << 20))
    with (
        pytest.raises(SandboxError, match="more memory than it may"),
        sandbox(here, Contents(), statement_seconds=60) as box,
    ):
        box.query(ENDLESS, 30)


# --- its life -----------------------------------------------------------------------------------
def test_it_ends_with_its_parent(here: Settings) -> None:
    code = f"""
        import time
        from pathlib import Path
        from tippers_dagster.settings import Settings
        from tippers_dagster.sql.duckdb.sandbox import Contents, sandbox
        settings = Settings(home=Path({str(here.home_path)!r}))
        with sandbox(settings, Contents(), statement_seconds=99) as box:
            box.send({{"sql": {ENDLESS!r}, "result": "x.arrow"}})
            print(box.process.pid, flush=True)
            time.sleep(60)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    child.wait(20)
    with sandbox(here, Contents(), statement_seconds=1) as box:
        assert [box.folder] == list(box.folder.parent.iterdir())


def test_nothing_of_it_remains(here: Settings) -> None:
    with sandbox(here, Contents(), statement_seconds=1) as box:
        assert box.folder.stat().st_mode & 0o077 == 0
    assert not psutil.pid_exists(box.process.pid)
    assert not list((here.home_path / "sandbox").iterdir())


def test_a_process_that_dies_says_so(here: Settings) -> None:
    with sandbox(here, Contents(), statement_seconds=1) as box:
        box.process.kill()
        with pytest.raises(SandboxError, match=r"ended \(signal 9\)"):
            box.query("SELECT 1 AS n", 10)


# --- a lake in S3 -------------------------------------------------------------------------------
def test_a_lake_in_s3_is_read_by_pyarrow(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "unguessable")
    settings = get_settings()
    with sandbox(settings, contents(settings), statement_seconds=30) as box:
        assert box.query("SELECT * FROM staging.named", 30).num_rows == 4
        for sql in HARMLESS:
            assert "unguessable" not in str(box.query(sql, 10).to_pydict())
        with pytest.raises(SandboxError):
            box.query(f"SELECT * FROM read_parquet('s3://{s3.name}/lake/log/0.parquet')", 10)
