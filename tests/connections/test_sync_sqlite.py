"""Syncing tables of a SQLite file."""

from __future__ import annotations

import datetime as dt
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.connections.conftest import rows
from tippers_dagster.catalog.kinds import ConnectionTable
from tippers_dagster.connections import store
from tippers_dagster.connections.faults import ConnectionFault
from tippers_dagster.connections.opening import opened, place_of
from tippers_dagster.connections.sync import Synced, sync_table
from tippers_dagster.settings import Settings

TABLE = ConnectionTable(name="Booking", cursor="since", primary_key=("Id",), lag_seconds=0)


@pytest.fixture
def bookings(stack: Settings, sqlite_file: Path) -> Settings:
    fields = {"dialect": "sqlite", "database": str(sqlite_file)}
    store.add(stack, "bookings", fields, by="ada")
    return stack


def sync(settings: Settings) -> Synced:
    return sync_table(settings, "bookings", store.get(settings, "bookings"), TABLE)


def run(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(statement)


def test_a_file_is_tested_and_lists_its_tables(bookings: Settings) -> None:
    assert store.test(bookings, "bookings").works
    (found,) = store.list_tables(bookings, "bookings")
    assert (found.name, found.primary_key, found.rows) == ("Booking", ("Id",), 3)


def test_values_arrive_unchanged(bookings: Settings) -> None:
    assert sync(bookings).change.rows == 3
    found = rows(
        bookings,
        """SELECT "Id", room, price, since, day, picture::text, anything, share, open
        FROM connection_bookings."Booking" ORDER BY 1""",
    )
    first = dt.datetime(2025, 1, 1, 10)
    day = dt.date(2025, 1, 1)
    assert found == [
        (1, "a", Decimal("1.25"), first, day, "\\x00ff", "x", 0.5, True),
        (
            2,
            "b",
            Decimal("3"),
            first + dt.timedelta(seconds=0.5),
            day + dt.timedelta(1),
            None,
            "7",
            None,
            False,
        ),
        (3, "", None, None, None, "\\x", None, 1e300, None),
    ]


def test_appended_and_updated_rows_are_merged(bookings: Settings, sqlite_file: Path) -> None:
    sync(bookings)
    run(
        sqlite_file,
        """INSERT INTO Booking (Id, room, since) VALUES (4, 'c', '2025-01-01 10:00:00');
        UPDATE Booking SET room = 'z', since = '2025-01-03 00:00:00' WHERE Id = 1""",
    )
    done = sync(bookings)
    assert not done.everything
    assert (done.change.inserted, done.change.updated) == (1, 1)
    assert not sync(bookings).change.changed


def test_a_value_of_the_wrong_type_is_reported(bookings: Settings, sqlite_file: Path) -> None:
    sync(bookings)
    for wrong in ("since = 'yesterday'", "share = 'much'", "price = 'cheap'"):
        run(sqlite_file, f"UPDATE Booking SET {wrong} WHERE Id = 3")
        with pytest.raises(ConnectionFault, match="Booking"):
            sync(bookings)
        run(sqlite_file, "UPDATE Booking SET since = NULL, share = NULL, price = NULL WHERE Id = 3")
    assert rows(bookings, 'SELECT count(*) FROM connection_bookings."Booking"') == [(3,)]


def test_the_file_cannot_be_written_or_another_attached(bookings: Settings, tmp_path: Path) -> None:
    place = place_of(bookings, "bookings", store.get(bookings, "bookings"))
    for statement in ('DELETE FROM "Booking"', "CREATE TABLE t (a)"):
        with (
            pytest.raises(ConnectionFault, match="readonly"),
            opened(bookings, place) as connection,
        ):
            connection.execute(sa.text(statement))


def test_a_deleted_file_is_not_created_again(bookings: Settings, sqlite_file: Path) -> None:
    sqlite_file.unlink()
    assert "no file" in store.test(bookings, "bookings").sentence
    assert not sqlite_file.exists()
