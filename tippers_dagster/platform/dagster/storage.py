"""Dagster's PostgreSQL storage, with connections that are kept open.

Dagster's own opens a connection for each statement. A deployment that ticks every few seconds and
records events then starts over a hundred server processes a second, which costs more than all the
statements.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import pg_url_from_config

if TYPE_CHECKING:
    from dagster._serdes import ConfigurableClassData

POOL_SIZE = 2
"""Connections that a process keeps open; while more are needed, more are opened."""

RECYCLE_SECONDS = 600


class PooledPostgresStorage(DagsterPostgresStorage):
    """Runs, events, schedules and ticks in PostgreSQL; ``storage: custom`` in ``dagster.yaml``.

    The parts of Dagster's storage have an attribute for their engine but no option for it.
    """

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
    ) -> None:
        super().__init__(postgres_url, should_autocreate_tables, inst_data)
        for part in (self._run_storage, self._event_log_storage, self._schedule_storage):
            part._engine = _pooled(postgres_url)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Any
    ) -> PooledPostgresStorage:
        """The storage that ``dagster.yaml`` describes."""
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
        )


@lru_cache(maxsize=4)
def _pooled(url: str) -> sa.Engine:
    """One pool for all storages of this process; a restarted server is noticed and reconnected."""
    return sa.create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=POOL_SIZE,
        max_overflow=-1,
        pool_pre_ping=True,
        pool_recycle=RECYCLE_SECONDS,
    )
