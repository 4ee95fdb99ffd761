"""dbt's models as nodes of what is kept up to date. Needs neither Dagster nor dbt."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tippers_dagster.automation.nodes import Node, Table, digest
from tippers_dagster.sql.parse_tree import is_judgement
from tippers_dagster.sql.project import Project

Resource = Mapping[str, Any]
"""A node or a source of dbt's manifest."""

SESSION_SOURCE = ("session_source",)
"""The asset of the source's session table, which occupancy reads too."""


def meta_of(resource: Resource) -> Mapping[str, Any]:
    """What the project says about a model: kind, concept, name ..."""
    return resource["config"].get("meta") or {}


def key_of(resource: Resource) -> tuple[str, ...]:
    """The path of a model's or a source's asset key."""
    if resource["resource_type"] == "source":
        return _source_key(resource)
    meta = meta_of(resource)
    if "concept" in meta:
        return (meta["concept"], meta["name"])
    return ("staging", resource["name"])


def _source_key(resource: Resource) -> tuple[str, ...]:
    source, table = resource["source_name"], resource["name"]
    if source == "labels":
        return tuple(table.split("__", 1))
    if source.startswith("connection_"):
        return ("connection", source.removeprefix("connection_"), table)
    if resource["schema"] == "connection_source":  # synced from the campus's own database
        return ("connection", "source", resource["identifier"])
    return SESSION_SOURCE if table == "user_ap_trajectory" else ("source", table)


def dbt_nodes(project: Project) -> list[Node]:
    """What every model is computed from, and the source tables that nobody here makes.

    A model's content holds its text, its configuration, the project's macros that it uses, and
    the variables that these name.
    """
    manifest = project.manifest
    macros = _Macros(manifest["macros"], project.variables)
    models = [r for r in manifest["nodes"].values() if r["resource_type"] == "model"]
    nodes = [_node(manifest, macros, resource) for resource in models]
    tables = {key_of(r): Table(r["schema"], r["identifier"]) for r in manifest["sources"].values()}
    sources = [
        Node(key, source=table)
        for key, table in tables.items()
        if key == SESSION_SOURCE or key[0] == "source"
    ]
    return [*sources, *nodes]


def _node(manifest: Mapping[str, Any], macros: _Macros, resource: Resource) -> Node:
    below = [_resource(manifest, unique_id) for unique_id in resource["depends_on"]["nodes"]]
    config = {n: v for n, v in resource["config"].items() if n not in ("meta", "tags", "docs")}
    # The check of a person's SQL does not affect its table.
    hooks = config.get("pre-hook") or ()
    config["pre-hook"] = [hook for hook in hooks if not is_judgement(hook["sql"])]
    parts = [
        resource["raw_code"],
        json.dumps(config, sort_keys=True, default=str),
        # Columns of the source are named by variables; where tables are is part of what is read.
        *sorted(str(r["relation_name"]) for r in below),
        *macros.content(resource),
    ]
    return Node(key_of(resource), digest(*parts), tuple(sorted({key_of(r) for r in below})))


def _resource(manifest: Mapping[str, Any], unique_id: str) -> Resource:
    place = "sources" if unique_id.startswith("source.") else "nodes"
    return manifest[place][unique_id]


class _Macros:
    """Texts of the project's own macros, with the variables that they name."""

    def __init__(self, macros: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
        self._macros, self._variables = macros, variables

    def content(self, resource: Resource) -> Iterator[str]:
        """All that a model's text means beside itself: its macros' texts and the variables."""
        texts = [str(resource["raw_code"]), json.dumps(resource["config"], default=str)]
        seen: set[str] = set()
        waiting = list(resource["depends_on"]["macros"])
        while waiting:
            unique_id = waiting.pop()
            macro = self._macros.get(unique_id)
            # dbt's own macros are part of dbt, whose version is pinned.
            if unique_id in seen or macro is None or macro["package_name"] != "tippers":
                continue
            seen.add(unique_id)
            texts.append(macro["macro_sql"])
            waiting.extend(macro["depends_on"]["macros"])
        yield from sorted(self._macros[unique_id]["macro_sql"] for unique_id in seen)
        named = {name for text in texts for name in re.findall(r"var\(\s*['\"\\]+(\w+)", text)}
        for name in sorted(named & self._variables.keys()):
            yield f"{name}={json.dumps(self._variables[name], sort_keys=True, default=str)}"
