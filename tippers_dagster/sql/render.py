"""Renders saved definitions as dbt models, in the same form as the hand-written ones.

Pure: turns a catalog into texts by path. User text (SQL, descriptions, owners) is never interpreted
as Jinja.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import yaml

from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Connection, DerivedIndex, Kind
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.catalog.window import EVERYTHING, Window
from tippers_dagster.errors import TippersError
from tippers_dagster.settings import SqlEngine
from tippers_dagster.sql.check import translate_definition
from tippers_dagster.sql.differences import refuse_differences
from tippers_dagster.sql.duckdb.parse_tree import macro as duckdb_macro
from tippers_dagster.sql.log import windowed
from tippers_dagster.sql.names import STAGING, NameTable
from tippers_dagster.sql.parse_tree import hook, macro
from tippers_dagster.sql.translate import Translated

FOLDER = "models/saved"
"""Where a rendered project keeps the models of saved definitions."""

SCHEMAS = {
    Kind.INDEX: "indexes",
    Kind.DERIVED_INDEX: "indexes",
    Kind.RULE: "rules",
    Kind.FEATURE: "features",
}
"""The warehouse schema and lake folder of each kind that becomes a dbt model."""

MACRO = "macros/refuse_side_effects.sql"
"""Called by each model of user SQL before its table is created."""

SourceTable = tuple[str, str]
"""The names of a dbt source and of a table in it."""


@dataclass(frozen=True)
class Rendered:
    """Texts by path relative to the project, and why some definitions have none."""

    files: Mapping[str, str] = field(default_factory=dict)
    broken: Mapping[Ref, str] = field(default_factory=dict)


def render(
    catalog: Catalog,
    names: NameTable,
    declared: Collection[SourceTable],
    engine: SqlEngine,
    windows: Mapping[str, Window] = MappingProxyType({}),
    log_models: Collection[str] = (),
) -> Rendered:
    """A model (SQL and YAML) for each saved definition with SQL, and the sources that they read.

    Parameters
    ----------
    catalog
        Definitions in ``catalog.problems`` are left out.
    names
        The tables that SQL may read.
    declared
        Sources that the hand-written project itself declares.
    engine
        What runs the models.
    windows
        The window of each model that has one.
    log_models
        The staging models that it chooses.

    Returns
    -------
    Rendered
        ``broken``: definitions that are sound in the catalog but cannot be rendered.
    """
    files: dict[str, str] = {}
    broken: dict[Ref, str] = {}
    for ref in catalog.order:
        definition = catalog.definitions[ref]
        saved = ref.kind.has_sql and definition.origin == "catalog"
        if not saved or ref in catalog.problems:
            continue
        below = next((d for d in catalog.dependencies(ref) if d in broken), None)
        if below is not None:
            broken[ref] = needs(below, broken[below])
            continue
        path = f"{FOLDER}/{ref.concept}/{ref.model_name}"
        properties = _properties(catalog, definition)
        try:
            if isinstance(definition.body, DerivedIndex):
                sql = _derived_index(catalog, ref, definition.body)
            else:
                translated = _translated(catalog, names, definition, engine)
                sql = translated.sql_jinja
                window = windows.get(ref.model_name, EVERYTHING)
                tables = _over_window(translated, window, log_models)
                properties["config"]["pre_hook"] = hook(tables, translated.functions)
        except TippersError as error:
            broken[ref] = str(error)
            continue
        files[f"{path}.sql"] = f"{sql.strip()}\n"
        files[f"{path}.yml"] = _yaml({"models": [properties]})
    files[MACRO] = f"{macro()}\n\n{duckdb_macro()}"
    sources = _sources(catalog, declared)
    if sources:
        files[f"{FOLDER}/sources.yml"] = _yaml({"sources": sources})
    return Rendered(files, broken)


def needs(ref: Ref, reason: str) -> str:
    """Why a definition that reads a broken one is broken."""
    return f"It needs {ref}, which cannot work: {reason}"


def literal(text: str) -> str:
    """The text, escaped so that Jinja reproduces it."""
    return re.sub(r"\{(?=[{%#])", "{{ '{' }}", text)


# --- SQL ----------------------------------------------------------------------------------------
def _translated(
    catalog: Catalog, names: NameTable, definition: Definition, engine: SqlEngine
) -> Translated:
    # The guard that runs before saving: nothing runs that it would refuse now.
    found = translate_definition(names, definition, catalog)
    if engine == "duckdb":  # it may have been saved for PostgreSQL
        refuse_differences(found.user_sql)
    return found


def _over_window(
    translated: Translated, window: Window, log_models: Collection[str]
) -> Iterator[str]:
    """The tables that a query reads, as ``schema.table``."""
    for place in translated.places:
        chosen = place.schema == STAGING and place.table in log_models
        yield f"{place.schema}.{windowed(place.table, window) if chosen else place.table}"


def _derived_index(catalog: Catalog, ref: Ref, body: DerivedIndex) -> str:
    arguments = {
        "parent": catalog.resolve(body.parent, ref.concept).ref.model_name,
        "label_model": catalog.resolve(body.label_model, ref.concept).ref.model_name,
        "labels": list(body.labels),
        "minimum_confidence": body.minimum_confidence,
        "include_unlabelled": body.include_unlabelled,
        "key": catalog.key_column(ref),
    }
    # Names, numbers and booleans: Python writes them as Jinja reads them.
    lines = [f"    {name}={value!r}," for name, value in arguments.items()]
    return "\n".join(["{{ derived_index(", *lines, ") }}"])


# --- YAML ---------------------------------------------------------------------------------------
def _properties(catalog: Catalog, definition: Definition) -> dict[str, Any]:
    ref, key = definition.ref, catalog.key_column(definition.ref)
    index = catalog.index_of(ref)
    return {
        "name": ref.model_name,
        "description": literal(definition.description),
        "config": {
            "materialized": "table",
            "schema": SCHEMAS[ref.kind],
            "tags": [
                f"concept_{ref.concept}",
                f"level_{catalog.level(ref.concept)}",
                ref.kind.value,
            ],
            "indexes": [{"columns": [key]}],
            "meta": _meta(catalog, definition, key, index),
        },
        "columns": [{"name": key, "data_tests": _tests(index)}],
    }


def _meta(catalog: Catalog, definition: Definition, key: str, index: Ref | None) -> dict[str, Any]:
    ref, body = definition.ref, definition.body
    meta: dict[str, Any] = {
        "kind": ref.kind.value,
        "concept": ref.concept,
        "name": ref.name,
        "owner": literal(definition.owner),
        "key": key,
        "version": definition.version,
    }
    if index is not None:
        meta["index"] = str(index)
    if isinstance(body, DerivedIndex):
        meta |= {
            "parent": str(catalog.resolve(body.parent, ref.concept).ref),
            "label_model": str(catalog.resolve(body.label_model, ref.concept).ref),
            "labels": list(body.labels),
            "minimum_confidence": body.minimum_confidence,
            "include_unlabelled": body.include_unlabelled,
        }
    return meta


def _tests(index: Ref | None) -> list[Any]:
    tests: list[Any] = ["key_present", "one_row_per_entity"]
    if index is not None:
        tests.append(
            {"only_entities_of_index": {"arguments": {"index": f"ref('{index.model_name}')"}}}
        )
    return tests


def _sources(catalog: Catalog, declared: Collection[SourceTable]) -> list[dict[str, Any]]:
    """Tables of label models and connections that the hand-written project does not declare."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for ref, definition in catalog.definitions.items():
        if ref.kind == Kind.LABEL_MODEL and ("labels", ref.model_name) not in declared:
            entry = {"name": ref.model_name, "description": literal(definition.description)}
            tables.setdefault("labels", []).append(entry)
        elif isinstance(definition.body, Connection):
            source = f"connection_{ref.name}"
            for table in definition.body.tables:
                if (source, table.name) not in declared:
                    tables.setdefault(source, []).append({"name": literal(table.name)})
    return [{"name": source, "schema": source, "tables": found} for source, found in tables.items()]


def _yaml(content: dict[str, Any]) -> str:
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # the C version is ten times faster
    return yaml.dump(content, Dumper=dumper, sort_keys=False, allow_unicode=True, width=100)
