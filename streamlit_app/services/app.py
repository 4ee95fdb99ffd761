"""What a service works with: the deployment and the person who asks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from tippers_dagster.local.environment import use_dagster_environment
from tippers_dagster.people.model import Person
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance


@dataclass(frozen=True)
class App:
    """The deployment, and who asks."""

    settings: Settings
    person: Person

    @property
    def instance(self) -> DagsterInstance:
        """Dagster's instance, one for all sessions of this process."""
        return _instance(self.settings)


@lru_cache(maxsize=4)
def _instance(settings: Settings) -> DagsterInstance:
    use_dagster_environment(settings)
    from dagster import DagsterInstance

    return DagsterInstance.get()
