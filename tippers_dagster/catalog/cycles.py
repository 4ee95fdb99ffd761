"""Topological order of a graph that may contain cycles."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from tippers_dagster.catalog.model import Ref


def topological_order(
    reads: Mapping[Ref, tuple[Ref, ...]],
) -> tuple[tuple[Ref, ...], dict[Ref, str]]:
    """Order a graph, and describe the cycle of each node that is part of one.

    A node that only reads a cycle is in the order, but not among the cycles.
    """
    graph = dict(reads)
    cycles: dict[Ref, str] = {}
    while True:
        try:
            return tuple(TopologicalSorter(graph).static_order()), cycles
        except CycleError as error:
            # Its path begins and ends with the same node; each node precedes one that reads it.
            path = list(reversed(error.args[1]))
            sentence = f"It depends on itself: {' reads '.join(map(str, path))}."
            for ref in path[1:]:
                cycles[ref] = sentence
                graph[ref] = ()
