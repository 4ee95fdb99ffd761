"""What is to be computed now: one decision about all assets, from one look at everything."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from tippers_dagster.automation.nodes import Node, wanted_versions
from tippers_dagster.automation.runs import being_computed
from tippers_dagster.automation.state import NEVER, AssetState, load_states
from tippers_dagster.automation.tokens import look_at_sources
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All assets at one moment. Everything below goes by ``Node.name``.

    The unfinished runs are listed before anything else is read: a run that ends meanwhile hides
    its assets for one more tick, and none is asked for twice.

    Attributes
    ----------
    nodes
        All assets and sources, each after those it reads.
    wanted
        The version that each would have, were all computed now.
    states
        What is recorded.
    running
        Assets that an unfinished run covers, and that run.
    now
        When this was.
    tokens
        What was found last of sources, and by what reads from outside.
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
        look_now: bool = False,
    ) -> Snapshot:
        """Read the runs, look at the sources that are due (``look_now``: at all), read the states.

        ``nodes``: as :func:`~tippers_dagster.automation.nodes.in_order` gives them.
        """
        running = being_computed(instance, {node.name for node in nodes})
        tokens = look_at_sources(settings, nodes, at_once=look_now)
        states = load_states(settings)
        wanted = {"/".join(k): v for k, v in wanted_versions(nodes, tokens).items()}
        now = dt.datetime.now(dt.UTC)
        return cls(settings, list(nodes), wanted, states, running, now, tokens)

    def state(self, name: str) -> AssetState:
        """What is recorded of an asset."""
        return self.states.get(name, NEVER)

    @cached_property
    def by_token(self) -> set[str]:
        """Assets of which those that read them see the token only."""
        return {node.name for node in self.nodes if node.seen_by_token}

    @cached_property
    def stale(self) -> set[str]:
        """Assets whose recorded version is not the wanted one, or that are due to look outside."""
        return {
            node.name
            for node in self.nodes
            if node.source is None
            and (self._differs(node.name) or self.state(node.name).due(node, self.now))
        }

    @cached_property
    def held_back(self) -> set[str]:
        """Stale assets whose wanted version failed: the next try is not due, or none is left.

        What cannot be computed at all is tried once, so that its reason is seen.
        """
        return {node.name for node in self.nodes if node.name in self.stale and self._held(node)}

    @cached_property
    def ready(self) -> set[str]:
        """Assets all of whose inputs are up to date, or asked for in the same run."""
        return self._decided[0]

    @cached_property
    def asked(self) -> list[Node]:
        """What one run is to compute, inputs first: stale, ready, under way nowhere, not held back.

        An input that is up to date and only due to look outside holds up nothing.
        """
        return self._decided[1]

    def surely_tried(self, asked: Sequence[Node]) -> dict[str, str]:
        """Those asked for whose inputs are all up to date, and their wanted versions: their run
        tries them for certain, the others only when their inputs succeed.
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
            if any(self._waits(name) for name in _inputs(node) if name not in asked):
                continue
            ready.add(node.name)
            hindered = node.name in self.running or node.name in self.held_back
            if node.name in self.stale and not hindered:
                asked[node.name] = node
        return ready, list(asked.values())

    def _waits(self, name: str) -> bool:
        """Whether what reads this is not to be computed now."""
        return name in self.running or (name in self.stale and self._differs(name))

    def _differs(self, name: str) -> bool:
        return self.state(name).version != self.wanted[name]

    def _held(self, node: Node) -> bool:
        state, wanted = self.state(node.name), self.wanted[node.name]
        if node.broken is not None and state.tries_of(wanted):
            return True
        out_of_tries = state.tries_of(wanted) >= self.settings.max_tries
        if out_of_tries and node.every_seconds is not None and state.failed_at is not None:
            # What is outside comes back by itself: a try each time it would be looked at anyway.
            return self.now < state.failed_at + dt.timedelta(seconds=node.every_seconds)
        return state.held_back(self.settings, wanted, self.now)


def _inputs(node: Node) -> list[str]:
    return ["/".join(dep) for dep in node.deps]
