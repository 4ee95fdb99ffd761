"""The PostgreSQL functions that the builder and the reader may execute: those listed here.

PostgreSQL lets everyone execute nearly all of its 3,400 functions, including those that run SQL
from text, sleep, take locks or write large objects. In the warehouse's database that right is moved
from PUBLIC to a group that includes the owner; the builder and the reader get only what definitions
need. Functions added by an extension or a newer PostgreSQL are not included.

PostgreSQL checks no privilege for some functions, which remain available: input and output of
types, support functions of indexes, and SQL syntax such as ``current_user``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from tippers_dagster.platform.identifiers import quote_identifier
from tippers_dagster.sql.functions import FUNCTIONS, GRAMMAR_FUNCTIONS, words

GROUP = "tippers_functions"
"""May execute what PUBLIC may elsewhere. For people with their own login to the warehouse:
``GRANT tippers_functions TO name``."""

_DRIVERS = words("version")
"""Called by the Arrow driver when it connects."""

_GUARD = words("format_type")
"""Used by the query that checks PostgreSQL's parse tree, see ``parse_tree``."""

_DBT = words(
    """
    current_database format_type has_any_column_privilege has_column_privilege
    has_table_privilege pg_get_userbyid pg_has_role pg_is_other_temp_schema
    """
)
"""Used by dbt's catalogue queries, and by the information schema's views that they read."""

_MAY = """
    SELECT oid FROM pg_catalog.pg_proc
    WHERE proname = ANY(%(names)s) AND pronamespace = 'pg_catalog'::regnamespace
    UNION SELECT oprcode FROM pg_catalog.pg_operator
    WHERE oprnamespace = 'pg_catalog'::regnamespace
    UNION SELECT castfunc FROM pg_catalog.pg_cast WHERE oid < 16384 AND castfunc <> 0
    -- Hash functions for long IN lists, and comparisons for a window's RANGE.
    UNION SELECT amproc FROM pg_catalog.pg_amproc
    JOIN pg_catalog.pg_opfamily f ON f.oid = amprocfamily
    JOIN pg_catalog.pg_am ON pg_am.oid = opfmethod
    WHERE amname IN ('btree', 'hash') AND amproc < 16384
"""

_BEYOND = f"""
    SELECT p.oid::regprocedure::text FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname <> 'information_schema' AND p.oid NOT IN ({_MAY})
    AND has_function_privilege(%(role)s, p.oid, 'EXECUTE') ORDER BY 1
"""

_MISSING = f"""
    SELECT p.oid::regprocedure::text FROM pg_catalog.pg_proc p
    WHERE p.oid IN ({_MAY}) AND NOT has_function_privilege(%(role)s, p.oid, 'EXECUTE')
"""

_ALLOWED = f"SELECT p.oid::regprocedure::text FROM pg_catalog.pg_proc p WHERE p.oid IN ({_MAY})"

_INDIVIDUAL = f"""
    SELECT DISTINCT p.oid::regprocedure::text
    FROM pg_catalog.pg_proc p, LATERAL aclexplode(p.proacl) a
    JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
    WHERE r.rolname = %(role)s AND p.oid NOT IN ({_MAY})
"""
"""Granted individually, as an earlier version of this list did."""

_PUBLIC = """
    SELECT p.oid::regprocedure::text FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace,
    LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
    WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE'
    AND n.nspname NOT IN ('information_schema', 'pg_toast')
"""

_LANGUAGES = """
    SELECT quote_ident(lanname) FROM pg_catalog.pg_language
    WHERE lanpltrusted AND has_language_privilege(%(role)s, oid, 'USAGE')
"""

_TRUSTED = "SELECT quote_ident(lanname) FROM pg_catalog.pg_language WHERE lanpltrusted"

_MAKING = 0x7469_7070_6572_7304
"""Advisory lock: one process changes the rights at a time."""


@dataclass(frozen=True)
class Login:
    """A role, and the functions that it may execute besides operators and casts."""

    role: str
    names: frozenset[str]


def builder_login(role: str, further: Iterable[str]) -> Login:
    """The functions that dbt needs; ``further``: functions called by a deployment's own models."""
    return Login(role, FUNCTIONS.union(GRAMMAR_FUNCTIONS, _DRIVERS, _DBT, further))


def reader_login(role: str) -> Login:
    """The functions that previews and the guard need."""
    return Login(role, FUNCTIONS.union(GRAMMAR_FUNCTIONS, _DRIVERS, _GUARD))


def beyond(connection: sa.Connection, login: Login) -> list[str]:
    """The functions of this database that a role may execute but should not, with arguments."""
    return _names(connection, _BEYOND, login) + [
        f"DO (LANGUAGE {language})" for language in _names(connection, _LANGUAGES, login)
    ]


def restricted(connection: sa.Connection, logins: Sequence[Login]) -> bool:
    """Whether these roles may execute exactly what they should."""
    return not any(beyond(connection, x) or _names(connection, _MISSING, x) for x in logins)


def restrict(connection: sa.Connection, owner: str, logins: Sequence[Login]) -> None:
    """Set the privileges on functions to what they should be, in the caller's transaction.

    The connection is a superuser's. Safe in many processes at once.
    """
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MAKING})
    if restricted(connection, logins):
        return
    for statement in statements(connection, owner, logins):
        connection.exec_driver_sql(statement.replace("%", "%%"))


def statements(connection: sa.Connection, owner: str, logins: Sequence[Login]) -> Iterator[str]:
    """The SQL that restricts the functions of this database, for a superuser to run in it."""
    connection.execute(sa.text("SET LOCAL search_path = ''"))  # names with their schemas
    if not connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :g"), {"g": GROUP}):
        yield f"CREATE ROLE {GROUP} NOLOGIN"
    yield f"GRANT {GROUP} TO {quote_identifier(owner)}"
    public_rights = [("EXECUTE", "ROUTINE", _names(connection, _PUBLIC))]
    public_rights.append(("USAGE", "LANGUAGE", _names(connection, _TRUSTED)))
    for right, kind, things in public_rights:
        if things:
            yield f"GRANT {right} ON {kind} {', '.join(things)} TO {GROUP}"
            yield f"REVOKE {right} ON {kind} {', '.join(things)} FROM PUBLIC"
    for role in ("", f"FOR ROLE {quote_identifier(owner)} "):  # functions created later
        yield f"ALTER DEFAULT PRIVILEGES {role}REVOKE EXECUTE ON ROUTINES FROM PUBLIC"
        yield f"ALTER DEFAULT PRIVILEGES {role}GRANT EXECUTE ON ROUTINES TO {GROUP}"
    for login in logins:
        role = quote_identifier(login.role)
        more = ", ".join(_names(connection, _INDIVIDUAL, login))
        if more:
            yield f"REVOKE EXECUTE ON ROUTINE {more} FROM {role}"
        allowed = ", ".join(_names(connection, _ALLOWED, login))
        yield f"GRANT EXECUTE ON ROUTINE {allowed} TO {role}"


def _names(connection: sa.Connection, query: str, login: Login | None = None) -> list[str]:
    known = {"role": login.role, "names": sorted(login.names)} if login else {}
    return [row[0] for row in connection.exec_driver_sql(query, known)]
