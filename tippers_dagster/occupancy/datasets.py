"""Creates, finds and deletes named datasets.

A dataset owns no data: it names a part of the tracked grid, so overlapping datasets share their
work.
"""

from __future__ import annotations

import datetime as dt
import difflib
from dataclasses import dataclass

import sqlalchemy as sa

from tippers_dagster.campus.local_time import check_width
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.catalog import kinds, store
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.editing import editing
from tippers_dagster.catalog.model import Definition, Draft, Ref
from tippers_dagster.catalog.names import check_ref, read_body
from tippers_dagster.catalog.tables import definition, definition_version
from tippers_dagster.catalog.validate import Checks
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings


@dataclass(frozen=True)
class Dataset:
    """One named dataset: local dates [start, end) of a space and everything below it."""

    name: str
    space: str
    start: dt.date
    end: dt.date
    interval_seconds: int
    owner: str
    description: str
    created_at: dt.datetime


def create(
    settings: Settings,
    name: str,
    *,
    space: str,
    start: dt.date,
    end: dt.date,
    interval_seconds: int,
    owner: str = "",
    description: str = "",
) -> Dataset:
    """Create a dataset and track its space; if either fails, neither happens.

    Raises
    ------
    BadInput
        When the name is taken or not lower snake case, the space is unknown, the range is empty, or
        the width is invalid.
    """
    ref = _ref(name)
    check_ref(ref)
    values = {"space": space, "start": start, "end": end, "interval_seconds": interval_seconds}
    body = read_body(ref.kind, values)
    check_body(body)
    with editing(settings, by=owner or _NOBODY) as edit:
        if edit.catalog.named(ref.namespace, name) is not None:
            raise BadInput(
                f"There is already a dataset {name!r}.",
                f"Choose another name, or run `tippers dataset delete {name}` first.",
            )
        made = edit.put([Draft(ref, body, description, owner)])[0]
        # Inside the transaction: if tracking fails, the dataset is not created.
        track(settings, space=space, start=start, end=end)
    return _dataset(made, made.updated_at)


def check_body(body: kinds.Body) -> None:
    """Refuse an empty range, and a width that bins cannot have."""
    assert isinstance(body, kinds.Dataset)
    check_width(body.interval_seconds)
    if not body.start < body.end:
        raise BadInput(
            f"The range {body.start} to {body.end} contains no day.", "The end is excluded."
        )


def dataset_checks(settings: Settings) -> Checks:
    """The checks that the catalog runs on drafts of datasets before saving them."""

    def validator(draft: Draft, catalog: Catalog) -> None:
        assert isinstance(draft.body, kinds.Dataset)
        check_body(draft.body)
        load_tree(settings).position(draft.body.space)

    return Checks(validators={kinds.Kind.DATASET: validator})


def follow(settings: Settings, made: Definition) -> None:
    """Track the space of a definition if it is a dataset, for those not made by ``create``."""
    body = made.body
    if isinstance(body, kinds.Dataset) and made.status == "active":
        track(settings, space=body.space, start=body.start, end=body.end)


def list_datasets(settings: Settings) -> list[Dataset]:
    """All datasets, by name."""
    with warehouse_engine(settings).connect() as connection:
        return [_from_row(row) for row in connection.execute(_QUERY.order_by(definition.c.name))]


def get(settings: Settings, name: str) -> Dataset:
    """One dataset; BadInput with similar names if it does not exist."""
    query = _QUERY.where(definition.c.name == name)
    with warehouse_engine(settings).connect() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        raise _unknown(settings, name)
    return _from_row(row)


def rename(settings: Settings, name: str, to: str, *, by: str) -> Dataset:
    """Rename a dataset; nothing else changes.

    Raises
    ------
    BadInput
        When it does not exist, or the new name is taken or not lower snake case.
    """
    get(settings, name)
    check_ref(_ref(to))
    store.rename(settings, _ref(name), to, by=by)
    return get(settings, to)


def delete(settings: Settings, name: str, *, by: str = "") -> Dataset:
    """Delete a dataset, and return it.

    Its occupancy stays tracked and in the lake, as other datasets may share it.
    """
    deleted = get(settings, name)
    with editing(settings, by=by or deleted.owner or _NOBODY) as edit:
        if edit.catalog.saved(_ref(name)) is None:  # somebody else has just deleted it
            raise _unknown(settings, name)
        edit.remove(_ref(name))
    return deleted


def _unknown(settings: Settings, name: str) -> BadInput:
    names = [d.name for d in list_datasets(settings)]
    near = difflib.get_close_matches(name, names, n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else "`tippers dataset list` shows them."
    return BadInput(f"There is no dataset {name!r}.", hint)


# --- definitions ---------------------------------------------------------------------------------
_NOBODY = "unknown"
"""The author of a change if no one is named."""

_QUERY = sa.select(
    definition.c.name,
    definition.c.body,
    definition.c.owner,
    definition.c.description,
    sa.select(sa.func.max(definition_version.c.changed_at))
    .where(
        definition_version.c.kind == definition.c.kind,
        definition_version.c.name == definition.c.name,
        definition_version.c.action.in_(("create", "rename")),
    )
    .scalar_subquery()
    .label("created_at"),
).where(definition.c.kind == kinds.Kind.DATASET.value, definition.c.status == "active")


def _ref(name: str) -> Ref:
    return Ref("", name, kinds.Kind.DATASET)


def _dataset(made: Definition, created_at: dt.datetime | None) -> Dataset:
    body = made.body
    assert isinstance(body, kinds.Dataset)
    assert created_at is not None
    about = (made.owner, made.description, created_at)
    return Dataset(made.ref.name, body.space, body.start, body.end, body.interval_seconds, *about)


def _from_row(row: sa.Row) -> Dataset:
    body = read_body(kinds.Kind.DATASET, row.body)
    return _dataset(Definition(_ref(row.name), body, row.description, row.owner), row.created_at)
