"""A snapshot of all assets, which decides which of them to compute now.

An asset is stale as long as it is not what its definition and all its data give now. Automation
aims for less: an asset of which only the data changed waits for its refresh policy, and until then
its dependents read it as it is. A changed definition does not wait, unless the policy is by hand.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from tippers_dagster.automation.nodes import (
    Node,
    lineage_of,
    seen_version,
    version_of,
    wanted_versions,
)
from tippers_dagster.automation.refresh import Clock
from tippers_dagster.automation.runs import being_computed
from tippers_dagster.automation.state import NEVER, AssetState, load_states
from tippers_dagster.automation.tokens import check_sources
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance


Key = tuple[str, ...]


@dataclass
class Aim:
    """What automation aims for now, by asset key.

    Attributes
    ----------
    version, seen
        The version of each asset once everything requested now is computed, and as its dependents
        see it; None: never computed.
    reached
        The version of each asset if it were computed then. It differs from ``version`` where the
        asset's own policy makes it wait.
    lineage
        The lineage that goes with ``version``.
    """

    version: dict[Key, str | None] = field(default_factory=dict)
    seen: dict[Key, str | None] = field(default_factory=dict)
    reached: dict[Key, str] = field(default_factory=dict)
    lineage: dict[Key, str | None] = field(default_factory=dict)


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
        return cls._taken(settings, nodes, running, tokens)

    @classmethod
    def look(cls, settings: Settings, instance: DagsterInstance, nodes: Sequence[Node]) -> Snapshot:
        """The same without a check of the sources: as they were when last checked."""
        running = being_computed(instance, {node.name for node in nodes})
        return cls._taken(settings, nodes, running, check_sources(settings, ()))

    @classmethod
    def _taken(
        cls,
        settings: Settings,
        nodes: Sequence[Node],
        running: Mapping[str, str],
        tokens: Mapping[str, str],
    ) -> Snapshot:
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
            "waiting": self.waiting,
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
            and (self._version(node) != self.wanted[node.name] or self._check_due(node))
        }

    @cached_property
    def waiting(self) -> set[str]:
        """Stale assets that automation leaves as they are until a refresh policy says otherwise.

        Also those that cannot be computed before an asset that waits for a person.
        """
        waiting = self.stale - self._pending
        for node in self.nodes:
            unusable = [name for name in _inputs(node) if self._unusable(name)]
            if node.name in self.stale and waiting.intersection(unusable):
                waiting.add(node.name)
        return waiting

    @cached_property
    def held_back(self) -> set[str]:
        """Assets to compute whose version failed, and has no attempt left or none due.

        Broken assets are attempted once, so that the reason is shown.
        """
        return {node.name for node in self.nodes if node.name in self._pending and self._held(node)}

    @cached_property
    def ready(self) -> set[str]:
        """Assets whose inputs are all as automation aims for, or requested in the same run."""
        return self._decided[0]

    @cached_property
    def asked(self) -> list[Node]:
        """The assets to compute in one run, inputs first: due, ready, not running, not held back.

        An input that is up to date, and only due for a check of external data, delays nothing.
        """
        return self._decided[1]

    def aimed(self, name: str) -> str:
        """The version of an asset if it were computed now, after everything that is requested."""
        return self._aim.reached[tuple(name.split("/"))]

    def attempts_to_record(self, asked: Sequence[Node]) -> dict[str, str]:
        """The requested assets whose inputs are all as aimed for, with their versions.

        A run attempts these for certain, and the others only if their inputs succeed.
        """
        return {
            node.name: self.aimed(node.name)
            for node in asked
            if not any(name in self._pending for name in _inputs(node))
        }

    # --- refresh policies -----------------------------------------------------------------------
    @cached_property
    def next_refresh(self) -> dict[str, dt.datetime | None]:
        """When each waiting asset is due at the earliest; None: a person has to compute it."""
        due: dict[str, dt.datetime | None] = {}
        for node in self.nodes:
            if node.name in self.waiting:
                due[node.name] = self._next_refresh(node, due)
        return due

    def waits_itself(self, node: Node) -> bool:
        """Whether a waiting asset's own policy holds it, not only that of an input."""
        reached = self._aim.reached[node.key]
        return node.name not in self._pending and reached != self._version(node)

    def _next_refresh(
        self, node: Node, due: Mapping[str, dt.datetime | None]
    ) -> dt.datetime | None:
        if self.waits_itself(node):
            return self._clock.next_time(node.refresh)
        if node.name in self._pending:
            return None  # an input has to be computed by hand first
        times = [time for name in _inputs(node) if (time := due.get(name)) is not None]
        if not times:
            return None
        inputs = min(times)
        then = Clock(inputs, self.settings.timezone)
        if then.due(node.refresh, self.state(node.name).read_at):
            return inputs
        return then.next_time(node.refresh)

    @cached_property
    def _clock(self) -> Clock:
        return Clock(self.now, self.settings.timezone)

    @cached_property
    def _aim(self) -> Aim:
        aim = Aim()
        for node in self.nodes:
            token = self.tokens.get(node.name)
            if node.source is not None:
                aim.version[node.key] = aim.seen[node.key] = token or ""
                aim.lineage[node.key] = lineage_of(node, {}, token)
                continue
            own = token if node.every_seconds is not None else None
            reached = version_of(node, aim.seen, own)
            lineage = lineage_of(node, aim.lineage)
            aim.reached[node.key] = reached
            state = self.state(node.name)
            if state.version == reached or self._waits(node, reached, lineage):
                aim.version[node.key], aim.lineage[node.key] = state.version, state.lineage
            else:
                aim.version[node.key], aim.lineage[node.key] = reached, lineage
            aim.seen[node.key] = seen_version(node, aim.version[node.key], own)
        return aim

    def _waits(self, node: Node, reached: str, lineage: str) -> bool:
        """Whether the policy of an asset that could be computed now makes it wait."""
        if all(refresh.by_hand for refresh in node.refresh):
            return bool(node.refresh)
        state = self.state(node.name)
        if self._unusable(node.name) or state.lineage != lineage:
            return False
        return not self._clock.due(node.refresh, state.read_at)

    # --- what is computed -----------------------------------------------------------------------
    @cached_property
    def _pending(self) -> set[str]:
        """Assets to compute as soon as they can be."""
        return {
            node.name
            for node in self.nodes
            if node.source is None and (self._differs(node) or self._check_due(node))
        }

    @cached_property
    def _decided(self) -> tuple[set[str], list[Node]]:
        ready: set[str] = set()
        asked: dict[str, Node] = {}
        for node in self.nodes:
            if any(self._delays(key) for key in node.deps if "/".join(key) not in asked):
                continue
            ready.add(node.name)
            blocked = node.name in self.running or node.name in self.held_back
            if node.name in self._pending and not blocked:
                asked[node.name] = node
        return ready, list(asked.values())

    @cached_property
    def _by_key(self) -> dict[Key, Node]:
        return {node.key: node for node in self.nodes}

    def _delays(self, key: Key) -> bool:
        """Whether dependents of an input have to wait for it."""
        node = self._by_key.get(key)
        if node is None or node.source is not None:
            return False
        return node.name in self.running or self._unusable(node.name) or self._differs(node)

    def _unusable(self, name: str) -> bool:
        """Whether an asset was never computed, or a run that died was replacing it."""
        state = self.state(name)
        return state.version is None or state.void

    def _differs(self, node: Node) -> bool:
        return self._version(node) != self._aim.version[node.key]

    def _version(self, node: Node) -> str | None:
        return self.state(node.name).version

    def _check_due(self, node: Node) -> bool:
        return self.state(node.name).due(node, self.now)

    def _held(self, node: Node) -> bool:
        state, aimed = self.state(node.name), self.aimed(node.name)
        if node.broken is not None and state.tries_of(aimed):
            return True
        if self._failed_with_other_data(node, state, aimed):
            due = state.next_try(self.settings, state.failed_version or "")
            return due is None or self.now < due
        exhausted = state.tries_of(aimed) >= self.settings.max_tries
        if exhausted and node.every_seconds is not None and state.failed_at is not None:
            # External data may become available again: one attempt per regular check.
            return self.now < state.failed_at + dt.timedelta(seconds=node.every_seconds)
        return state.held_back(self.settings, aimed, self.now)

    def _failed_with_other_data(self, node: Node, state: AssetState, aimed: str) -> bool:
        """Whether it failed since its last refresh was due, and only its data changed after that.

        Such a change is no reason to try again sooner: that would be one refresh per change.
        """
        if state.failed_version in (None, aimed) or state.retry_at is not None:
            return False
        changed = state.version is None or state.lineage != self._aim.lineage[node.key]
        return not changed and not self._clock.due(node.refresh, state.failed_at)


def _inputs(node: Node) -> list[str]:
    return ["/".join(dep) for dep in node.deps]
