"""Which counts to hide in what is exported, so that small ones cannot be told.

Cell suppression (Hundepool et al., *Statistical Disclosure Control*, 2012, chapter 4): counts from
1 to below ``k`` are hidden; and because a parent less its other children would give them away,
further cells are hidden with them, until no difference tells too much. Zeros are shown where they
help nobody: that nobody is somewhere points at nobody. But where a floor's twelve devices are in
the only twelve rooms that are not empty, each has one; then its empty rooms are hidden as well.

**What an attacker can tell.** Occupancy is a union. Of a space P with children, of which those in
H are hidden, the shown numbers say that the children in H and the devices that were at P itself
number at least ``r = P - sum(shown children)``, together. If no device was in two of the spaces in
the same bin, it is equal to that. So this *disjoint* case tells the most, and it is the one that is
guarded against; where ``r`` is too small for it, devices were in several spaces, and nothing is
known of a hidden child but that it has from its lowest value to P. In the disjoint case the hidden
numbers below a shown space obey one equation, and each can take any value from its lowest (1; 0
beside hidden empty rooms; for a hidden space with children what they show together) up to that plus
the *slack*, what ``r`` is above all these lowest values. Devices at P itself, ``P - sum(children)``
of them, are one more child, never shown.

**What is promised**, for each bin by itself, with counts from 1 to below ``k`` small:

* a small count of a space without children may, for all that the shown numbers tell, be anything
  from 1, or from 0 beside hidden empty rooms, to ``k`` or more;
* in the disjoint case, of every hidden number, and of the devices at a space itself where these
  are few, at least ``k`` values are possible; the lowest of a space with children is what is known
  to be below it. In others a number that is hidden for cover only may be told, no small one is;
* by labels, where a space is hidden with all its labels or not at all, in the disjoint case: of
  every small count at least two values are possible, also with the totals beside it, and those of
  the hidden spaces below a shown one together are none, or ``k`` or more.

**What is not**: bins of other widths are other numbers (a bin of an hour holds four of a quarter,
and a device in only one of them may be told); days alike, or exports before and after sessions came
late or other spaces were tracked, are other data, and together say more. Who knows this procedure
and tries it on every possible campus can rule out some of them. Nor does it hide how a count is
distributed where no small number is involved: that all forty devices of a room are phones is shown.

The choice depends on the counts of the whole tree and on nothing in the request, so that separate
exports of the same data hide the same and cannot be combined. Among the siblings of a cell that
needs cover the smallest that is shown is taken, the first of equals; then all empty ones without
children; then the parent. It is no optimum, which is NP-hard (Kelly, Golden and Assad, "Cell
suppression: disclosure protection for sensitive tabular data", 1992).
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
        int [n, bins]: distinct devices, 0 where nothing is known.
    smallest
        Counts from 1 to below it are small; up to 1: none are.

    Returns
    -------
    bool [n, bins]
    """
    values = np.asarray(counts, np.int64)
    hidden = (values > 0) & (values < smallest)
    return _Tables(tree, values[None], hidden, smallest, floor=1).cover()


def hide_labels(tree: SpaceTree, parts: Counts, smallest: int) -> Mask:
    """Which spaces to hide in a split by labels, with all their labels.

    Where the whole of a space is hidden by :func:`hide_counts`, its labels are, too: they would
    add up to it.

    Parameters
    ----------
    tree
        The spaces, n of them.
    parts
        int [labels, n, bins]: distinct devices of each label; each device has one.
    smallest
        Counts from 1 to below it are small; up to 1: none are.

    Returns
    -------
    bool [n, bins]
    """
    values = np.asarray(parts, np.int64)
    small = ((values > 0) & (values < smallest)).any(axis=0)
    hidden = small | hide_counts(tree, values.sum(axis=0), smallest)
    return _Tables(tree, values, hidden, smallest, floor=0).cover()


class _Tables:
    """One table per label (or one for all devices) over the same spaces, hidden alike.

    ``floor``: the least that a hidden number can be, unless empty siblings are hidden with it; 0
    where a space is hidden with all its labels, for some of them are none.
    """

    def __init__(
        self, tree: SpaceTree, values: Counts, hidden: Mask, smallest: int, *, floor: int
    ) -> None:
        self.tree, self.values, self.hidden = tree, values, hidden
        self.smallest, self.floor = smallest, floor
        self.whole = values.sum(axis=0)
        # The least that a space with children can have, if they share no device, and if they may.
        self.disjoint = np.zeros(values.shape, np.int64)
        self.shared = np.zeros(values.shape, np.int64)
        self.children = [np.flatnonzero(tree.parent == i) for i in range(len(tree))]

    def cover(self) -> Mask:
        """Hide what else must be, from the deepest spaces up; each settles its whole subtree."""
        if self.smallest <= 1:
            return self.hidden
        parents = np.flatnonzero(~self.tree.is_leaf)
        for p in parents[np.argsort(-self.tree.depth[parents], kind="stable")]:
            self._settle(int(p))
            self._bound(int(p), np.arange(self.hidden.shape[1]))
        return self.hidden

    def _settle(self, p: int) -> None:
        """Hide children of a space, then itself, until the differences tell nothing."""
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
        """Whether a shown space and its children tell too little, in each of the bins."""
        hidden, disjoint, shared = self._least(p, bins)
        at = np.ix_(np.arange(len(self.values)), self.children[p], bins)
        own = self._own(p)[:, bins]
        rest = self.values[:, p, bins] - np.where(hidden, 0, self.values[at]).sum(axis=1)
        members = hidden.sum(axis=0) + (own > 0).any(axis=0)
        slack = rest - np.where(hidden, disjoint, 0).sum(axis=1) - self.floor * (own > 0)
        overlaps = rest < np.where(hidden, shared, 0).sum(axis=1)
        nobody = (rest == 0) & (self.floor == 0)
        safe: Mask = (overlaps | ((members >= 2) & (slack >= self.smallest)) | nobody).all(axis=0)
        return safe

    def _least(self, p: int, bins: Counts) -> tuple[Mask, Counts, Counts]:
        """Which children are hidden [children, bins], and the least that each can have in both
        cases [labels, children, bins].
        """
        children = self.children[p]
        hidden = self.hidden[children][:, bins]
        empty = (hidden & (self.whole[children][:, bins] == 0)).any(axis=0)
        leaf = self.tree.is_leaf[children][:, None]
        at = np.ix_(np.arange(len(self.values)), children, bins)
        floor = np.where(empty, 0, self.floor)
        disjoint, shared = (np.where(leaf, floor, a[at]) for a in (self.disjoint, self.shared))
        return hidden, disjoint, shared

    def _smallest_shown(self, p: int, bins: Counts) -> Counts:
        """The shown child with the fewest devices, but not none, in each bin; -1: there is none."""
        children = self.children[p]
        whole = self.whole[children][:, bins]
        shown = ~self.hidden[children][:, bins] & (whole > 0)
        whole = np.where(shown, whole, _NEVER)
        least = whole.argmin(axis=0)
        return np.where(whole[least, np.arange(bins.size)] < _NEVER, children[least], -1)

    def _hide_empty(self, p: int, bins: Counts) -> Mask:
        """Hide all empty children without children of their own; in which bins there were any.

        By labels they cover nothing: that they are empty is told by their totals.
        """
        if not self.floor:
            return np.zeros(bins.size, bool)
        children = self.children[p][self.tree.is_leaf[self.children[p]]]
        at = np.ix_(children, bins)
        empty = ~self.hidden[at] & (self.whole[at] == 0)
        self.hidden[at] |= empty
        found: Mask = empty.any(axis=0)
        return found

    def _hide(self, space: int, bins: Counts) -> None:
        """Hide a space for cover, and below it enough that its children do not give it away."""
        self.hidden[space, bins] = True
        if not len(self.children[space]):
            return
        told = ~self.hidden[self.children[space]][:, bins].any(axis=0)
        told &= ~(self._own(space)[:, bins] > 0).any(axis=0)
        open_to = bins[told]
        chosen = self._smallest_shown(space, open_to)
        for child in np.unique(chosen[chosen >= 0]):
            self._hide(int(child), open_to[chosen == child])
        self._bound(space, bins)

    def _own(self, p: int) -> Counts:
        """Devices at the space itself, if no device was in two spaces: [labels, bins]."""
        return np.maximum(self.values[:, p] - self.values[:, self.children[p]].sum(axis=1), 0)

    def _bound(self, p: int, bins: Counts) -> None:
        """The least that a space can have by what is shown below it."""
        hidden, disjoint, shared = self._least(p, bins)
        shown = self.values[np.ix_(np.arange(len(self.values)), self.children[p], bins)]
        own = self.floor * (self._own(p)[:, bins] > 0)
        least = np.where(hidden, disjoint, shown).sum(axis=1) + own
        self.disjoint[:, p, bins] = np.maximum(least, self.floor)
        least = np.where(hidden, shared, shown).max(axis=1)
        self.shared[:, p, bins] = np.maximum(least, self.floor)
