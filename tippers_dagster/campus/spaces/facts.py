"""What the source knows of spaces beside their tree: type, capacity, coordinates.

None of it is required. The columns may stand in the space table, or in that of its metadata,
whose rows are a space's by ``building_room``: ``type``, ``capacity`` (people), and ``x`` and
``y``, or ``longitude`` and ``latitude``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.source.schema import SPACE_METADATA, SPACES, quote, source_tables
from tippers_dagster.settings import Settings

_COLUMNS = ("type", "capacity", "x", "y", "longitude", "latitude")
_PLACES = (("x", "y"), ("longitude", "latitude"))


@dataclass(frozen=True)
class Facts:
    """What is known of one space.

    Attributes
    ----------
    type
        As ``student lab``; empty when unknown.
    capacity
        People that it is made for.
    at
        Its place: to the right and upwards, in any unit that all spaces share.
    """

    type: str = ""
    capacity: float | None = None
    at: tuple[float, float] | None = None


UNKNOWN = Facts()


def load_facts(settings: Settings) -> dict[str, Facts]:
    """What is known of spaces, by id; those of which nothing is known are left out.

    Raises
    ------
    SourceError
        When the source database refuses the query.
    """
    tables = source_tables(settings)
    spaces, metadata = tables[SPACES], tables[SPACE_METADATA]
    there = _columns_there(settings)
    joined = "building_room" in there.get(metadata.name, set())
    own = {c: f"s.{quote(c)}" for c in _COLUMNS if c in there.get(spaces.name, set())}
    theirs = {
        c: f"m.{quote(c)}" for c in _COLUMNS if joined and c in there.get(metadata.name, set())
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


def _columns_there(settings: Settings) -> dict[str, set[str]]:
    """The columns of every source table, by the source's names."""
    found = read_source(
        settings,
        "SELECT table_name::text AS name, column_name::text AS col FROM "
        "information_schema.columns WHERE table_schema = $1",
        (settings.source_schema,),
    )
    there: dict[str, set[str]] = {}
    for row in found.to_pylist():
        there.setdefault(row["name"], set()).add(row["col"])
    return there


def _facts(row: Mapping[str, str | None]) -> Facts:
    capacity = _number(row.get("capacity"))
    places = (tuple(_number(row.get(c)) for c in pair) for pair in _PLACES)
    at = next(((x, y) for x, y in places if x is not None and y is not None), None)
    return Facts(row.get("type") or "", capacity if capacity and capacity > 0 else None, at)


def _number(text: str | None) -> float | None:
    """A finite number, whatever a source may hold."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
