"""The tree of spaces: rooms and regions under floors, buildings and campuses, of any depth."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from tippers_dagster.campus.source.schema import SPACES, source_tables
from tippers_dagster.campus.space_ids import LeftOut, without_unusable
from tippers_dagster.errors import BadInput, SourceError
from tippers_dagster.settings import Settings

MAX_NAMED = 10
"""Maximum number of spaces named in an error message."""


class NoSpaces(SourceError):
    """The space table is empty."""


@dataclass(frozen=True, eq=False)
class SpaceTree:
    """Spaces in pre-order: a space's subtree is a contiguous run that starts with itself.

    Attributes
    ----------
    ids, names, building_rooms
        One string per space.
    parent
        int32, position of the parent, -1 for a root.
    size
        int32, number of spaces in the subtree, itself included.
    depth
        int32, 0 for a root.
    left_out
        Spaces of the source that are left out of the tree because of unusable ids.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    building_rooms: tuple[str | None, ...]
    parent: np.ndarray
    size: np.ndarray
    depth: np.ndarray
    left_out: tuple[LeftOut, ...] = ()

    @classmethod
    def from_table(cls, spaces: pa.Table) -> SpaceTree:
        """Build the tree from the columns of the ``space`` table, all text.

        Raises
        ------
        SourceError
            If spaces have no id, occur twice, have an unknown parent (orphans), or are their own
            ancestors (a cycle); the message names them.
        """
        ids = spaces["space_id"].to_pylist()
        parents = spaces["parent_space_id"].to_pylist()
        if any(space is None or space == "" for space in ids):
            raise SourceError("The space table has rows without a space_id.", "Add their ids.")
        index = {space: i for i, space in enumerate(ids)}
        if len(index) < len(ids):
            seen: set[str] = set()
            twice = [s for s in ids if s in seen or seen.add(s)]  # type: ignore[func-returns-value]
            raise SourceError(f"Spaces that occur twice: {_named(twice)}.", "Keep one row of each.")
        orphans = [
            f"{space} (parent {parent})"
            for space, parent in zip(ids, parents, strict=True)
            if parent not in (None, "") and parent not in index
        ]
        if orphans:
            raise SourceError(
                f"Spaces whose parent does not exist: {_named(orphans)}.",
                "Add the parents, or clear parent_space_id to make these spaces roots.",
            )
        children: dict[int, list[int]] = {}
        for i, parent in enumerate(parents):
            children.setdefault(-1 if parent in (None, "") else index[parent], []).append(i)
        order, parent_at, depth = _preorder(children)
        if len(order) < len(ids):
            reached = set(order)
            lost = [space for i, space in enumerate(ids) if i not in reached]
            raise SourceError(
                f"Spaces that are their own ancestors, or are below such spaces: {_named(lost)}.",
                "Break the cycle in parent_space_id.",
            )
        names = spaces["space_name"].to_pylist()
        rooms = spaces["building_room"].to_pylist()
        parent_array = np.array(parent_at, dtype=np.int32)
        return cls(
            ids=tuple(ids[i] for i in order),
            names=tuple(names[i] or ids[i] for i in order),
            building_rooms=tuple(rooms[i] for i in order),
            parent=parent_array,
            size=_sizes(parent_array),
            depth=np.array(depth, dtype=np.int32),
        )

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of every space id."""
        return {space: i for i, space in enumerate(self.ids)}

    def __contains__(self, space: str) -> bool:
        return space in self.index

    def __len__(self) -> int:
        return len(self.ids)

    def position(self, space: str) -> int:
        """Position of a space; BadInput with similar ids if there is none."""
        if space in self.index:
            return self.index[space]
        if why := next((out.reason for out in self.left_out if out.space == space), None):
            raise BadInput(
                f"The space {space!r} is left out: {why}.",
                "Change its id in the source. `tippers rejects` lists all spaces left out.",
            )

        near = difflib.get_close_matches(space, self.ids, n=3)
        near += [f"{i} ({n})" for i, n in zip(self.ids, self.names, strict=True) if n == space][:3]
        raise BadInput(
            f"There is no space {space!r}.",
            f"Did you mean {' or '.join(near)}?" if near else "`tippers spaces` lists them.",
        )

    def subtree(self, space: str) -> list[str]:
        """Ids of a space and everything below it."""
        i = self.position(space)
        return list(self.ids[i : i + int(self.size[i])])

    def children(self, space: str) -> list[str]:
        """Ids of the spaces directly below."""
        return [self.ids[i] for i in np.flatnonzero(self.parent == self.position(space))]

    @property
    def roots(self) -> list[str]:
        """Ids of the spaces without a parent."""
        return [self.ids[i] for i in np.flatnonzero(self.parent < 0)]

    @cached_property
    def is_leaf(self) -> np.ndarray:
        """bool per space: it has no children."""
        return self.size == 1

    @cached_property
    def leaves(self) -> frozenset[str]:
        """Ids of the spaces without children."""
        return frozenset(self.ids[i] for i in np.flatnonzero(self.is_leaf))

    def ancestors_at(self, depth: int) -> np.ndarray:
        """int32 per space: position of its ancestor (or itself) at a depth; -1 if it is above."""
        found = np.arange(len(self), dtype=np.int32)
        for _ in range(int(self.depth.max(initial=0))):
            deeper = (found >= 0) & (self.depth[found] > depth)
            if not deeper.any():
                break
            found[deeper] = self.parent[found[deeper]]
        found[self.depth[found] != depth] = -1
        return found

    def subtree_sums(self, values: np.ndarray) -> np.ndarray:
        """Sums of ``values`` ([space, ...], unsigned integers wrap) over every subtree."""
        total = np.zeros((len(self) + 1, *values.shape[1:]), dtype=values.dtype)
        np.cumsum(values, axis=0, out=total[1:], dtype=values.dtype)
        start = np.arange(len(self))
        return total[start + self.size] - total[start]


def load_tree(settings: Settings) -> SpaceTree:
    """Read the space tree from the source database; spaces with unusable ids are left out.

    Raises
    ------
    NoSpaces
        When the table is empty.
    SourceError
        When it is not a forest (see :meth:`SpaceTree.from_table`).
    """
    from tippers_dagster.campus.source.read import read_spaces

    try:
        spaces = read_spaces(settings)
    except SourceError:
        if _table_exists(settings):
            raise
        raise _no_spaces(settings) from None
    if (tree := _last.tree_of(spaces)) is None:
        usable, left_out = without_unusable(spaces)
        if usable.num_rows == 0:
            raise _no_spaces(settings)
        tree = replace(SpaceTree.from_table(usable), left_out=left_out)
        _last.keep(spaces, tree)
    return tree


class _LastTree:
    """The tree that was built last: readers load it again and again, and it rarely changes."""

    def __init__(self) -> None:
        self._built: tuple[pa.Table, SpaceTree] | None = None

    def tree_of(self, spaces: pa.Table) -> SpaceTree | None:
        """The tree, if it was built from the same rows."""
        built = self._built
        return built[1] if built is not None and built[0].equals(spaces) else None

    def keep(self, spaces: pa.Table, tree: SpaceTree) -> None:
        """Keep a tree and what it was built from."""
        self._built = (spaces, tree)


_last = _LastTree()


def _table_exists(settings: Settings) -> bool:
    """Whether the space table exists; in the warehouse the first ingest creates it."""
    if settings.source_url is not None:
        return True  # a table missing from a campus's own database is an error
    from tippers_dagster.campus.source.load import read_source

    table = source_tables(settings)[SPACES].sql
    found = read_source(settings, "SELECT to_regclass($1) IS NOT NULL AS made", (table,))
    return bool(found["made"][0].as_py())


def _no_spaces(settings: Settings) -> NoSpaces:
    return NoSpaces(
        f"The table {settings.source_schema}.{settings.space_table} has no spaces.",
        "Load them with `tippers ingest spaces FILE`, or simulate a campus: `tippers simulate`.",
    )


def _preorder(children: dict[int, list[int]]) -> tuple[list[int], list[int], list[int]]:
    """Old positions in pre-order, with each one's parent (new position) and depth."""
    order: list[int] = []
    parent_at: list[int] = []
    depth: list[int] = []
    stack = [(root, -1, 0) for root in reversed(children.get(-1, []))]
    while stack:
        old, parent, level = stack.pop()
        new = len(order)
        order.append(old)
        parent_at.append(parent)
        depth.append(level)
        stack.extend((child, new, level + 1) for child in reversed(children.get(old, [])))
    return order, parent_at, depth


def _sizes(parent: np.ndarray) -> np.ndarray:
    """Subtree sizes of a pre-ordered forest."""
    size = np.ones(len(parent), dtype=np.int32)
    for i in range(len(parent) - 1, -1, -1):
        if parent[i] >= 0:
            size[parent[i]] += size[i]
    return size


def _named(items: list[str]) -> str:
    more = len(items) - MAX_NAMED
    return ", ".join(items[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
