"""The deployment, and the person who uses the app: the first argument of every service."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import sqlalchemy as sa

from tippers_dagster.local.databases import databases
from tippers_dagster.local.environment import use_dagster_environment
from tippers_dagster.people.model import Person
from tippers_dagster.settings import Settings
from tippers_dagster.warehouse.engine import sqlalchemy_url

if TYPE_CHECKING:
    from dagster import DagsterInstance


@dataclass(frozen=True)
class App:
    """The deployment and the current user."""

    settings: Settings
    person: Person

    @property
    def instance(self) -> DagsterInstance:
        """Dagster's instance, shared by all sessions of this process.

        Raises
        ------
        sqlalchemy.exc.OperationalError
            Its database is unavailable: raised at once, where Dagster itself would retry for 12 s.
        """
        _storage(self.settings).connect().close()
        return _instance(self.settings)


@lru_cache(maxsize=4)
def _storage(settings: Settings) -> sa.Engine:
    """Connections to Dagster's database, each tested before it is used."""
    return sa.create_engine(sqlalchemy_url(databases(settings).dagster), pool_pre_ping=True)


@lru_cache(maxsize=4)
def _instance(settings: Settings) -> DagsterInstance:
    use_dagster_environment(settings)
    from dagster import DagsterInstance

    return DagsterInstance.get()
