"""The graph of source tables, staging models and definition assets, with the status of each."""

from __future__ import annotations

import datetime as dt
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal

from streamlit_app.services.app import App
from streamlit_app.services.words import percent
from tippers_dagster.automation.tokens import MISSING
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Definition
from tippers_dagster.platform.text import counted

if TYPE_CHECKING:
    from tippers_dagster.automation.nodes import Node
    from tippers_dagster.automation.snapshot import Snapshot
    from tippers_dagster.graph.load import Pipeline
    from tippers_dagster.graph.status import AssetStatus
    from tippers_dagster.settings import Settings

Standing = Literal["fresh", "waiting", "stale", "running", "failed", "broken", "source"]

STANDINGS: Mapping[Standing, str] = {
    "failed": "failed",
    "broken": "broken",
    "running": "running",
    "stale": "stale",
    "waiting": "waiting for a refresh",
    "fresh": "up to date",
}
"""Standings of computed assets as pages name them, the worst first; sources have none of these."""

SOURCE, STAGING, SYNCED = "source table", "staging model", "synced tables"
"""Kinds of nodes that have no definition."""

TABLES = (SOURCE, STAGING, SYNCED)

EXTRA_ASSETS = ("champion", "predictions", "forecast")
"""Further assets of one definition; each name ends in two underscores and one of these words."""


@dataclass(frozen=True, eq=False)
class Graph:
    """All definition assets and what they read, at one moment."""

    pipeline: Pipeline
    snapshot: Snapshot

    @property
    def catalog(self) -> Catalog:
        """The definitions."""
        return self.pipeline.catalog

    @cached_property
    def items(self) -> dict[str, Item]:
        """All nodes by name, each after the nodes that it reads."""
        return {n.name: self._item(n, self.statuses.get(n.name)) for n in self.pipeline.nodes}

    @cached_property
    def statuses(self) -> dict[str, AssetStatus]:
        """The status of each asset, by name; sources have none."""
        from tippers_dagster.graph.status import pipeline_status

        return {s.name: s for s in pipeline_status(self.pipeline, self.snapshot)}

    @cached_property
    def concepts(self) -> list[str]:
        """All concepts, by level."""
        definitions = self.catalog.of_kind(Kind.CONCEPT, broken=True)
        names = {d.ref.name for d in definitions}
        names |= {item.concept for item in self.items.values() if item.concept}
        return sorted(names, key=lambda name: (self.catalog.level(name), name))

    def _item(self, node: Node, status: AssetStatus | None) -> Item:
        if status is None:
            return self._source(node)
        definition = self.pipeline.definitions.get(node.name)
        standing, why = _standing(status, self.snapshot)
        return Item(
            name=node.name,
            kind=_kind(node, definition),
            concept=definition.ref.concept if definition else "",
            standing=standing,
            why=why,
            rows=status.rows,
            coverage=self.snapshot.state(node.name).details.get("coverage"),
            seconds=status.seconds,
            materialized_at=status.materialized_at,
            run_id=status.run_id,
            reads=tuple("/".join(dep) for dep in node.deps),
        )

    def _source(self, node: Node) -> Item:

        assert node.source is not None
        table = f"{node.source.schema}.{node.source.name}"
        missing = self.snapshot.wanted.get(node.name) == MISSING
        why = f"There is no table {table}." if missing else ""
        # A query reads part of the records of an asset.
        title = table if node.source.query is None else node.name
        return Item(node.name, SOURCE, "", "failed" if missing else "source", why, title=title)


@dataclass(frozen=True)
class Item:
    """One node.

    Attributes
    ----------
    name
        The asset's name, such as ``device/devices``.
    kind
        A kind of definition, ``SOURCE``, ``STAGING``, ``SYNCED``, or one of ``EXTRA_ASSETS``.
    why
        One sentence that explains the standing; empty for a fresh node.
    coverage
        Share of entities for which a labelling function or label model does not abstain.
    reads
        Names of the nodes that it reads.
    """

    name: str
    kind: str
    concept: str
    standing: Standing
    why: str
    rows: int | None = None
    coverage: float | None = None
    seconds: float | None = None
    materialized_at: dt.datetime | None = None
    run_id: str | None = None
    reads: tuple[str, ...] = ()
    title: str = ""

    @property
    def shown(self) -> str:
        """The name without the concept."""
        return self.title or self.name.rpartition("/")[2]

    @property
    def reference(self) -> str:
        """The name as definitions write it, such as ``device.devices``."""
        return self.name.replace("/", ".")

    @property
    def standing_in_words(self) -> str:
        """The standing as pages name it."""
        return STANDINGS.get(self.standing, self.standing)

    @property
    def facts(self) -> str:
        """The coverage, else the number of rows; empty if neither is known."""
        if self.coverage is not None:
            return f"covers {percent(self.coverage)}"
        return "" if self.rows is None else counted(self.rows, "row")


def load_graph(app: App) -> Graph:
    """The graph as it is now; takes some hundredths of a second once the definitions are parsed.

    Raises
    ------
    TippersError
        The warehouse is unavailable.
    """
    from tippers_dagster.automation.snapshot import Snapshot
    from tippers_dagster.graph.changes import definitions_stamp

    pipeline = _pipeline(app.settings, definitions_stamp(app.settings))
    return Graph(pipeline, Snapshot.take(app.settings, app.instance, pipeline.nodes))


def count_in_words(items: Iterable[Item]) -> str:
    """A sentence that counts items by standing."""
    counts = Counter(item.standing for item in items if item.standing in STANDINGS)
    total = sum(counts.values())
    if not total:
        return "No definitions yet."
    parts = [f"{counts[s]:,} {word}" for s, word in STANDINGS.items() if counts[s]]
    return f"{counted(total, 'definition')}: {', '.join(parts)}."


_parsing = threading.Lock()


def _pipeline(settings: Settings, stamp: str) -> Pipeline:
    """The parsed definitions of this stamp. Parsing takes seconds: only one session does it."""
    with _parsing:
        return _parse(settings, stamp)


@lru_cache(maxsize=2)
def _parse(settings: Settings, stamp: str) -> Pipeline:
    from tippers_dagster.graph.load import load_pipeline

    return load_pipeline(settings)


def _kind(node: Node, definition: Definition | None) -> str:
    if node.key[0] == Kind.CONNECTION:
        return SYNCED
    if definition is None:
        return STAGING
    suffix = node.key[-1].rpartition("__")[2]
    return suffix if suffix in EXTRA_ASSETS else definition.ref.kind.value


def _standing(status: AssetStatus, snapshot: Snapshot) -> tuple[Standing, str]:
    """Dagster's runs hold their assets until they end; those already computed count as fresh."""
    run = snapshot.running.get(status.name)
    done = run is not None and snapshot.state(status.name).run_id == run
    if done and status.name not in snapshot.stale:
        return "fresh", ""
    return status.standing, status.why
