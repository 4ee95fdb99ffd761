"""The part of the graph that the canvas draws, and where people put its nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streamlit_app.services.app import App
from streamlit_app.services.pipeline.graph import SOURCE, STAGING, Graph, Item
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.graph.positions import delete_positions, load_positions, save_positions

_NEXT_LEVEL = (Kind.DERIVED_INDEX, Kind.LABELLED_OCCUPANCY, Kind.PEOPLE_COUNT)
"""Kinds that are drawn beside the concept they read from, although they do not belong to it."""


@dataclass(frozen=True)
class Edge:
    """``child`` reads ``parent``.

    ``through``: only by way of staging models that are not drawn. ``implied``: there is also a
    longer path between the two.
    """

    parent: str
    child: str
    through: bool = False
    implied: bool = False


@dataclass(frozen=True)
class Picture:
    """What the canvas draws for one concept, or for all concepts if ``concept`` is empty.

    Attributes
    ----------
    items
        The concept's own nodes, the nodes that they read, and the first nodes of the next level.
    hidden
        Staging models that are neither drawn nor fresh.
    places
        Positions that people chose by dragging nodes.
    """

    concept: str
    items: dict[str, Item]
    edges: list[Edge]
    hidden: list[Item]
    places: dict[str, tuple[float, float]]

    @property
    def members(self) -> list[Item]:
        """The concept's own definitions."""
        return [i for i in self.items.values() if i.concept and self.holds(i)]

    def holds(self, item: Item) -> bool:
        """Whether a node belongs to the concept itself, not just to its surroundings."""
        return not self.concept or item.concept == self.concept

    @property
    def stale(self) -> list[str]:
        """Names of waiting, stale and failed nodes, hidden staging models included."""
        drawn = [*self.items.values(), *self.hidden]
        wanted = [
            i for i in drawn if i.standing in ("waiting", "stale", "failed") and i.kind != SOURCE
        ]
        return [i.name for i in wanted if self.holds(i) or not i.concept]


def picture(app: App, graph: Graph, concept: str = "", *, staging: bool = False) -> Picture:
    """What the canvas draws.

    Parameters
    ----------
    concept
        Empty for all concepts at once.
    staging
        Also draw the models between source tables and definitions.
    """
    near = _neighbourhood(graph, concept)
    drawn = {n: i for n, i in near.items() if staging or i.kind != STAGING}
    edges = [
        edge
        for edge in _edges(graph.items, drawn)
        # Paths from source tables to other concepts would only clutter this picture.
        if not (edge.through and concept and drawn[edge.child].concept != concept)
    ]
    if not staging and edges:
        joined = {name for edge in edges for name in (edge.parent, edge.child)}
        drawn = {n: i for n, i in drawn.items() if i.concept or n in joined}
    hidden = [
        i for n, i in near.items() if n not in drawn and i.standing not in ("fresh", "source")
    ]
    return Picture(concept, drawn, edges, hidden, load_positions(app.settings, concept))


def save_places(app: App, drawn: Picture, places: Mapping[str, Sequence[float]]) -> None:
    """Keep the positions of dragged nodes; unknown nodes and invalid positions are ignored."""
    app.person.require(Role.ANALYST, "arrange the canvas")
    valid = {
        name: (float(place[0]), float(place[1]))
        for name, place in places.items()
        if name in drawn.items and len(place) == 2 and all(math.isfinite(v) for v in place)
    }
    save_positions(app.settings, drawn.concept, valid, by=app.person.name)


def reset_layout(app: App, concept: str) -> None:
    """Forget all positions, so that the automatic layout applies again."""
    app.person.require(Role.ANALYST, "arrange the canvas")
    delete_positions(app.settings, concept)


def _neighbourhood(graph: Graph, concept: str) -> dict[str, Item]:
    """A concept's nodes, their ancestors up to other concepts, and the next level."""
    if not concept:
        return dict(graph.items)
    wanted = {i.name for i in graph.items.values() if i.concept == concept}
    to_visit = [name for member in wanted for name in graph.items[member].reads]
    below = {
        i.name
        for i in graph.items.values()
        if i.kind in _NEXT_LEVEL and wanted.intersection(i.reads)
    }
    while to_visit:
        name = to_visit.pop()
        if name not in wanted and name in graph.items:
            wanted.add(name)
            if not graph.items[name].concept:
                to_visit.extend(graph.items[name].reads)
    return {n: i for n, i in graph.items.items() if n in wanted or n in below}


def _edges(items: Mapping[str, Item], drawn: Mapping[str, Item]) -> list[Edge]:
    """Edges between drawn nodes; through hidden nodes only where no other path exists."""
    edges = []
    ancestors: dict[str, set[str]] = {}
    for name, item in items.items():
        direct = [dep for dep in item.reads if dep in items]
        ancestors[name] = set(direct).union(*(ancestors[dep] for dep in direct))
        if name not in drawn:
            continue
        parents = [dep for dep in direct if dep in drawn]
        reached = set(parents).union(*(ancestors[dep] for dep in direct if items[dep].concept))
        hidden = [dep for dep in direct if dep not in drawn]
        through = _nearest_drawn(hidden, items, drawn) - reached
        above_parents = set[str]().union(*(ancestors[dep] for dep in parents))
        edges += [Edge(dep, name, implied=dep in above_parents) for dep in parents]
        edges += [Edge(dep, name, through=True) for dep in sorted(through)]
    return edges


def _nearest_drawn(
    names: Sequence[str], items: Mapping[str, Item], drawn: Mapping[str, Item]
) -> set[str]:
    """The nearest drawn nodes at or above the given ones."""
    found, to_visit, visited = set[str](), list(names), set[str]()
    while to_visit:
        name = to_visit.pop()
        if name in visited or name not in items:
            continue
        visited.add(name)
        if name in drawn:
            found.add(name)
        else:
            to_visit.extend(items[name].reads)
    return found
