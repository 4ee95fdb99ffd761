"""Chooses which counts to hide in exports, so that small counts cannot be derived.

Cell suppression (Hundepool et al., *Statistical Disclosure Control*, 2012, chapter 4): counts from
1 to below ``k`` are hidden. As a parent minus its other children would reveal them, further cells
are hidden with them until no difference reveals too much. Zeros are usually shown, as an empty room
identifies nobody. But if a floor's twelve devices are in its only twelve occupied rooms, each room
has one; then the empty rooms are hidden too.

**What an attacker can derive.** Occupancy is a union. Let P be a space of which some children are
hidden. The shown numbers imply that the hidden children and the devices at P itself add up to at
least ``r = P - sum(shown children)``, and to exactly that if no device was in two of the spaces in
the same bin. This *disjoint* case reveals the most, and is the one guarded against. If ``r`` is too
small for it, devices were in several spaces, and a hidden child is only known to lie between its
minimum and P. In the disjoint case the hidden numbers below a shown space satisfy one equation.
Each can take any value from its minimum (1; 0 next to hidden empty rooms; for a hidden space with
children, what its children show) to that minimum plus the *slack*: the excess of ``r`` over the sum
of the minima. The devices at P itself, ``P - sum(children)``, count as one more child, never shown.

**What is guaranteed**, for each bin separately, with counts from 1 to below ``k`` being small:

* as far as the shown numbers reveal, a small count of a space without children can be anything
  from 1 (0 next to hidden empty rooms) to ``k`` or more;
* in the disjoint case, every hidden number, and the number of devices at a space itself if it is
  small, has at least ``k`` possible values; the minimum of a space with children is what is known
  to be below it. In other cases a number that is hidden only as cover may be revealed, but no small
  one;
* with labels, where a space is hidden with all its labels or not at all, in the disjoint case:
  every small count has at least two possible values, even given the totals, and the hidden spaces
  below a shown one have in total either 0 devices, or ``k`` or more.

**What is not guaranteed.** Bins of other widths are other numbers: an hour contains four quarters,
and a device in only one of them may be revealed. Similar days, or exports from before and after
late sessions or changes of tracking, are other data, and reveal more together. An attacker who
knows this procedure and tries it on every possible campus can rule out some of them. Nor is the
distribution of a count hidden where no small number is involved: that all forty devices in a room
are phones is shown.

The choice depends only on the counts of the whole tree, not on the request, so separate exports of
the same data hide the same cells and cannot be combined. Cover for a cell is its smallest shown
non-empty sibling (the first of equals), then all empty siblings without children, then the parent.
This is not optimal; the optimum is NP-hard (Kelly, Golden and Assad, "Cell suppression: disclosure
protection for sensitive tabular data", 1992).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tippers_dagster.campus.spaces.tree import SpaceTree

Counts = NDArray[np.integer]
Mask = NDArray[np.bool_]

_NEVER = np.iinfo(np.int64).max


def hide_counts(tree: SpaceTree, counts: Counts, smallest: int) -> Mask:
    """Which counts of a tree of spaces to hide.

    Parameters
    ----------
    tree
        The spaces, n of them.
    counts
        int [n, bins]: distinct devices, 0 where unknown.
    smallest
        Counts from 1 to below this are small; with 1 or less, none are.

    Returns
    -------
    bool [n, bins]
    """
    values = np.asarray(counts, np.int64)
    hidden = (values > 0) & (values < smallest)
    return _Tables(tree, values[None], hidden, smallest, floor=1).cover()


def hide_people(tree: SpaceTree, devices: Counts, people: Counts, smallest: int) -> Mask:
    """Which spaces to hide in counts of people and of other devices.

    Where the number of devices is hidden, these are hidden too: together they are a bound of it.
    An other device is in a space above one of the other devices there, or of no kind if its person
    is known elsewhere, so the numbers above reveal no more than with labels.

    Parameters
    ----------
    tree
        The spaces, n of them.
    devices
        int [n, bins]: all distinct devices, 0 where unknown.
    people
        int [2, n, bins]: distinct people, and other devices.
    smallest
        Counts from 1 to below this are small; with 1 or less, none are.

    Returns
    -------
    bool [n, bins]
    """
    return _hide_parts(tree, people, hide_counts(tree, devices, smallest), smallest)


def hide_labels(tree: SpaceTree, parts: Counts, smallest: int) -> Mask:
    """Which spaces to hide, with all their labels, in counts by label.

    If :func:`hide_counts` hides a space's total, its labels are hidden too, as they add up to it.

    Parameters
    ----------
    tree
        The spaces, n of them.
    parts
        int [labels, n, bins]: distinct devices per label; each device has one label.
    smallest
        Counts from 1 to below this are small; with 1 or less, none are.

    Returns
    -------
    bool [n, bins]
    """
    none = np.zeros(np.shape(parts)[1:], bool)
    return _hide_parts(tree, parts, none, smallest)


def _hide_parts(tree: SpaceTree, parts: Counts, hidden: Mask, smallest: int) -> Mask:
    values = np.asarray(parts, np.int64)
    small = ((values > 0) & (values < smallest)).any(axis=0)
    hidden = hidden | small | hide_counts(tree, values.sum(axis=0), smallest)
    return _Tables(tree, values, hidden, smallest, floor=0).cover()


class _Tables:
    """One table per label (or one for all devices) over the same spaces, hiding the same cells.

    ``floor`` is the minimum of a hidden number, unless empty siblings are hidden with it; it is 0
    if a space is hidden with all its labels, as some of them may be 0.
    """

    def __init__(
        self, tree: SpaceTree, values: Counts, hidden: Mask, smallest: int, *, floor: int
    ) -> None:
        self.tree, self.values, self.hidden = tree, values, hidden
        self.smallest, self.floor = smallest, floor
        self.totals = values.sum(axis=0)
        # Minimum of a space with children, if these share no devices, and if they may share some.
        self.disjoint = np.zeros(values.shape, np.int64)
        self.shared = np.zeros(values.shape, np.int64)
        self.children = [np.flatnonzero(tree.parent == i) for i in range(len(tree))]

    def cover(self) -> Mask:
        """Hide further cells as cover, from the deepest spaces up, completing each subtree."""
        if self.smallest <= 1:
            return self.hidden
        parents = np.flatnonzero(~self.tree.is_leaf)
        for p in parents[np.argsort(-self.tree.depth[parents], kind="stable")]:
            self._protect(int(p))
            self._update_minima(int(p), np.arange(self.hidden.shape[1]))
        return self.hidden

    def _protect(self, p: int) -> None:
        """Hide children of a space, then the space itself, until differences reveal nothing."""
        own = self._own(p)
        few = ((own > 0) & (own < self.smallest)).any(axis=0)
        bins = np.flatnonzero(~self.hidden[p] & (few | self.hidden[self.children[p]].any(axis=0)))
        while bins.size:
            bins = bins[~self._safe(p, bins)]
            chosen = self._smallest_shown(p, bins)
            for child in np.unique(chosen[chosen >= 0]):
                self._hide(int(child), bins[chosen == child])
            without = bins[chosen < 0]
            emptied = self._hide_empty(p, without)
            self.hidden[p, without[~emptied]] = True
            bins = np.concatenate([bins[chosen >= 0], without[emptied]])

    def _safe(self, p: int, bins: Counts) -> Mask:
        """bool per bin: a shown space and its children do not reveal too much."""
        hidden, disjoint, shared = self._minima(p, bins)
        at = np.ix_(np.arange(len(self.values)), self.children[p], bins)
        own = self._own(p)[:, bins]
        rest = self.values[:, p, bins] - np.where(hidden, 0, self.values[at]).sum(axis=1)
        members = hidden.sum(axis=0) + (own > 0).any(axis=0)
        slack = rest - np.where(hidden, disjoint, 0).sum(axis=1) - self.floor * (own > 0)
        overlaps = rest < np.where(hidden, shared, 0).sum(axis=1)
        none_left = (rest == 0) & (self.floor == 0)
        safe: Mask = (overlaps | ((members >= 2) & (slack >= self.smallest)) | none_left).all(
            axis=0
        )
        return safe

    def _minima(self, p: int, bins: Counts) -> tuple[Mask, Counts, Counts]:
        """Which children are hidden [children, bins], and the minimum of each in the disjoint and
        in the shared case [labels, children, bins].
        """
        children = self.children[p]
        hidden = self.hidden[children][:, bins]
        empty = (hidden & (self.totals[children][:, bins] == 0)).any(axis=0)
        leaf = self.tree.is_leaf[children][:, None]
        at = np.ix_(np.arange(len(self.values)), children, bins)
        floor = np.where(empty, 0, self.floor)
        disjoint, shared = (np.where(leaf, floor, a[at]) for a in (self.disjoint, self.shared))
        return hidden, disjoint, shared

    def _smallest_shown(self, p: int, bins: Counts) -> Counts:
        """Per bin, the shown non-empty child with the fewest devices; -1 if there is none."""
        children = self.children[p]
        totals = self.totals[children][:, bins]
        shown = ~self.hidden[children][:, bins] & (totals > 0)
        totals = np.where(shown, totals, _NEVER)
        smallest = totals.argmin(axis=0)
        return np.where(totals[smallest, np.arange(bins.size)] < _NEVER, children[smallest], -1)

    def _hide_empty(self, p: int, bins: Counts) -> Mask:
        """Hide all empty children that are leaves; returns in which bins there were any.

        With labels they give no cover: their totals reveal that they are empty.
        """
        if not self.floor:
            return np.zeros(bins.size, bool)
        children = self.children[p][self.tree.is_leaf[self.children[p]]]
        at = np.ix_(children, bins)
        empty = ~self.hidden[at] & (self.totals[at] == 0)
        self.hidden[at] |= empty
        found: Mask = empty.any(axis=0)
        return found

    def _hide(self, space: int, bins: Counts) -> None:
        """Hide a space as cover, and enough below it that its children do not reveal it."""
        self.hidden[space, bins] = True
        if not len(self.children[space]):
            return
        revealed = ~self.hidden[self.children[space]][:, bins].any(axis=0)
        revealed &= ~(self._own(space)[:, bins] > 0).any(axis=0)
        revealed_bins = bins[revealed]
        chosen = self._smallest_shown(space, revealed_bins)
        for child in np.unique(chosen[chosen >= 0]):
            self._hide(int(child), revealed_bins[chosen == child])
        self._update_minima(space, bins)

    def _own(self, p: int) -> Counts:
        """Devices at the space itself, if no device was in two spaces: [labels, bins]."""
        return np.maximum(self.values[:, p] - self.values[:, self.children[p]].sum(axis=1), 0)

    def _update_minima(self, p: int, bins: Counts) -> None:
        """Update the minimum of a space from what is shown below it."""
        hidden, disjoint, shared = self._minima(p, bins)
        shown = self.values[np.ix_(np.arange(len(self.values)), self.children[p], bins)]
        own = self.floor * (self._own(p)[:, bins] > 0)
        minimum = np.where(hidden, disjoint, shown).sum(axis=1) + own
        self.disjoint[:, p, bins] = np.maximum(minimum, self.floor)
        minimum = np.where(hidden, shared, shown).max(axis=1)
        self.shared[:, p, bins] = np.maximum(minimum, self.floor)
