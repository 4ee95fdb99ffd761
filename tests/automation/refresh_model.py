"""A campus without databases: assets, policies and a clock, for tests of what automation requests.

What an asset holds is a nested tuple of the definitions and rows that it was computed from. So what
is fresh, and what differs, follows from comparing tuples, without versions, lineages or snapshots.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tippers_dagster.automation.nodes import (
    Node,
    Table,
    in_dependency_order,
    lineage_of,
    version_of,
    wanted_versions,
)
from tippers_dagster.automation.snapshot import Snapshot
from tippers_dagster.automation.state import COMPUTED_FROM, NEVER, REPLACED, AssetState
from tippers_dagster.catalog.refresh import Refresh
from tippers_dagster.settings import Settings

START = dt.datetime(2026, 3, 7, 18, 0, 5, tzinfo=dt.UTC)

READS = {
    "staging": ("log",),
    "index": ("staging",),
    "rule": ("index", "staging"),
    "labels": ("rule", "gold"),
    "next_index": ("labels",),
    "next_rule": ("next_index", "staging"),
    "third": ("labels", "next_rule"),
}
"""Three concepts: each follows its own policy, and staging that of its readers."""

CONCEPTS = {
    "index": "first",
    "rule": "first",
    "labels": "first",
    "next_index": "second",
    "next_rule": "second",
    "third": "third",
}

Content = tuple[object, ...]


@dataclass(frozen=True)
class Computed:
    """One successful computation by automation.

    Attributes
    ----------
    at
        When it was requested.
    before
        What the asset held; None: nothing that can be read.
    read_at
        When that was read.
    policies
        Those that it followed when it was requested.
    """

    name: str
    policies: tuple[Refresh, ...]
    at: dt.datetime
    before: Content | None
    after: Content
    read_at: dt.datetime | None


class Campus:
    """The state of all assets. Times move only when a test moves them."""

    def __init__(self, settings: Settings, policies: Mapping[str, Refresh]) -> None:
        self.settings, self.now = settings, START
        self.rows = {"log": 0, "gold": 0}
        self.definitions = dict.fromkeys(READS, 0)
        self.policies = dict(policies)
        self.states: dict[str, AssetState] = {}
        self.holds: dict[str, Content] = {}
        self.failing: set[str] = set()
        self.dying: set[str] = set()
        self.run: list[str] = []
        self.requested_at = self.now
        self.followed: dict[str, tuple[Refresh, ...]] = {}
        self.log: list[Computed] = []

    # --- what there is --------------------------------------------------------------------------
    def policies_of(self, name: str) -> tuple[Refresh, ...]:
        if name in CONCEPTS:
            return (self.policies[CONCEPTS[name]],)
        readers = [reader for reader, read in READS.items() if name in read]
        return tuple(policy for reader in readers for policy in self.policies_of(reader))

    def by_hand(self, name: str) -> bool:
        return all(policy.by_hand for policy in self.policies_of(name))

    def nodes(self) -> list[Node]:
        sources = [
            Node(("log",), source=Table("source", "log")),
            Node(("gold",), source=Table("source", "gold"), entered=True),
        ]
        assets = [
            Node(
                (name,),
                content=str(self.definitions[name]),
                deps=tuple((read,) for read in reads),
                refresh=self.policies_of(name),
            )
            for name, reads in READS.items()
        ]
        return in_dependency_order([*sources, *assets])

    def tokens(self) -> dict[str, str]:
        return {name: str(rows) for name, rows in self.rows.items()}

    def snapshot(self) -> Snapshot:
        nodes, tokens = self.nodes(), self.tokens()
        wanted = {"/".join(k): v for k, v in wanted_versions(nodes, tokens).items()}
        running = dict.fromkeys(self.run, "run")
        return Snapshot(self.settings, nodes, wanted, self.states, running, self.now, tokens)

    def due(self, name: str, held: Mapping[str, Content]) -> Content:
        """What an asset would hold if it were computed from these."""
        return (
            name,
            self.definitions[name],
            *(held[r] if r in READS else (r, self.rows[r]) for r in READS[name]),
        )

    def latest(self) -> dict[str, Content]:
        """What every asset would hold if all were computed now; by hand, what it holds."""
        found: dict[str, Content] = {}
        for name in READS:
            kept = self.holds.get(name) if self.by_hand(name) else None
            found[name] = kept or self.due(name, found)
        return found

    # --- what happens ---------------------------------------------------------------------------
    def advance(self, seconds: float) -> None:
        self.now += dt.timedelta(seconds=seconds)

    def tick(self) -> list[str]:
        """What one tick requests; the run is active until it is finished."""
        snapshot = self.snapshot()
        if not self.run:
            self.run = [node.name for node in snapshot.asked]
            self.requested_at = self.now
            self.followed = {name: self.policies_of(name) for name in self.run}
        for name, version in snapshot.attempts_to_record(snapshot.asked).items():
            state = self.state(name)
            tries = state.tries_of(version) + 1
            self.states[name] = replace(
                state, failed_version=version, tries=tries, failed_at=self.now, error=None
            )
        return [node.name for node in snapshot.asked]

    def finish(self, *, by_person: bool = False) -> None:
        """Compute the assets of the run; after a failure, not those that depend on it."""
        lost: set[str] = set()
        for name in self.run:
            if lost.intersection(READS[name]):
                lost.add(name)
            elif name in self.dying:
                self._replace(name)
                lost.add(name)
            elif name in self.failing:
                self._fail(name)
                lost.add(name)
            else:
                self._succeed(name, by_person=by_person)
        self.run = []

    def compute_now(self) -> None:
        """A person computes everything that is stale."""
        if not self.run:
            self.run = [n.name for n in self.snapshot().nodes if n.name in self.snapshot().stale]
            self.finish(by_person=True)

    def until_quiet(self) -> None:
        """Ticks and runs until nothing is requested; some seconds pass."""
        for _ in range(30):
            self.finish()
            self.advance(1)
            if not self.tick():
                return
        raise AssertionError("never quiet")

    # --- records --------------------------------------------------------------------------------
    def state(self, name: str) -> AssetState:
        return self.states.get(name, NEVER)

    def _version(self, name: str) -> tuple[str, str]:
        node = next(node for node in self.nodes() if node.name == name)
        sources = {node.key: node for node in self.nodes() if node.source is not None}
        tokens = self.tokens()
        read = {
            dep: tokens[dep[0]] if dep in sources else self.state(dep[0]).version
            for dep in node.deps
        }
        lineages = {
            dep: lineage_of(sources[dep], {}, tokens[dep[0]])
            if dep in sources
            else self.state(dep[0]).lineage
            for dep in node.deps
        }
        return version_of(node, read), lineage_of(node, lineages)

    def _succeed(self, name: str, *, by_person: bool) -> None:
        version, lineage = self._version(name)
        after = self.due(name, self.holds)
        if not by_person:
            state = self.state(name)
            before = None if state.version is None or state.void else self.holds.get(name)
            followed = self.followed[name]
            self.log.append(
                Computed(name, followed, self.requested_at, before, after, state.read_at)
            )
        made_from = {"lineage": lineage, "read_at": self.now.isoformat()}
        self.holds[name] = after
        self.states[name] = AssetState(
            version=version, materialized_at=self.now, details={COMPUTED_FROM: made_from}
        )

    def _fail(self, name: str) -> None:
        state, (version, _) = self.state(name), self._version(name)
        pending = state.error is None and state.failed_version == version
        tries = state.tries_of(version) + (0 if pending else 1)
        self.states[name] = replace(
            state, failed_version=version, tries=tries, failed_at=self.now, error="no"
        )

    def _replace(self, name: str) -> None:
        state = self.state(name)
        if state.version is not None:
            self.states[name] = replace(state, version=f"{REPLACED}run")


def definitions_in(content: object) -> object:
    """The definitions in what an asset holds, and the rows that people entered."""
    if not isinstance(content, tuple):
        return content
    if content[0] == "log":
        return "log"
    return tuple(map(definitions_in, content))
