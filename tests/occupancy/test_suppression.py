"""Someone who knows the shown numbers, the rules and the tree cannot derive small counts.

The attacker is a linear program: with all that is shown as equations, how low and how high can a
hidden number be? The product does not compute this.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.occupancy.suppression import hide_counts, hide_labels

MUCH = 1000
"""More than any count: the value of unbounded numbers."""


def tree_of(parents: dict[str, str | None]) -> SpaceTree:
    names = list(parents)
    return SpaceTree.from_table(
        pa.table(
            {
                "space_id": names,
                "space_name": names,
                "building_room": pa.nulls(len(names), pa.string()),
                "parent_space_id": pa.array(list(parents.values()), pa.string()),
            }
        )
    )


def random_tree(rng: np.random.Generator) -> SpaceTree:
    n = int(rng.integers(2, 9))
    parents: dict[str, str | None] = {"0": None}
    for i in range(1, n):
        # A few wide levels rather than a chain.
        parents[str(i)] = str(rng.integers(0, min(i, 4)))
    return tree_of(parents)


def own_counts(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Devices at a space itself: often none or few."""
    kind = rng.integers(0, 4, shape)
    return np.choose(
        kind,
        [
            np.zeros(shape),
            rng.integers(1, 4, shape),
            rng.integers(1, 12, shape),
            np.full(shape, 40),
        ],
    ).astype(np.int64)


def lowest(tree: SpaceTree, total: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """The minimum of a hidden number: 0 next to hidden zeros, otherwise 1."""
    found = np.ones(len(tree), np.int64)
    for i in np.flatnonzero(hidden & (total == 0)):
        found[tree.is_leaf & (tree.parent == tree.parent[i])] = 0
    return found


class Attacker:
    """Bounds of a hidden number over all disjoint cases consistent with the shown numbers.

    It knows at which spaces with children devices were at the space itself, and beside which
    hidden numbers there are hidden zeros.
    """

    def __init__(
        self, tree: SpaceTree, own: np.ndarray, total: np.ndarray, hidden: np.ndarray
    ) -> None:
        # Variables: devices at each space itself.
        n = len(tree)
        below = np.zeros((n, n))
        for i in range(n):
            below[i, i : i + tree.size[i]] = 1
        self.below = below
        self.low = np.where(hidden, lowest(tree, total, hidden), total)
        self.high = np.where(hidden, MUCH, total)
        at_itself = tree.is_leaf | (own > 0)
        least = np.where(~tree.is_leaf & (own > 0), 1, 0)
        self.bounds = Bounds(least, np.where(at_itself, MUCH, 0))

    def range_of(self, row: np.ndarray) -> tuple[float, float]:
        found = []
        for sign in (1, -1):
            done = milp(
                sign * row,
                constraints=LinearConstraint(self.below, self.low, self.high),
                bounds=self.bounds,
                integrality=np.ones(len(row)),
            )
            found.append(sign * done.fun)
        return found[0], found[1]


@pytest.mark.parametrize("seed", range(8))
def test_no_difference_reveals_a_small_count(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(12):
        tree, k = random_tree(rng), int(rng.integers(2, 6))
        own = own_counts(rng, (len(tree), 1))
        total = tree.subtree_sums(own)
        hidden = hide_counts(tree, total, k)[:, 0]
        own, total = own[:, 0], total[:, 0]
        assert hidden[(total > 0) & (total < k)].all()
        assert tree.is_leaf[hidden & (total == 0)].all()
        attacker = Attacker(tree, own, total, hidden)
        for i in np.flatnonzero(hidden):
            low, high = attacker.range_of(attacker.below[i])
            assert low <= total[i] <= high
            assert high - low >= k - 1, (tree.parent, own, total, hidden, i)
            if total[i] < k and tree.is_leaf[i]:
                assert low <= 1
                assert high >= k
        for i in np.flatnonzero(~tree.is_leaf & (own > 0) & (own < k)):
            low, high = attacker.range_of(np.eye(len(tree))[i])
            assert high - low >= k - 1, (tree.parent, own, total, hidden, i)


@pytest.mark.parametrize("seed", range(8))
def test_bounds_are_also_wide_if_devices_are_in_several_spaces(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    for _ in range(12):
        tree, k = random_tree(rng), int(rng.integers(2, 6))
        present = rng.random((len(tree), int(rng.integers(1, 30)))) < rng.random((len(tree), 1)) / 2
        there = np.array([present[i : i + tree.size[i]].any(axis=0) for i in range(len(tree))])
        total = there.sum(axis=1)
        hidden = hide_counts(tree, total[:, None], k)[:, 0]
        for i in np.flatnonzero(hidden & (total < k)):
            low, high = union_range(tree, total, hidden, present.any(axis=1), int(i))
            assert low <= 1, (tree.parent, total, hidden, i)
            assert high >= k, (tree.parent, total, hidden, i)


def union_range(
    tree: SpaceTree, total: np.ndarray, hidden: np.ndarray, own: np.ndarray, of: int
) -> tuple[float, float]:
    """A parent has at least each child's number, and at most all of theirs and its own.

    Any such numbers are those of some sets of devices.
    """
    n = len(tree)
    rows, low, high = [], [], []
    for i in range(n):
        children = np.flatnonzero(tree.parent == i)
        for child in children:
            row = np.zeros(n)
            row[i], row[child] = 1, -1
            rows, low, high = [*rows, row], [*low, 0], [*high, np.inf]
        if children.size and not own[i]:
            row = np.zeros(n)
            row[i], row[children] = 1, -1
            rows, low, high = [*rows, row], [*low, -np.inf], [*high, 0]
    bounds = Bounds(
        np.where(hidden, lowest(tree, total, hidden), total), np.where(hidden, MUCH, total)
    )
    constraints = LinearConstraint(np.array(rows), low, high)
    cost = np.eye(n)[of]
    lowest_found, most = (
        milp(sign * cost, constraints=constraints, bounds=bounds, integrality=np.ones(n)).fun
        for sign in (1, -1)
    )
    return lowest_found, -most


@pytest.mark.parametrize("seed", range(8))
def test_labels_and_their_total_do_not_reveal_a_small_count(seed: int) -> None:
    rng = np.random.default_rng(200 + seed)
    for _ in range(8):
        tree, k, labels = random_tree(rng), int(rng.integers(2, 6)), int(rng.integers(2, 4))
        own = own_counts(rng, (labels, len(tree)))
        parts = np.stack([tree.subtree_sums(o) for o in own])
        hidden = hide_labels(tree, parts[:, :, None], k)[:, 0]
        totals_hidden = hide_counts(tree, parts.sum(axis=0)[:, None], k)[:, 0]
        assert hidden[totals_hidden].all()
        small = (parts > 0) & (parts < k)
        assert hidden[small.any(axis=0)].all()
        for label, i in np.argwhere(small):
            low, high = label_range(tree, own, parts, hidden, totals_hidden, int(label), int(i))
            assert low <= parts[label, i] <= high
            assert low < high, (tree.parent, own, parts, hidden, label, i, k)


def label_range(
    tree: SpaceTree,
    own: np.ndarray,
    parts: np.ndarray,
    hidden: np.ndarray,
    totals_hidden: np.ndarray,
    label: int,
    space: int,
) -> tuple[float, float]:
    labels, n = own.shape
    below = np.zeros((n, n))
    for i in range(n):
        below[i, i : i + tree.size[i]] = 1
    # The shown numbers per label, and the shown totals over all labels.
    rows = [np.kron(np.eye(labels)[a], below[i]) for a in range(labels) for i in range(n)]
    rows += [np.tile(below[i], labels) for i in range(n)]
    shown = np.concatenate([parts.ravel(), parts.sum(axis=0)])
    masked = np.concatenate([np.tile(hidden, labels), totals_hidden])
    least = np.where(masked, 0, shown)
    total = shown[labels * n :]
    least[labels * n :] = np.where(totals_hidden, lowest(tree, total, totals_hidden), total)
    at_itself = np.tile(tree.is_leaf | (own.sum(axis=0) > 0), labels)
    cost = np.kron(np.eye(labels)[label], below[space])
    found = []
    for sign in (1, -1):
        done = milp(
            sign * cost,
            constraints=LinearConstraint(np.array(rows), least, np.where(masked, MUCH, shown)),
            bounds=Bounds(0, np.where(at_itself, MUCH, 0)),
            integrality=np.ones(labels * n),
        )
        found.append(sign * done.fun)
    return found[0], found[1]


ROOMS = tree_of({"campus": None, "hall": "campus", "a": "hall", "b": "hall", "c": "hall"})


def hidden_names(counts: list[int], k: int = 5) -> set[str]:
    mask = hide_counts(ROOMS, np.array(counts)[:, None], k)[:, 0]
    return {name for name, hides in zip(ROOMS.ids, mask, strict=True) if hides}


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([30, 30, 10, 20, 0], set()),
        # One small room would be the hall minus the others: the smallest other is hidden with it.
        ([33, 33, 3, 10, 20], {"a", "b"}),
        # Two small ones with too small a remainder: 2 can only be 1 and 1.
        ([22, 22, 1, 1, 20], {"a", "b", "c"}),
        # All are small.
        ([3, 3, 3, 0, 0], {"campus", "hall", "a"}),
        ([5, 5, 5, 0, 0], set()),
        # Enough is left of the two for each to be anything from 1 to 6; or not enough, and the
        # empty room goes with them; and where there is none, the hall, and so the campus.
        ([7, 7, 3, 4, 0], {"a", "b"}),
        ([6, 6, 3, 3, 0], {"a", "b", "c"}),
        ([6, 6, 2, 2, 2], {"campus", "hall", "a", "b", "c"}),
        ([43, 43, 3, 40, 0], {"a", "b"}),
        # Few devices are at the hall itself, and the difference would reveal them.
        ([32, 32, 10, 20, 0], {"a"}),
        # The rooms have more than the hall: devices were in several, so differences reveal nothing.
        ([20, 20, 3, 15, 12], {"a"}),
        ([6, 6, 6, 6, 6], set()),
        ([0, 0, 0, 0, 0], set()),
    ],
)
def test_examples(counts: list[int], expected: set[str]) -> None:
    assert hidden_names(counts) == expected


def test_nothing_is_hidden_without_a_smallest_count() -> None:
    assert hidden_names([3, 3, 3, 0, 0], k=0) == set()
    assert hidden_names([3, 3, 3, 0, 0], k=1) == set()


def test_bins_are_independent() -> None:
    rng = np.random.default_rng(3)
    own = own_counts(rng, (len(ROOMS), 50))
    counts = ROOMS.subtree_sums(own)
    together = hide_counts(ROOMS, counts, 5)
    alone = [hide_counts(ROOMS, counts[:, i : i + 1], 5)[:, 0] for i in range(50)]
    assert (together == np.stack(alone, axis=1)).all()


def test_a_campus_at_night_keeps_its_total() -> None:
    """A printer in every second room: each would be revealed by its floor's number."""
    floors = {f"f{i}": "campus" for i in range(3)}
    rooms = {f"{floor}r{i}": floor for floor in floors for i in range(16)}
    tree = tree_of({"campus": None, **floors, **rooms})
    own = np.array([[int(tree.is_leaf[i] and i % 2)] for i in range(len(tree))])
    counts = tree.subtree_sums(own)
    hidden = hide_counts(tree, counts, 5)[:, 0]
    assert counts[0, 0] == 24
    assert hidden.tolist() == tree.is_leaf.tolist()
