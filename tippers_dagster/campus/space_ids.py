"""Valid space ids: those that can be part of partition keys and of the lake's keys.

Dagster refuses control characters and ``...`` in dynamic partition keys; ``|`` joins the two
halves of a multi-partition key; key ranges in the UI and on the command line use commas and quotes.
In the lake's keys the id is one component of a path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from tippers_dagster.platform.lake.keys import LONGEST_SPACE, encode

NO_ID = "no space id"
SEVERAL = "..."


@dataclass(frozen=True)
class LeftOut:
    """A space of the source that cannot be used, and why; ``space`` is None if it has no id."""

    space: str | None
    name: str | None
    parent: str | None
    reason: str


def why_unusable(space: str | None) -> str | None:
    """Why a text cannot be a space's id; None if it can."""
    if not space:
        return NO_ID
    if "'" in space or '"' in space:
        return "space_id has a quote"
    for mark in ("|", ",", SEVERAL):
        if mark in space:
            return f"space_id has {mark!r}"
    if space != space.strip():
        return "space_id begins or ends with a blank"
    if not space.isprintable():
        return "space_id has a control or invisible character"
    if len(encode(space)) > LONGEST_SPACE:
        return f"space_id is longer than {LONGEST_SPACE} bytes when encoded for the lake"
    return None


def why_each_unusable(ids: Sequence[str | None], parents: Sequence[str | None]) -> list[str | None]:
    """Why each space cannot be used: because of its id, or because it is below such a space."""
    why = [why_unusable(space) for space in ids]
    if not any(why):
        return why
    children: dict[str, list[int]] = {}
    for i, parent in enumerate(parents):
        if parent:
            children.setdefault(parent, []).append(i)
    to_visit = [i for i, reason in enumerate(why) if reason]
    while to_visit:
        unusable = to_visit.pop()
        for i in children.get(ids[unusable] or "", ()):
            if why[i] is None:
                why[i] = f"it is below {ids[unusable]!r}, which cannot be used"
                to_visit.append(i)
    return why


def without_unusable(spaces: pa.Table) -> tuple[pa.Table, tuple[LeftOut, ...]]:
    """The usable spaces (columns of the ``space`` table, all text), and those left out."""
    ids, names, parents = (
        spaces[name].to_pylist() for name in ("space_id", "space_name", "parent_space_id")
    )
    why = why_each_unusable(ids, parents)
    left_out = tuple(
        LeftOut(ids[i], names[i], parents[i], reason) for i, reason in enumerate(why) if reason
    )
    usable = spaces.filter(pa.array([reason is None for reason in why])) if left_out else spaces
    return usable, left_out
