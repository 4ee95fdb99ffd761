"""Detects that the rows of a source table may have changed, without reading them.

PostgreSQL counts inserted, changed and deleted rows, and gives a table another file when it is
emptied or rewritten. The counts follow a commit by some seconds and never precede it. A run reads
the tokens before the rows: a change that is counted late may make an asset stale that has already
read it, but is never missed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.automation.nodes import Node, Table
from tippers_dagster.automation.tables import restored_token, source_token
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

MISSING = "missing"
"""The token of a table that does not exist."""

# The relations behind a relation: itself, for a view those that it reads, and for a partitioned
# table its partitions.
_BEHIND = """
    WITH RECURSIVE behind(oid) AS (
        SELECT to_regclass(:name)::oid
        UNION
        SELECT found.oid FROM behind CROSS JOIN LATERAL (
            SELECT d.refobjid AS oid
            FROM pg_rewrite r JOIN pg_depend d
              ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
             AND d.refclassid = 'pg_class'::regclass
            WHERE r.ev_class = behind.oid
              AND EXISTS (SELECT FROM pg_class v WHERE v.oid = behind.oid AND v.relkind = 'v')
            UNION
            SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = behind.oid
        ) AS found
    )
    SELECT c.oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
        coalesce(pg_relation_filenode(c.oid)::text, md5(pg_get_viewdef(c.oid))) AS content,
        s.n_tup_ins AS inserted, s.n_tup_upd AS changed, s.n_tup_del AS deleted
    FROM behind b JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
    WHERE c.relkind NOT IN ('i', 'I', 'S', 'c')
    ORDER BY c.oid
"""

_SERVER = """
    SELECT current_setting('track_counts') = 'on' AS counts,
        coalesce(extract(epoch FROM stats_reset)::text, '') AS since
    FROM pg_stat_database WHERE datname = current_database()
"""

_ORDERED = """
    SELECT a.attname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = :oid AND a.attnum > 0 AND NOT a.attisdropped
      AND t.typcategory IN ('D', 'N') ORDER BY a.attnum
"""


def source_tokens(settings: Settings, tables: Mapping[str, Table]) -> dict[str, str]:
    """Tokens of tables, by the same names; they differ whenever the rows may differ.

    For plain tables, partitioned tables, materialized views, and views of these, they come from
    PostgreSQL's counters. For a foreign table, from its number of rows and the largest value of
    each numeric and time column, so an update in place may be missed. For a table with a query,
    from its result.
    """
    with warehouse_engine(settings).connect() as connection:
        server = connection.execute(sa.text(_SERVER)).one()
        # Several assets may be in one table.
        tokens = {
            table: _token(connection, table, server.since if server.counts else None)
            for table in dict.fromkeys(tables.values())
        }
        before = _before_restoring(connection, tokens.values())
    return {name: before.get(tokens[table], tokens[table]) for name, table in tables.items()}


def record_restored(connection: sa.Connection, tokens: Mapping[str, str]) -> None:
    """Record that tables have the rows of a backup.

    Parameters
    ----------
    tokens
        By the token of a table that was restored just now, the one that its rows had before.
    """
    rows = [{"token": now, "stands_for": then} for now, then in sorted(tokens.items())]
    if rows:
        connection.execute(insert(restored_token).values(rows).on_conflict_do_nothing())


def _before_restoring(connection: sa.Connection, tokens: Iterable[str]) -> dict[str, str]:
    """For tokens of tables as they were restored, the tokens before the backup."""
    c = restored_token.c
    query = sa.select(c.token, c.stands_for).where(c.token.in_(sorted(set(tokens))))
    return {row.token: row.stands_for for row in connection.execute(query)}


def check_sources(
    settings: Settings, nodes: Iterable[Node], *, at_once: bool = False
) -> dict[str, str]:
    """The recorded tokens, after a check of the sources that are due.

    Parameters
    ----------
    nodes
        The sources among them are checked every ``settings.refresh_seconds`` at most; new ones
        are checked at once.
    at_once
        Whether to check all sources now.
    """
    sources = {node.name: node.source for node in nodes if node.source is not None}
    query = sa.select(source_token.c.asset, source_token.c.token, source_token.c.observed_at)
    with warehouse_engine(settings).connect() as connection:
        seen = {name: (token, when) for name, token, when in connection.execute(query)}
    due_since = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=settings.refresh_seconds)
    due = {
        name: table
        for name, table in sources.items()
        if at_once or name not in seen or seen[name][1] <= due_since
    }
    tokens = {name: token for name, (token, _) in seen.items()}
    if due:
        found = source_tokens(settings, due)
        with warehouse_engine(settings).begin() as connection:
            record_tokens(connection, found)
        tokens |= found
    return tokens


def check_new_sources(settings: Settings, nodes: Iterable[Node]) -> None:
    """Check the sources that were never checked."""
    sources = {node.name: node.source for node in nodes if node.source is not None}
    if not sources:
        return
    query = sa.select(source_token.c.asset).where(source_token.c.asset.in_(sources))
    with warehouse_engine(settings).connect() as connection:
        seen = set(connection.scalars(query))
    found = source_tokens(settings, {n: t for n, t in sources.items() if n not in seen})
    with warehouse_engine(settings).begin() as connection:
        record_tokens(connection, found)


def record_tokens(connection: sa.Connection, tokens: Mapping[str, str]) -> None:
    """Record tokens that were read just now."""
    if not tokens:
        return
    now = dt.datetime.now(dt.UTC)
    rows = [{"asset": n, "token": t, "observed_at": now} for n, t in sorted(tokens.items())]
    insertion = insert(source_token).values(rows)
    connection.execute(
        insertion.on_conflict_do_update(
            index_elements=["asset"],
            set_={"token": insertion.excluded.token, "observed_at": now},
        )
    )


def counters(connection: sa.Connection, table: Table) -> str | None:
    """The token of a table of another database, by PostgreSQL's counters; None without them."""
    server = connection.execute(sa.text(_SERVER)).one()
    relations = _relations(connection, table)
    if not server.counts or not relations or any(r.kind == "f" for r in relations):
        return None
    return " ".join([server.since, *map(_counted, relations)])


def _relations(connection: sa.Connection, table: Table) -> Sequence[sa.Row]:
    quote = connection.dialect.identifier_preparer.quote_identifier
    name = f"{quote(table.schema)}.{quote(table.name)}"
    return connection.execute(sa.text(_BEHIND), {"name": name}).all()


def _counted(r: sa.Row) -> str:
    return f"{r.oid}:{r.content}:{r.inserted}:{r.changed}:{r.deleted}"


def _token(connection: sa.Connection, table: Table, since: str | None) -> str:
    """The token of a table. ``since``: when the counters were reset; None: PostgreSQL has none."""
    if callable(table.query):
        return table.query(connection)
    if table.query is not None:
        # Unchanged: part of a name in it may look like a parameter.
        options = {"no_parameters": True}
        result = connection.exec_driver_sql(table.query, execution_options=options)
        return str(result.scalar() or "")
    relations = _relations(connection, table)
    if not relations:
        return MISSING
    parts = [since or ""]
    for r in relations:
        if r.kind == "f" or (since is None and r.kind in "rm"):
            parts.append(f"{r.oid}:{_count(connection, r.oid, Table(r.schema, r.name))}")
        else:
            parts.append(_counted(r))
    return " ".join(parts)


def _count(connection: sa.Connection, oid: int, table: Table) -> str:
    columns = connection.scalars(sa.text(_ORDERED), {"oid": oid}).all()
    largest = [sa.cast(sa.func.max(sa.column(column)), sa.Text) for column in columns]
    rows = sa.table(table.name, schema=table.schema)
    row = connection.execute(sa.select(sa.func.count(), *largest).select_from(rows)).one()
    return ":".join(str(value) for value in row)
