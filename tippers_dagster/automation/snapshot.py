"""A snapshot of all assets, which decides which of them to compute now."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from tippers_dagster.automation.nodes import Node, wanted_versions
from tippers_dagster.automation.runs import being_computed
from tippers_dagster.automation.state import NEVER, AssetState, load_states
from tippers_dagster.automation.tokens import check_sources
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The state of all assets at one moment. Assets are identified by ``Node.name``.

    Unfinished runs are listed before anything else is read. If a run ends meanwhile, its assets
    count as running for one more tick, and no asset is requested twice.

    Attributes
    ----------
    nodes
        All assets and sources, each after its inputs.
    wanted
        The version that each would have if all were computed now.
    states
        The recorded state of each asset.
    running
        Assets of unfinished runs, with the id of their run.
    now
        The time of the snapshot.
    tokens
        The latest tokens of sources and of assets that read external data.
    """

    settings: Settings
    nodes: list[Node]
    wanted: Mapping[str, str]
    states: Mapping[str, AssetState]
    running: Mapping[str, str]
    now: dt.datetime
    tokens: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def take(
        cls,
        settings: Settings,
        instance: DagsterInstance,
        nodes: Sequence[Node],
        *,
        check_sources_now: bool = False,
    ) -> Snapshot:
        """Read the runs, check the sources that are due, and read the states.

        Parameters
        ----------
        nodes
            In the order of :func:`~tippers_dagster.automation.nodes.in_dependency_order`.
        check_sources_now
            Check all sources, due or not.
        """
        running = being_computed(instance, {node.name for node in nodes})
        tokens = check_sources(settings, nodes, at_once=check_sources_now)
        states = load_states(settings)
        wanted = {"/".join(k): v for k, v in wanted_versions(nodes, tokens).items()}
        now = dt.datetime.now(dt.UTC)
        return cls(settings, list(nodes), wanted, states, running, now, tokens)

    def state(self, name: str) -> AssetState:
        """The recorded state of an asset."""
        return self.states.get(name, NEVER)

    def where(self, state: str, asset: str) -> bool:
        """Whether an asset is in a state, for the automation conditions."""
        return asset in self._states[state]

    @cached_property
    def _states(self) -> dict[str, Collection[str]]:
        return {
            "stale": self.stale,
            "ready": self.ready,
            "being_computed": self.running,
            "held_back": self.held_back,
        }

    @cached_property
    def by_token(self) -> set[str]:
        """Assets whose dependents see only their token."""
        return {node.name for node in self.nodes if node.seen_by_token}

    @cached_property
    def stale(self) -> set[str]:
        """Assets whose version is not the wanted one, or whose external data is due for a check."""
        return {
            node.name
            for node in self.nodes
            if node.source is None
            and (self._differs(node.name) or self.state(node.name).due(node, self.now))
        }

    @cached_property
    def held_back(self) -> set[str]:
        """Stale assets whose wanted version failed, and has no attempt left or none due.

        Broken assets are attempted once, so that the reason is shown.
        """
        return {node.name for node in self.nodes if node.name in self.stale and self._held(node)}

    @cached_property
    def ready(self) -> set[str]:
        """Assets whose inputs are all up to date, or requested in the same run."""
        return self._decided[0]

    @cached_property
    def asked(self) -> list[Node]:
        """The assets to compute in one run, inputs first: stale, ready, not running, not held back.

        An input that is up to date, and only due for a check of external data, delays nothing.
        """
        return self._decided[1]

    def attempts_to_record(self, asked: Sequence[Node]) -> dict[str, str]:
        """The requested assets whose inputs are all up to date, with their wanted versions.

        A run attempts these for certain, and the others only if their inputs succeed.
        """
        return {
            node.name: self.wanted[node.name]
            for node in asked
            if not any(name in self.stale for name in _inputs(node))
        }

    @cached_property
    def _decided(self) -> tuple[set[str], list[Node]]:
        ready: set[str] = set()
        asked: dict[str, Node] = {}
        for node in self.nodes:
            if any(self._delays(name) for name in _inputs(node) if name not in asked):
                continue
            ready.add(node.name)
            blocked = node.name in self.running or node.name in self.held_back
            if node.name in self.stale and not blocked:
                asked[node.name] = node
        return ready, list(asked.values())

    def _delays(self, name: str) -> bool:
        """Whether dependents of the asset have to wait for it."""
        return name in self.running or (name in self.stale and self._differs(name))

    def _differs(self, name: str) -> bool:
        return self.state(name).version != self.wanted[name]

    def _held(self, node: Node) -> bool:
        state, wanted = self.state(node.name), self.wanted[node.name]
        if node.broken is not None and state.tries_of(wanted):
            return True
        exhausted = state.tries_of(wanted) >= self.settings.max_tries
        if exhausted and node.every_seconds is not None and state.failed_at is not None:
            # External data may become available again: one attempt per regular check.
            return self.now < state.failed_at + dt.timedelta(seconds=node.every_seconds)
        return state.held_back(self.settings, wanted, self.now)


def _inputs(node: Node) -> list[str]:
    return ["/".join(dep) for dep in node.deps]
