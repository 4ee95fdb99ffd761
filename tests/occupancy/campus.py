"""A small campus in the source tables, and its pipeline run without Dagster's daemon."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
import psycopg2
import sqlalchemy as sa
from psycopg2.extras import execute_values

from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.campus.spaces.tracking import wanted_grid
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.occupancy.source_checks import observe
from tippers_dagster.occupancy.state import ASSETS, State, load_state
from tippers_dagster.occupancy.work import Outcome, compute
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings


@dataclass(frozen=True)
class Seen:
    """One row of the session log, in local times; ``end`` is None for an open session.

    ``person`` is the hash of its user, None if that is not known.
    """

    mac: str | None
    space: str | None
    start: dt.datetime
    end: dt.datetime | None
    person: int | None = None


@contextmanager
def source(settings: Settings):
    """A cursor on the source database; committed at the end."""
    with (
        closing(psycopg2.connect(databases(settings).source)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        yield cursor


def add_spaces(settings: Settings, parents: Mapping[str, str | None]) -> None:
    with source(settings) as cursor:
        execute_values(
            cursor,
            "INSERT INTO source.space (space_id, space_name, parent_space_id) VALUES %s",
            [(space, space.upper(), parent) for space, parent in parents.items()],
        )


def add_sessions(settings: Settings, rows: Iterable[Seen]) -> None:
    with source(settings) as cursor:
        execute_values(
            cursor,
            "INSERT INTO source.user_ap_trajectory "
            "(mac_address, sensor_id, start_time, end_time, space_id, person) VALUES %s",
            [(r.mac, "ap", r.start, r.end, r.space, _signed(r.person)) for r in rows],
        )


def _signed(person: int | None) -> int | None:
    return person - (1 << 64) if person and person >> 63 else person


def change(settings: Settings, sql: str, *parameters: object) -> int:
    """Change the source as a campus's own systems do. Returns the number of rows."""
    with source(settings) as cursor:
        cursor.execute(sql, parameters or None)
        return cursor.rowcount


def fill(settings: Settings, parents: Mapping[str, str | None], rows: Iterable[Seen] = ()) -> None:
    """Fill the source tables with only these spaces and sessions."""
    create_source_schema(settings)
    change(settings, "TRUNCATE source.space, source.user_ap_trajectory")
    add_spaces(settings, parents)
    rows = list(rows)
    if rows:
        add_sessions(settings, rows)


def forget_all(settings: Settings) -> None:
    """Empty the warehouse's tables."""
    with warehouse_engine(settings).begin() as connection:
        tables = connection.scalars(
            sa.text(
                "SELECT string_agg('tippers.' || quote_ident(tablename), ', ') FROM pg_tables "
                "WHERE schemaname = 'tippers' AND tablename <> 'alembic_version'"
            )
        ).one()
        connection.execute(sa.text(f"TRUNCATE {tables}"))


def state(settings: Settings) -> State:
    return load_state(settings, wanted_grid(settings, load_tree(settings)))


def stale(settings: Settings) -> dict[str, set[tuple[str, str]]]:
    """Stale partitions (space, chunk) by asset; only assets that have any."""
    found = {}
    for level in state(settings).levels:
        rows, columns = np.nonzero(level.stale)
        cells = {(level.spaces[i], level.chunks[j]) for i, j in zip(rows, columns, strict=True)}
        if cells:
            found[level.asset] = cells
    return found


def compute_level(settings: Settings, asset: str, *, stale_only: bool = True) -> Outcome:
    """Compute all partitions of an asset in one pass; fails if a chunk does."""
    level = state(settings).level(asset)
    partitions = [(space, chunk) for space in level.spaces for chunk in level.chunks]
    outcome = compute(settings, asset, partitions, uuid.uuid4().hex, stale_only=stale_only)
    for error in outcome.failed.values():
        raise error
    return outcome


def compute_all(settings: Settings) -> dict[str, int]:
    """Compute everything stale, level by level; returns the numbers of partitions computed."""
    return {asset: compute_level(settings, asset).computed for asset in ASSETS}


def look_again(settings: Settings) -> None:
    """Observe every tracked chunk of the source."""
    observe(settings, wanted_grid(settings, load_tree(settings)).chunks)
