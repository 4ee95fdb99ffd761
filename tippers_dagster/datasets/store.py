"""Making, finding and removing named datasets.

A dataset owns no data: it names a part of the grid that occupancy is kept for, so that datasets
that overlap share all their work.
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.datasets.tables import dataset
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings
from tippers_dagster.spaces.clock import check_width
from tippers_dagster.spaces.tracking import track
from tippers_dagster.warehouse.engine import warehouse_engine

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LONGEST_NAME = 63


@dataclass(frozen=True)
class Dataset:
    """One named dataset: local dates [start, end) of a space and all below it."""

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
    """Name a dataset, and track what it needs. Either both happen or neither.

    Raises
    ------
    BadInput
        A name that is taken or is not lower snake case, an unknown space, an empty range, or a
        width that bins cannot have.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise BadInput(
            f"{name!r} cannot name a dataset.",
            f"Take lower-case words joined by underscores, up to {_LONGEST_NAME} characters.",
        )
    check_width(interval_seconds)
    row = insert(dataset).values(
        name=name,
        space_id=space,
        start_date=start,
        end_date=end,
        interval_seconds=interval_seconds,
        owner=owner,
        description=description,
    )
    if not start < end:
        raise BadInput(f"The range {start} to {end} holds no day.", "The end is excluded.")
    with warehouse_engine(settings).begin() as connection:
        made = connection.execute(row.on_conflict_do_nothing().returning(dataset)).one_or_none()
        if made is None:
            raise BadInput(
                f"There is a dataset {name!r} already.",
                f"Take another name, or `tippers dataset delete {name}` first.",
            )
        # Inside the transaction: what cannot be tracked is not named either.
        track(settings, space=space, start=start, end=end)
    return Dataset(*made)


def list_datasets(settings: Settings) -> list[Dataset]:
    """All datasets, by name."""
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(sa.select(dataset).order_by(dataset.c.name)).all()
    return [Dataset(*row) for row in rows]


def get(settings: Settings, name: str) -> Dataset:
    """One dataset; BadInput with the nearest names if there is none of this name."""
    with warehouse_engine(settings).connect() as connection:
        row = connection.execute(sa.select(dataset).where(dataset.c.name == name)).one_or_none()
    if row is None:
        raise _unknown(settings, name)
    return Dataset(*row)


def delete(settings: Settings, name: str) -> Dataset:
    """Forget a dataset's name; returns what it was.

    Nothing is untracked and nothing leaves the lake, as other datasets may share it.
    """
    with warehouse_engine(settings).begin() as connection:
        query = sa.delete(dataset).where(dataset.c.name == name).returning(dataset)
        row = connection.execute(query).one_or_none()
    if row is None:
        raise _unknown(settings, name)
    return Dataset(*row)


def _unknown(settings: Settings, name: str) -> BadInput:
    names = [d.name for d in list_datasets(settings)]
    near = difflib.get_close_matches(name, names, n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else "`tippers dataset list` shows them."
    return BadInput(f"There is no dataset {name!r}.", hint)
