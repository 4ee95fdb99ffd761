"""Connections to the warehouse."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

import psycopg2.errors
import psycopg2.extensions
import pyarrow as pa
import pyarrow.csv as pa_csv
import sqlalchemy as sa

from tippers_dagster.platform.disk import database_full
from tippers_dagster.platform.postgres.adbc import kept_connection
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.postgres.keepalives import KEEPALIVES
from tippers_dagster.platform.postgres.pool import replace_lost
from tippers_dagster.platform.warehouse.fence import guard_commits
from tippers_dagster.platform.warehouse.metadata import SCHEMA
from tippers_dagster.platform.warehouse.migrate import migrate
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from adbc_driver_postgresql import dbapi


def sqlalchemy_url(url: str) -> str:
    """A libpq URL in SQLAlchemy's form.

    It names the driver, since SQLAlchemy 2.1 takes ``postgresql://`` for psycopg 3.
    """
    return "postgresql+psycopg2://" + url.split("://", 1)[1]


@lru_cache(maxsize=8)
def warehouse_engine(settings: Settings) -> sa.Engine:
    """The warehouse's engine, with a connection pool; the first call migrates the tables.

    If the tables are current, that costs one query per process.
    """
    engine = sa.create_engine(
        sqlalchemy_url(databases(settings).warehouse),
        # Parameters may contain device addresses, which errors would show.
        hide_parameters=True,
        connect_args={"options": f"-c timezone=UTC -c search_path={SCHEMA}", **KEEPALIVES},
    )
    replace_lost(engine)
    sa.event.listen(engine, "handle_error", _report_full_disk)
    migrate(engine)
    guard_commits(engine)
    return engine


def _report_full_disk(context: sa.engine.ExceptionContext) -> None:
    if isinstance(context.original_exception, psycopg2.errors.DiskFull):
        raise database_full(context.original_exception) from context.original_exception


def read_arrow(settings: Settings, sql: str) -> pa.Table:
    """The result of a query as Arrow, for thousands of rows."""
    with arrow_connection(settings) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetch_arrow_table()


@contextmanager
def arrow_connection(settings: Settings) -> Iterator[dbapi.Connection]:
    """For reading the warehouse; see :func:`kept_connection`."""
    warehouse_engine(settings)  # migrates the tables
    with kept_connection(databases(settings).warehouse) as connection:
        yield connection


def copy_rows(connection: sa.Connection, table: str, data: pa.Table | pa.RecordBatchReader) -> None:
    """Append Arrow rows to a table by COPY, within the connection's transaction.

    ``table`` is its name in SQL; the columns of ``data`` have the same names as the table's.
    """
    with closing(connection.connection.cursor()) as cursor:
        copy_batches(cursor, table, data)


def copy_batches(
    cursor: psycopg2.extensions.cursor, table: str, data: pa.Table | pa.RecordBatchReader
) -> None:
    """The same with a cursor of psycopg2."""
    columns = ", ".join(f'"{name}"' for name in data.schema.names)
    # pyarrow 25 writes garbage for a chunk of a table after an empty one.
    pieces = data.combine_chunks().to_batches() if isinstance(data, pa.Table) else data
    for piece in pieces:
        buffer = io.BytesIO()
        pa_csv.write_csv(piece, buffer, pa_csv.WriteOptions(include_header=False))
        buffer.seek(0)
        try:
            cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN WITH (FORMAT csv)", buffer)
        except psycopg2.errors.DiskFull as error:
            raise database_full(error) from error


def upsert(connection: sa.Connection, table: sa.Table, data: pa.Table) -> None:
    """Insert Arrow rows, replacing rows with the same primary key, in one statement."""
    staging = f"staged_{table.name}"
    connection.execute(sa.text(f"CREATE TEMP TABLE {staging} (LIKE {table}) ON COMMIT DROP"))
    copy_rows(connection, staging, data)
    keys = [column.name for column in table.primary_key]
    changes = ", ".join(f'"{n}" = excluded."{n}"' for n in data.schema.names if n not in keys)
    columns = ", ".join(f'"{name}"' for name in data.schema.names)
    connection.execute(
        sa.text(
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {staging} "
            f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}"
        )
    )
    connection.execute(sa.text(f"DROP TABLE {staging}"))
