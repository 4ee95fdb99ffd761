"""The owner: the role that owns the databases, and that the application logs in with.

It is not a superuser. This module connects as one, the server's administrator, to create the role
and its databases, and to transfer what the administrator owned in earlier versions. Every step can
be repeated, by several processes at once and after one was killed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager

import psycopg2
from psycopg2 import errors as pg_errors
from psycopg2 import sql

OWNER = "tippers_owner"

LOCK_SECONDS = 20
"""How long to wait for tables in use, as a table in use cannot change its owner."""

_TRANSFER_LOCK = 0x7469_7070_6572_7303
"""Advisory lock: one process transfers ownership at a time."""

_RIGHTS = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT"

_ALTERED = """
    WITH mine AS (
        SELECT oid AS me FROM pg_catalog.pg_roles WHERE rolname = current_user
    ), extended AS (  -- objects of extensions stay the administrator's
        SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e'
    ), schemas AS (
        SELECT oid, nspname, nspowner FROM pg_catalog.pg_namespace
        WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    )
    SELECT format('SCHEMA %I', nspname) FROM schemas, mine WHERE nspowner = me
    UNION ALL
    SELECT format('%s %I.%I',
                  CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                  WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
                  nspname, relname)
    FROM pg_catalog.pg_class c JOIN schemas s ON s.oid = relnamespace, mine
    WHERE relowner = me AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    AND ('pg_catalog.pg_class'::regclass, c.oid) NOT IN (SELECT * FROM extended)
    AND NOT EXISTS (  -- a column's sequence follows its table
        SELECT FROM pg_catalog.pg_depend d
        WHERE relkind = 'S' AND d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
        AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i'))
    UNION ALL
    SELECT format('TYPE %I.%I', nspname, typname)
    FROM pg_catalog.pg_type t JOIN schemas s ON s.oid = typnamespace, mine
    WHERE typowner = me AND typtype IN ('b', 'c', 'd', 'e', 'r') AND typcategory <> 'A'
    AND (typrelid = 0 OR EXISTS (
        SELECT FROM pg_catalog.pg_class WHERE oid = typrelid AND relkind = 'c'))
    AND ('pg_catalog.pg_type'::regclass, t.oid) NOT IN (SELECT * FROM extended)
    UNION ALL
    SELECT format('ROUTINE %s', p.oid::regprocedure)
    FROM pg_catalog.pg_proc p JOIN schemas s ON s.oid = pronamespace, mine
    WHERE proowner = me
    AND ('pg_catalog.pg_proc'::regclass, p.oid) NOT IN (SELECT * FROM extended)
    UNION ALL
    SELECT format('STATISTICS %I.%I', nspname, stxname)
    FROM pg_catalog.pg_statistic_ext JOIN schemas s ON s.oid = stxnamespace, mine
    WHERE stxowner = me
    UNION ALL
    SELECT format('LARGE OBJECT %s', l.oid)
    FROM pg_catalog.pg_largeobject_metadata l, mine WHERE lomowner = me
"""
"""The objects that the administrator owns in a database, except system objects. PostgreSQL's
REASSIGN OWNED does not work for the role that initialised the server."""


@contextmanager
def administering(url: str) -> Iterator[psycopg2.extensions.cursor]:
    """A cursor of an administrator, with autocommit."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor


def make_owner(cursor: psycopg2.extensions.cursor, owner: str, secret: str | None = None) -> bool:
    """Create the role; it cannot log in before ``allow_login``.

    Parameters
    ----------
    secret
        The password as the server stores it; also set for an existing role.

    Returns
    -------
    bool
        Whether the role is new.
    """
    name = sql.Identifier(owner)
    created = True
    try:
        cursor.execute(sql.SQL(f"CREATE ROLE {{}} NOLOGIN {_RIGHTS}").format(name))
    except (pg_errors.DuplicateObject, pg_errors.UniqueViolation):
        created = False
        cursor.execute(sql.SQL(f"ALTER ROLE {{}} {_RIGHTS}").format(name))
    if secret is not None:
        cursor.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(secret)))
    return created


def allow_login(cursor: psycopg2.extensions.cursor, owner: str) -> None:
    """Let the owner log in: the last step, which tells other processes that setup is complete."""
    cursor.execute(sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(owner)))


def make_database(cursor: psycopg2.extensions.cursor, name: str, owner: str) -> bool:
    """Create a database for the owner, or transfer an existing one; returns whether it is new."""
    parts = sql.Identifier(name), sql.Identifier(owner)
    try:
        cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(*parts))
    except (pg_errors.DuplicateDatabase, pg_errors.UniqueViolation):
        cursor.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(*parts))
        return False
    return True


def keep_to_owner(cursor: psycopg2.extensions.cursor, databases: Iterable[str]) -> None:
    """Let only owners and administrators connect to these databases."""
    for name in databases:
        cursor.execute(
            sql.SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC").format(
                sql.Identifier(name)
            )
        )


def transfer_ownership(connection: psycopg2.extensions.connection, owner: str) -> int:
    """Transfer what the connected administrator owns in this database to the owner, atomically.

    Returns the number of objects. Other processes wait meanwhile, and then find nothing to do.

    Raises
    ------
    psycopg2.errors.LockNotAvailable
        When a table is in use for longer than ``LOCK_SECONDS``.
    """
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_TRANSFER_LOCK,))
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'; SET LOCAL search_path = ''")
        cursor.execute(_ALTERED)
        objects = [row[0] for row in cursor.fetchall()]
        if objects:
            to = sql.Identifier(owner).as_string(connection)
            cursor.execute(";".join(f"ALTER {name} OWNER TO {to}" for name in objects))
    return len(objects)
