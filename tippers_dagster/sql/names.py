"""The tables that user SQL may read, under the names that analysts write."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.handwritten import project_source
from tippers_dagster.catalog.kinds import Connection, Kind
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.settings import Settings

SCHEMAS = {
    Kind.INDEX: "indexes",
    Kind.DERIVED_INDEX: "indexes",
    Kind.RULE: "rules",
    Kind.FEATURE: "features",
    Kind.LABEL_MODEL: "labels",
}
"""The warehouse's schema for each kind that has a table."""

STAGING = "staging"

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Place:
    """A table: its place in the warehouse, and how a dbt model refers to it.

    ``ref`` is the definition behind it; None for source tables and tables of connections.
    """

    schema: str
    table: str
    jinja: str
    ref: Ref | None = None


class NameTable:
    """Tables by name: ``name``, or ``concept.name`` (``labels.``, ``connection_x.`` ...).

    Parameters
    ----------
    places
        By lower-case name.
    others
        Names of definitions without a table, with their kinds.
    """

    def __init__(self, places: Mapping[str, Place], others: Mapping[str, str] | None = None):
        self._places = dict(places)
        self._others = dict(others or {})

    @classmethod
    def of(cls, catalog: Catalog, settings: Settings) -> NameTable:
        """The names in a deployment with these definitions."""
        places = dict(_source_names(settings))
        others: dict[str, str] = {}
        for definition in catalog.definitions.values():
            names = dict(_names(definition))
            places |= names
            if not names:
                others[str(definition.ref)] = definition.ref.kind.in_words
        return cls(places, others)

    def find(self, parts: tuple[str, ...], concept: str) -> Place | None:
        """The table that a name means in a concept; names of the source come first."""
        written = ".".join(parts)
        return self._places.get(written) or (
            self._places.get(f"{concept}.{written}") if len(parts) == 1 else None
        )

    def written(self, concept: str) -> dict[str, Place]:
        """All tables by their shortest name in a concept."""
        shortest: dict[str, Place] = {}
        known: dict[tuple[str, str], str] = {}
        for name, place in self._places.items():
            short = name.removeprefix(f"{concept}.")
            if self.find(tuple(short.split(".")), concept) != place:
                short = name
            table = (place.schema, place.table)
            if table not in known or len(short) < len(known[table]):
                known[table] = short
                shortest[short] = place
        return {name: shortest[name] for name in sorted(known.values())}

    def kind_without_table(self, parts: tuple[str, ...], concept: str) -> str | None:
        """The kind of a definition that has no table; None for other names."""
        written = ".".join(parts)
        return self._others.get(written) or self._others.get(f"{concept}.{written}")

    def near(self, parts: tuple[str, ...], concept: str) -> list[str]:
        """Up to three similar names, as they can be written in the concept."""
        own = f"{concept}."
        names = [name.removeprefix(own) for name in self._places]
        written = ".".join(parts)
        found = difflib.get_close_matches(written, names, n=3, cutoff=0.6)
        # Often the name is right but has a wrong schema, or none.
        same = [name for name in names if name.rpartition(".")[2] == parts[-1]]
        return list(dict.fromkeys([*found, *same]))[:3]


def ref_place(ref: Ref) -> Place:
    """The table of an index, rule or feature, or of a label model's labels."""
    schema = SCHEMAS[ref.kind]
    if ref.kind == Kind.LABEL_MODEL:
        return Place(schema, ref.model_name, f"source('labels', '{ref.model_name}')", ref)
    return Place(schema, ref.model_name, f"ref('{ref.model_name}')", ref)


def _staging_place(model: str) -> Place:
    return Place(STAGING, model, f"ref('{model}')")


def _source_names(settings: Settings) -> Iterator[tuple[str, Place]]:
    """The staging models; the names of source tables mean their staging models too."""
    models = (project_source(settings) / "models" / STAGING).glob("*.sql")
    for model in sorted(path.stem for path in models):
        yield model, _staging_place(model)
    tables = {
        "user_ap_trajectory": (settings.session_table, "user_location_trajectory"),
        "space": (settings.space_table,),
        "space_metadata": (settings.space_metadata_table,),
        "faculty_data": (settings.faculty_table,),
        "region_to_coverage": (settings.coverage_table,),
    }
    for ours, theirs in tables.items():
        place = _staging_place(f"stg_{ours}")
        for name in (ours, *theirs):
            yield name.lower(), place
            for schema in {settings.source_schema.lower(), "public"}:
                yield f"{schema}.{name.lower()}", place


def _names(definition: Definition) -> Iterable[tuple[str, Place]]:
    ref, body = definition.ref, definition.body
    if ref.kind in SCHEMAS:
        place = ref_place(ref)
        return [(str(ref), place), (f"{place.schema}.{place.table}", place)]
    if isinstance(body, Connection):
        schema = f"connection_{ref.name}"
        tables = [table.name for table in body.tables if _IDENTIFIER.fullmatch(table.name)]
        places = {t: Place(schema, t, f"source('{schema}', '{t}')") for t in tables}
        # Names without quotes are lower-cased; here they match any case.
        named = {**{t.lower(): place for t, place in places.items()}, **places}
        return [(f"{schema}.{name}", place) for name, place in named.items()]
    return []


def source_schema(settings: Settings) -> str:
    """The schema in which dbt finds the source tables.

    Tables of another database are first synced into the warehouse, by the connection ``source``.
    """
    return settings.source_schema if settings.source_url is None else "connection_source"
