"""Which records of occupancy make backtests and forecasts out of date when they change."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from tippers_dagster.automation.nodes import Node, Table
from tippers_dagster.catalog.kinds import Forecaster
from tippers_dagster.occupancy.state import COUNTS, SESSIONS
from tippers_dagster.occupancy.tables import partition_figures

SOURCE_FOLDER = "source"
"""First part of the keys of the nodes made here."""

c = partition_figures.c


def history_source(name: str, body: Forecaster) -> Node:
    """The history in whole weeks: changes with every new week, and when a chunk of a space is
    computed for the first time, but not with new bins of the current week.
    """
    with_sessions = (c.asset == SESSIONS, c.rows > 0)
    latest = sa.select(sa.func.max(c.chunk)).where(*with_sessions).scalar_subquery()
    week = sa.cast(sa.func.date_trunc("week", sa.cast(latest, sa.Date)), sa.Date)
    first = sa.select(sa.func.min(c.chunk)).where(*with_sessions).scalar_subquery()
    known = sa.select(sa.func.count()).where(*_counts(body), c.chunk <= latest).scalar_subquery()
    return _source(f"occupancy_weeks_{name}", sa.select(sa.func.concat_ws(" ", first, week, known)))


def occupancy_source(name: str, body: Forecaster) -> Node:
    """The occupancy of the spaces: changes whenever any of their counts do.

    A parent's input fingerprint also reflects everything below it.
    """
    row = sa.func.concat_ws(" ", c.space, c.chunk, c.input_fingerprint, c.output_fingerprint)
    total = sa.func.sum(sa.cast(sa.func.hashtextextended(row, 0), sa.Numeric))
    query = sa.select(sa.cast(total, sa.Text)).where(*_counts(body))
    return _source(f"occupancy_counts_{name}", query)


def _counts(body: Forecaster) -> list[sa.ColumnElement[bool]]:
    """Count partitions of the named spaces; of all spaces if none is named, or with ``below``."""
    mine: list[sa.ColumnElement[bool]] = [c.asset.in_(COUNTS)]
    return [*mine, c.space.in_(body.spaces)] if body.spaces and not body.below else mine


def _source(name: str, query: sa.Select) -> Node:
    # Executed as text: this paramstyle does not double percent signs.
    dialect = postgresql.dialect(paramstyle="named")
    text = query.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    table = Table(str(partition_figures.schema), partition_figures.name, str(text))
    return Node((SOURCE_FOLDER, name), source=table)
