"""Positions of nodes that users moved on a concept's canvas."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.graph.tables import canvas_position
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

Place = tuple[float, float]
"""Pixels to the right and downwards, at zoom 1."""


def load_positions(settings: Settings, concept: str) -> dict[str, Place]:
    """The positions of moved nodes, by asset name."""
    c = canvas_position.c
    query = sa.select(c.node, c.x, c.y).where(c.concept == concept)
    with warehouse_engine(settings).connect() as connection:
        return {node: (x, y) for node, x, y in connection.execute(query)}


def save_positions(
    settings: Settings, concept: str, places: Mapping[str, Place], *, by: str
) -> None:
    """Save the positions of some nodes; the others keep theirs."""
    if not places:
        return
    now = dt.datetime.now(dt.UTC)
    rows = [
        {"concept": concept, "node": node, "x": x, "y": y, "by": by, "at": now}
        for node, (x, y) in sorted(places.items())
    ]
    insertion = insert(canvas_position).values(rows)
    new = {name: insertion.excluded[name] for name in ("x", "y", "by", "at")}
    query = insertion.on_conflict_do_update(index_elements=["concept", "node"], set_=new)
    with warehouse_engine(settings).begin() as connection:
        connection.execute(query)


def delete_positions(settings: Settings, concept: str) -> int:
    """Delete all positions of a concept, so that it is laid out automatically; returns how many."""
    query = sa.delete(canvas_position).where(canvas_position.c.concept == concept)
    with warehouse_engine(settings).begin() as connection:
        return connection.execute(query).rowcount
