"""The list of definitions, and its filters."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from streamlit_app.services.app import App
from streamlit_app.services.definitions.edit import CREATED
from tippers_dagster.catalog import store
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Definition, Ref

State = Literal["active", "broken", "retired"]
STATES: tuple[State, ...] = ("active", "broken", "retired")

OTHER_PAGES = (Kind.CONNECTION, Kind.DATASET, Kind.LOG_SOURCE)
"""Kinds that have their own pages."""


@dataclass(frozen=True)
class Row:
    """One definition in the list.

    ``problem`` says why it is broken. Version 0 comes from the project's files.
    """

    ref: Ref
    state: State
    problem: str
    description: str
    owner: str
    origin: Literal["catalog", "git"]
    version: int
    users: int
    updated_at: dt.datetime | None
    updated_by: str

    @property
    def concept(self) -> str:
        """The concept that it is or belongs to; empty if neither."""
        return self.ref.concept or (self.ref.name if self.ref.kind == Kind.CONCEPT else "")


def load(app: App) -> Catalog:
    """All current definitions; takes a few milliseconds."""
    return store.load_catalog(app.settings)


def rows(catalog: Catalog) -> list[Row]:
    """All definitions of this page by concept, kind and name."""
    found = {**catalog.definitions, **catalog.retired}
    order = {kind: at for at, kind in enumerate(CREATED)}
    listed = [_row(catalog, d) for d in found.values() if d.ref.kind not in OTHER_PAGES]
    # Those without a concept use labels or occupancy, so they come last.
    return sorted(
        listed, key=lambda r: (not r.concept, r.concept, order.get(r.ref.kind, 99), r.ref)
    )


def _row(catalog: Catalog, d: Definition) -> Row:
    return Row(
        ref=d.ref,
        state=state_of(catalog, d),
        problem=catalog.problems.get(d.ref, ""),
        description=" ".join(d.description.split()),
        owner=d.owner,
        origin=d.origin,
        version=d.version,
        users=len(catalog.users(d.ref)),
        updated_at=d.updated_at,
        updated_by=d.updated_by,
    )


def state_of(catalog: Catalog, definition: Definition) -> State:
    """The state of a definition."""
    if definition.status == "retired":
        return "retired"
    return "broken" if definition.ref in catalog.problems else "active"


def filtered(
    found: Iterable[Row],
    text: str = "",
    concepts: Collection[str] = (),
    kinds: Collection[Kind] = (),
    states: Collection[str] = (),
) -> list[Row]:
    """Rows that contain every word of the text; empty filters match everything."""
    words = text.lower().split()
    return [
        row
        for row in found
        if (not concepts or row.concept in concepts)
        and (not kinds or row.ref.kind in kinds)
        and (not states or row.state in states)
        and all(word in _searched(row) for word in words)
    ]


def _searched(row: Row) -> str:
    kind = row.ref.kind.in_words
    return f"{row.ref} {kind} {row.description} {row.owner}".lower()
