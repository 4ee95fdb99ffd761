"""Optional facts about spaces from the source: type, capacity and coordinates.

The columns may be in the space table, or in its metadata table, which is joined by
``building_room``: ``type``, ``capacity`` (people), and ``x`` and ``y``, or ``longitude`` and
``latitude``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.source.schema import SPACE_METADATA, SPACES, source_tables
from tippers_dagster.platform.identifiers import quote_identifier
from tippers_dagster.settings import Settings

_COLUMNS = ("type", "capacity", "x", "y", "longitude", "latitude")
_PLACES = (("x", "y"), ("longitude", "latitude"))


@dataclass(frozen=True)
class Facts:
    """Facts about one space.

    Attributes
    ----------
    type
        Such as ``student lab``; empty if unknown.
    capacity
        Number of people that it is designed for.
    at
        Coordinates (right, up), in the same unit for all spaces.
    """

    type: str = ""
    capacity: float | None = None
    at: tuple[float, float] | None = None


UNKNOWN = Facts()


def load_facts(settings: Settings) -> dict[str, Facts]:
    """Facts about spaces, by id; spaces without any are left out.

    Raises
    ------
    SourceError
        When the source database refuses the query.
    """
    tables = source_tables(settings)
    spaces, metadata = tables[SPACES], tables[SPACE_METADATA]
    available = _available_columns(settings)
    joined = "building_room" in available.get(metadata.name, set())
    own = {
        c: f"s.{quote_identifier(c)}" for c in _COLUMNS if c in available.get(spaces.name, set())
    }
    theirs = {
        c: f"m.{quote_identifier(c)}"
        for c in _COLUMNS
        if joined and c in available.get(metadata.name, set())
    }
    chosen = theirs | own
    if not chosen:
        return {}
    columns = ", ".join(f"{sql}::text AS {name}" for name, sql in chosen.items())
    join = f" LEFT JOIN {metadata.sql} AS m ON m.building_room = s." if joined else ""
    join += spaces.column("building_room") if joined else ""
    query = f"SELECT s.{spaces.column('space_id')}::text AS id, {columns} FROM {spaces.sql} AS s"
    found = {row["id"]: _facts(row) for row in read_source(settings, query + join).to_pylist()}
    return {space: facts for space, facts in found.items() if facts != UNKNOWN}


def _available_columns(settings: Settings) -> dict[str, set[str]]:
    """The columns of every source table, by the source's names."""
    found = read_source(
        settings,
        "SELECT table_name::text AS name, column_name::text AS col FROM "
        "information_schema.columns WHERE table_schema = $1",
        (settings.source_schema,),
    )
    available: dict[str, set[str]] = {}
    for row in found.to_pylist():
        available.setdefault(row["name"], set()).add(row["col"])
    return available


def _facts(row: Mapping[str, str | None]) -> Facts:
    capacity = _number(row.get("capacity"))
    places = (tuple(_number(row.get(c)) for c in pair) for pair in _PLACES)
    at = next(((x, y) for x, y in places if x is not None and y is not None), None)
    return Facts(row.get("type") or "", capacity if capacity and capacity > 0 else None, at)


def _number(text: str | None) -> float | None:
    """The text as a finite number, or None."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
