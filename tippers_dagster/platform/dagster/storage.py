"""Dagster's PostgreSQL storage, with connections that are kept open.

Dagster's own opens a connection for each statement. A deployment that ticks every few seconds and
records events then starts over a hundred server processes a second, which costs more than all the
statements. It also looks into PostgreSQL's catalog for its own tables before most statements.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import dagster as dg
import sqlalchemy as sa
from dagster_postgres import DagsterPostgresStorage

from tippers_dagster.platform.dagster.internals import ask_once, share_engine
from tippers_dagster.platform.postgres.pool import replace_lost

if TYPE_CHECKING:
    from tippers_dagster.platform.dagster.internals import ConfigurableClassData

POOL_SIZE = 2
"""Connections that a process keeps open; while more are needed, more are opened."""

RECYCLE_SECONDS = 600

_FOUND: set[str] = set()
"""Databases in which this process has found or made the tables."""


class PooledPostgresStorage(DagsterPostgresStorage):
    """Runs, events, schedules and ticks in PostgreSQL; ``storage: custom`` in ``dagster.yaml``."""

    def __init__(self, postgres_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        # Each part looks for its tables with a connection of its own, and sensors open the storage
        # at each tick.
        found = postgres_url in _FOUND
        super().__init__(postgres_url, should_autocreate_tables=not found, inst_data=inst_data)
        _FOUND.add(postgres_url)
        share_engine(self, _pooled(postgres_url))
        ask_once(self)

    @classmethod
    def config_type(cls) -> Any:
        """The URL only: how else Dagster's storage can log in is refused, not ignored."""
        return {"postgres_url": dg.StringSource}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> PooledPostgresStorage:
        """The storage that ``dagster.yaml`` describes."""
        return cls(config_value["postgres_url"], inst_data)


@lru_cache(maxsize=4)
def _pooled(url: str) -> sa.Engine:
    """One pool for all storages of this process; a restarted server is noticed and reconnected."""
    engine = sa.create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=POOL_SIZE,
        max_overflow=-1,
        pool_recycle=RECYCLE_SECONDS,
    )
    replace_lost(engine)
    return engine
