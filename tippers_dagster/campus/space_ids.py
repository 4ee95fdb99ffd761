"""Valid space ids: those that can be part of partition keys and of the lake's keys.

Dagster refuses control characters and ``...`` in dynamic partition keys; ``|`` joins the two
halves of a multi-partition key; key ranges in the UI and on the command line use commas and quotes.
In a key of the lake the id is one component of a path.
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
    """A space of the source that cannot be used, and why; ``space`` is None where it has no id."""

    space: str | None
    name: str | None
    parent: str | None
    reason: str


def why_unusable(space: str | None) -> str | None:
    """Why a text cannot be a space's id; None when it can."""
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
        return "space_id has a control character, or an invisible one"
    if len(encode(space)) > LONGEST_SPACE:
        return f"space_id is longer than {LONGEST_SPACE} bytes, as the lake writes it"
    return None


def why_each_unusable(ids: Sequence[str | None], parents: Sequence[str | None]) -> list[str | None]:
    """Why each space cannot be used: its id, or that it is below such a space."""
    why = [why_unusable(space) for space in ids]
    if not any(why):
        return why
    children: dict[str, list[int]] = {}
    for i, parent in enumerate(parents):
        if parent:
            children.setdefault(parent, []).append(i)
    waiting = [i for i, reason in enumerate(why) if reason]
    while waiting:
        above = waiting.pop()
        for i in children.get(ids[above] or "", ()):
            if why[i] is None:
                why[i] = f"it is below {ids[above]!r}, which cannot be used"
                waiting.append(i)
    return why


def without_unusable(spaces: pa.Table) -> tuple[pa.Table, tuple[LeftOut, ...]]:
    """The spaces (columns of the ``space`` table, all text) that can be used, and the others."""
    ids, names, parents = (
        spaces[name].to_pylist() for name in ("space_id", "space_name", "parent_space_id")
    )
    why = why_each_unusable(ids, parents)
    left_out = tuple(
        LeftOut(ids[i], names[i], parents[i], reason) for i, reason in enumerate(why) if reason
    )
    usable = spaces.filter(pa.array([reason is None for reason in why])) if left_out else spaces
    return usable, left_out
