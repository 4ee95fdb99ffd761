"""Syncing tables of a second PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import sqlalchemy as sa

from tests.connections.conftest import Other, rows
from tippers_dagster.catalog.kinds import ConnectionTable
from tippers_dagster.connections import store
from tippers_dagster.connections.faults import ConnectionFault
from tippers_dagster.connections.sync import Synced, sync_table
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

INCREMENTAL = ConnectionTable(
    name="enrolment", cursor="changed_at", primary_key=("id",), lag_seconds=0
)
WHOLE = ConnectionTable(name="enrolment")
ROOM = ConnectionTable(name="room")


def sync(settings: Settings, table: ConnectionTable, *, afresh: bool = False) -> Synced:
    body = store.get(settings, "registrar")
    return sync_table(settings, "registrar", body, table, afresh=afresh)


def counts(done: Synced) -> tuple[int, int, int]:
    return done.change.inserted, done.change.updated, done.change.deleted


def test_a_table_is_copied_exactly(campus: Settings, other: Other) -> None:
    done = sync(campus, INCREMENTAL)
    assert (done.read, counts(done), done.change.rows) == (100, (100, 0, 0), 100)
    assert done.last_cursor == "2025-01-05 04:00:00"
    assert done.bytes > 0
    query = "SELECT id, student, credits, gpa, changed_at FROM {}.enrolment ORDER BY id"
    with other.engine.connect() as connection:
        there = [tuple(row) for row in connection.exec_driver_sql(query.format("public"))]
    assert rows(campus, query.format("connection_registrar")) == there


def test_appended_and_updated_rows_are_merged(campus: Settings, other: Other) -> None:
    first = sync(campus, INCREMENTAL)
    other.run("INSERT INTO enrolment VALUES (101, 'new', 1, NULL, '2025-02-01')")
    other.run("UPDATE enrolment SET student = 'other', changed_at = '2025-02-02' WHERE id = 7")
    done = sync(campus, INCREMENTAL)
    # The last row is read again, as others may have the same cursor; it did not change.
    assert (done.everything, done.read, counts(done)) == (False, 3, (1, 1, 0))
    assert done.change.rows == 101
    assert done.last_cursor == "2025-02-02 00:00:00"
    assert done.change.content != first.change.content
    found = rows(campus, "SELECT student FROM connection_registrar.enrolment WHERE id = 7")
    assert found == [("other",)]


def test_a_sync_that_finds_nothing_new_changes_nothing(campus: Settings) -> None:
    for table in (INCREMENTAL, WHOLE, ROOM):
        first = sync(campus, table)
        before = rows(campus, f"SELECT xmin, ctid FROM connection_registrar.{table.name}")
        again = sync(campus, table)
        assert (counts(again), again.change.content) == ((0, 0, 0), first.change.content)
        assert rows(campus, f"SELECT xmin, ctid FROM connection_registrar.{table.name}") == before


def test_rows_committed_late_are_caught_by_the_lag(campus: Settings, other: Other) -> None:
    lagging = INCREMENTAL.model_copy(update={"lag_seconds": 3600})
    sync(campus, lagging)
    other.run("INSERT INTO enrolment VALUES (101, 'late', 1, NULL, '2025-01-05 03:30')")
    assert counts(sync(campus, lagging)) == (1, 0, 0)


def test_full_syncs_remove_deleted_rows(campus: Settings, other: Other) -> None:
    sync(campus, WHOLE)
    sync(campus, ROOM)
    other.run("DELETE FROM enrolment WHERE id <= 10; UPDATE enrolment SET gpa = 4 WHERE id = 11")
    other.run("DELETE FROM room WHERE seats IS NULL")
    done = sync(campus, WHOLE)
    assert (counts(done), done.change.rows) == ((0, 1, 10), 90)
    sync(campus, ROOM)
    assert rows(campus, "SELECT * FROM connection_registrar.room") == [("a", 10), ("a", 10)]


def test_rows_without_a_cursor_are_read_every_time(campus: Settings, other: Other) -> None:
    other.run("ALTER TABLE enrolment ALTER changed_at DROP NOT NULL")
    other.run("INSERT INTO enrolment VALUES (101, 'none', 1, NULL, NULL)")
    sync(campus, INCREMENTAL)
    other.run("UPDATE enrolment SET student = 'some' WHERE id = 101")
    assert counts(sync(campus, INCREMENTAL)) == (0, 1, 0)


def test_a_number_as_cursor(campus: Settings, other: Other) -> None:
    table = ConnectionTable(name="enrolment", cursor="id", primary_key=("id",))
    assert sync(campus, table).last_cursor == "100"
    other.run("INSERT INTO enrolment VALUES (101, 'new', 1, NULL, '2025-02-01')")
    assert counts(sync(campus, table)) == (1, 0, 0)


def test_an_empty_table_has_its_columns(campus: Settings, other: Other) -> None:
    other.run("TRUNCATE enrolment")
    done = sync(campus, INCREMENTAL)
    assert (done.change.rows, done.last_cursor) == (0, None)
    assert rows(campus, "SELECT count(gpa) FROM connection_registrar.enrolment") == [(0,)]
    assert sync(campus, INCREMENTAL).change.content == done.change.content


# --- columns that change -------------------------------------------------------------------------
def test_a_new_column_is_filled_for_all_rows(campus: Settings, other: Other) -> None:
    sync(campus, INCREMENTAL)
    with warehouse_engine(campus).begin() as warehouse:
        warehouse.exec_driver_sql(
            "CREATE VIEW public.v AS SELECT * FROM connection_registrar.enrolment"
        )
    other.run("""ALTER TABLE enrolment ADD "100%% new" text DEFAULT 'x'""")
    done = sync(campus, INCREMENTAL)
    assert (done.everything, counts(done)) == (True, (0, 100, 0))
    query = """SELECT DISTINCT "100%% new" FROM connection_registrar.enrolment"""
    assert rows(campus, query) == [("x",)]
    assert rows(campus, "SELECT count(*) FROM public.v") == [(100,)]
    assert not sync(campus, INCREMENTAL).everything


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ALTER TABLE enrolment DROP gpa", "gpa is gone"),
        ("ALTER TABLE enrolment ALTER gpa TYPE text", "gpa was double precision and is text"),
    ],
)
def test_changed_columns_are_reported_and_accepted_only_with_afresh(
    campus: Settings, other: Other, change: str, words: str
) -> None:
    sync(campus, WHOLE)
    other.run(change)
    with pytest.raises(ConnectionFault, match=words) as caught:
        sync(campus, WHOLE)
    assert "--afresh" in str(caught.value.hint)
    assert rows(campus, "SELECT count(gpa) FROM connection_registrar.enrolment") == [(100,)]
    assert sync(campus, WHOLE, afresh=True).change.rows == 100


def test_wider_numbers_and_longer_texts_fit(campus: Settings, other: Other) -> None:
    sync(campus, INCREMENTAL)
    other.run(
        "ALTER TABLE enrolment ALTER id TYPE bigint, ALTER student TYPE varchar(99),"
        " ALTER credits TYPE numeric(40, 20)"
    )
    assert not sync(campus, INCREMENTAL).everything


def test_a_deleted_table_leaves_its_copy(campus: Settings, other: Other) -> None:
    sync(campus, ROOM)
    other.run("DROP TABLE room")
    with pytest.raises(ConnectionFault, match="no table room"):
        sync(campus, ROOM)
    assert rows(campus, "SELECT count(*) FROM connection_registrar.room") == [(3,)]


def test_a_key_that_is_not_unique_is_reported(campus: Settings, other: Other) -> None:
    with pytest.raises(ConnectionFault, match="name is not unique"):
        sync(campus, ROOM.model_copy(update={"primary_key": ("name",)}))
    there = "SELECT to_regclass('connection_registrar.room') IS NULL"
    assert rows(campus, there) == [(True,)]


def test_another_key_can_be_chosen_later(campus: Settings) -> None:
    sync(campus, WHOLE)
    done = sync(campus, WHOLE.model_copy(update={"primary_key": ("id", "changed_at")}))
    assert counts(done) == (0, 0, 0)


def test_invalid_cursors_are_refused(campus: Settings) -> None:
    for cursor, words in (("student", "neither a number"), ("nothing", "no column")):
        with pytest.raises(BadInput, match=words):
            sync(campus, INCREMENTAL.model_copy(update={"cursor": cursor}))


def test_all_types_arrive_unrounded(campus: Settings, other: Other) -> None:
    other.run(
        r"""
        CREATE TYPE mood AS ENUM ('sad', 'ok');
        CREATE TABLE every_type (
            a smallint, b numeric, c real, d boolean, e timestamptz, f date, g time, h interval,
            i uuid, j json, k jsonb, l int[], m bytea, n inet, o macaddr, p mood, q money,
            r text, "s ""%(x)s:t" text, u char(3)
        );
        INSERT INTO every_type VALUES
            (1, 12345678901234567890.12345678901234567890, 0.1, true, '2025-03-30 01:30:00.123456Z',
             '2025-01-01', '23:59:59.999999', '1 day 2 hours',
             '00000000-0000-0000-0000-000000000001', '{"a": 1.10}', '{"b": [null]}', '{1,NULL}',
             '\x00ff', '10.0.0.1', 'aa:bb:cc:dd:ee:ff', 'ok', 1.5, E'\\ "quoted",\nline', '', 'x'),
            (NULL, 'NaN', 'Infinity', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
             NULL, NULL, NULL, NULL, NULL, NULL, NULL)
        """.replace("%(", "%%(")
    )
    sync(campus, ConnectionTable(name="every_type"))
    query = """
        SELECT a, b, c::real, d, e, f, g, h::text, i::text, j::jsonb, k, {l}, m::text, n::text,
            o::text, p::text, q::text, r, "s ""%%(x)s:t", u FROM {schema}.every_type ORDER BY a
    """
    mine = rows(campus, query.format(schema="connection_registrar", l="l"))
    with other.engine.connect() as connection:
        connection.exec_driver_sql("SET timezone = 'UTC'; SET lc_monetary = 'C'")
        text = query.format(schema="public", l="to_jsonb(l)")
        theirs = [tuple(row) for row in connection.exec_driver_sql(text)]
    money = mine[0].__class__(mine[0]).index("1.5000")
    for ours, there in zip(mine, theirs, strict=True):
        same = [i for i in range(len(ours)) if i not in (13, money)]
        assert [str(ours[i]) for i in same] == [str(there[i]) for i in same]
    assert mine[0][13] == "10.0.0.1/32"


# --- safety --------------------------------------------------------------------------------------
def test_the_other_database_cannot_be_written(campus: Settings, other: Other) -> None:
    from tippers_dagster.connections.opening import opened, opened_for_arrow, place_of

    other.run("GRANT ALL ON enrolment TO campus_reader")
    place = place_of(campus, "registrar", store.get(campus, "registrar"))
    with (
        pytest.raises(ConnectionFault, match="read-only"),
        opened(campus, place) as connection,
    ):
        connection.execute(sa.text("DELETE FROM enrolment"))
    with (
        pytest.raises(ConnectionFault, match="read-only"),
        opened_for_arrow(campus, place) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("DELETE FROM enrolment")


KILLED = """
from tippers_dagster.catalog.kinds import ConnectionTable
from tippers_dagster.connections import store
from tippers_dagster.connections.sync import sync_table
from tippers_dagster.settings import get_settings
settings = get_settings()
body = store.get(settings, "registrar")
sync_table(settings, "registrar", body, ConnectionTable(name="slow", primary_key=("id",)))
"""


def test_a_sync_that_is_killed_leaves_the_copy_as_it_was(campus: Settings, other: Other) -> None:
    view = "CREATE OR REPLACE VIEW slow AS SELECT id, student FROM enrolment WHERE {}"
    slow = ConnectionTable(name="slow", primary_key=("id",))
    other.run(view.format("id <= 50"))
    sync(campus, slow)
    other.run(view.format("pg_sleep(1) IS NOT NULL"))
    process = subprocess.Popen([sys.executable, "-c", KILLED], env=os.environ)
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    until = time.monotonic() + 30
    while other.count(asleep) == 0:
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert rows(campus, "SELECT count(*) FROM connection_registrar.slow") == [(50,)]
    # Its query continues there as long as nothing is sent.
    other.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    other.run(view.format("true"))
    assert counts(sync(campus, slow)) == (50, 0, 0)
    left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'connection%%'"
    assert rows(campus, left) == [(1,)]
