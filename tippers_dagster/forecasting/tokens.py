"""When a backtest and forecasts are out of date: what of the record of occupancy they follow."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from tippers_dagster.automation.nodes import Node, Table
from tippers_dagster.catalog.kinds import Forecaster
from tippers_dagster.occupancy.state import SESSIONS
from tippers_dagster.occupancy.tables import partition_figures

SOURCE_FOLDER = "source"
"""The first part of the keys of what is looked at here."""

c = partition_figures.c


def history_source(name: str, body: Forecaster) -> Node:
    """The whole weeks of history: another one with every week, and with every chunk of a space
    that is computed for the first time; the same while only bins of the present week come.
    """
    with_sessions = (c.asset == SESSIONS, c.rows > 0)
    latest = sa.select(sa.func.max(c.chunk)).where(*with_sessions).scalar_subquery()
    week = sa.cast(sa.func.date_trunc("week", sa.cast(latest, sa.Date)), sa.Date)
    first = sa.select(sa.func.min(c.chunk)).where(*with_sessions).scalar_subquery()
    known = sa.select(sa.func.count()).where(*_counts(body), c.chunk <= latest).scalar_subquery()
    return _source(f"occupancy_weeks_{name}", sa.select(sa.func.concat_ws(" ", first, week, known)))


def occupancy_source(name: str, body: Forecaster) -> Node:
    """The occupancy of the spaces: another one whenever any of their counts is.

    What a parent is computed from tells of all below it.
    """
    row = sa.func.concat_ws(" ", c.space, c.chunk, c.input_fingerprint, c.output_fingerprint)
    total = sa.func.sum(sa.cast(sa.func.hashtextextended(row, 0), sa.Numeric))
    query = sa.select(sa.cast(total, sa.Text)).where(*_counts(body))
    return _source(f"occupancy_counts_{name}", query)


def _counts(body: Forecaster) -> list[sa.ColumnElement[bool]]:
    """The partitions of counts of the spaces that are named; of all when none is.

    With ``below``, how many there are below is in the number of all.
    """
    mine = [c.asset != SESSIONS]
    return [*mine, c.space.in_(body.spaces)] if body.spaces and not body.below else mine


def _source(name: str, query: sa.Select) -> Node:
    # Run as it stands: a paramstyle that does not double what stands for parameters elsewhere.
    dialect = postgresql.dialect(paramstyle="named")
    text = query.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    table = Table(str(partition_figures.schema), partition_figures.name, str(text))
    return Node((SOURCE_FOLDER, name), source=table)
