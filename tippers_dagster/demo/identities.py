"""What user names add to counting people, on a simulated campus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.demo.headcounts import WIDTH, Truth
from tippers_dagster.occupancy.reading import read_counts
from tippers_dagster.people.counts.calibration import errors
from tippers_dagster.people.counts.reading import NotCounted, people_counter
from tippers_dagster.settings import Settings

PEOPLE_COUNT = "phones"
"""The people count that comes with the project."""


@dataclass(frozen=True)
class Identified:
    """How many people are known by user name in a space, on held-out days: means over bins.

    Attributes
    ----------
    space
        Its name.
    people
        True number.
    known, others
        People known by user name, and the devices of all others.
    error
        Mean absolute error of both together, in people.
    devices_error
        That of all devices.
    estimate_error
        That of the people count; None if there is none.
    """

    space: str
    people: float
    known: float
    others: float
    error: float
    devices_error: float
    estimate_error: float | None


def evaluate_identities(settings: Settings) -> list[Identified]:
    """Compare people by user name with the truth, on the campus and in a typical building.

    Nothing if nobody is known by name.

    Raises
    ------
    NoTruth
        When the campus is not simulated.
    """
    tree = load_tree(settings)
    truth = Truth(settings, tree)
    spaces = _campus_and_building(tree, truth)
    asked = (spaces, truth.span.first, truth.span.last, WIDTH)
    people = read_counts(*asked, settings=settings, count="people")
    if not people.counts.any():
        return []
    devices = read_counts(*asked, settings=settings).counts
    estimates = _estimates(settings, truth, spaces)
    found = []
    for i, space in enumerate(spaces):
        true, known, others, every = (
            counts[truth.held_out].astype(np.float64)
            for counts in (truth.every(space), people.counts[i], people.others[i], devices[i])
        )
        estimate = estimates[i][truth.held_out] if estimates else None
        found.append(
            Identified(
                space=tree.names[tree.position(space)],
                people=float(true.mean()),
                known=float(known.mean()),
                others=float(others.mean()),
                error=errors(known + others, true).mae,
                devices_error=errors(every, true).mae,
                estimate_error=None if estimate is None else errors(estimate, true).mae,
            )
        )
    return found


def _campus_and_building(tree: SpaceTree, truth: Truth) -> list[str]:
    """The busiest root, and of its buildings (children that have children) the middle one."""

    def people(space: str) -> int:
        return int(truth.every(space).sum())

    campus = max(tree.roots, key=people)
    inside = [s for s in tree.children(campus) if not tree.is_leaf[tree.position(s)]]
    return [campus, *sorted(inside, key=people)[len(inside) // 2 :][:1]]


def _estimates(
    settings: Settings, truth: Truth, spaces: Sequence[str]
) -> list[NDArray[np.float64]] | None:
    try:
        counter = people_counter(settings, PEOPLE_COUNT)
    except NotCounted:
        return None
    return [found.people for found in truth.estimates(counter, list(spaces))]
