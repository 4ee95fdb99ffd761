"""An order in which everything comes after what it reads, also where some read in circles."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from tippers_dagster.catalog.model import Ref


def topological_order(
    reads: Mapping[Ref, tuple[Ref, ...]],
) -> tuple[tuple[Ref, ...], dict[Ref, str]]:
    """Order a graph, and say for each that is part of a circle what the circle is.

    What reads a circle without being part of it is in the order, and not among the circles.
    """
    graph = dict(reads)
    circles: dict[Ref, str] = {}
    while True:
        try:
            return tuple(TopologicalSorter(graph).static_order()), circles
        except CycleError as error:
            # Its path begins and ends with the same one, each before one that reads it.
            path = list(reversed(error.args[1]))
            sentence = f"It stands on itself: {' reads '.join(map(str, path))}."
            for ref in path[1:]:
                circles[ref] = sentence
                graph[ref] = ()
