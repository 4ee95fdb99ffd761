"""dbt models as nodes of the refresh graph. Needs neither Dagster nor dbt."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tippers_dagster.automation.nodes import Node, Table, digest
from tippers_dagster.catalog.window import Window
from tippers_dagster.occupancy.log import log_node
from tippers_dagster.occupancy.nodes import OCCUPANCY_SOURCES
from tippers_dagster.sql.log import LOG_TABLES, source_window
from tippers_dagster.sql.parse_tree import is_violations_hook
from tippers_dagster.sql.project import Project
from tippers_dagster.sql.windows import MACROS

_ADDED = re.compile(r"""\n *\{\{ added\('([\w.]+)'\) \}\}""")
_ADDING = "macros/added.sql"

Resource = Mapping[str, Any]
"""A node or source of dbt's manifest."""


def meta_of(resource: Resource) -> Mapping[str, Any]:
    """A model's metadata in the project: kind, concept, name ..."""
    return resource["config"].get("meta") or {}


def key_of(resource: Resource) -> tuple[str, ...]:
    """The asset key path of a model or source; the log is one asset, whatever the window."""
    if resource["resource_type"] == "source":
        return _source_key(resource)
    meta = meta_of(resource)
    if "concept" in meta:
        return (meta["concept"], meta["name"])
    return ("staging", resource["name"])


def _source_key(resource: Resource) -> tuple[str, ...]:
    source, table = resource["source_name"], resource["name"]
    if source_window(source) is not None:
        return (LOG_TABLES[table].asset,)
    if source == "labels":
        return tuple(table.split("__", 1))
    if source.startswith("connection_"):
        return ("connection", source.removeprefix("connection_"), table)
    if resource["schema"] == "connection_source":  # synced from the campus's database
        return ("connection", "source", resource["identifier"])
    return ("source", table)


def _node_key(resource: Resource) -> tuple[str, ...]:
    """The key of its node: each window of the log is a source of its own."""
    window = source_window(resource.get("source_name"))
    if window is None or window.is_everything:
        return key_of(resource)
    return (*key_of(resource), window.tag)


def dbt_nodes(project: Project) -> list[Node]:
    """A node for every model, and for the source tables that are only read.

    A model's content covers its SQL, its configuration, the project's macros that it uses, and the
    variables that any of them names. The places of its inputs differ between the engines.
    """
    manifest = project.manifest
    macros = _Macros(manifest["macros"], project.variables)
    models = [r for r in manifest["nodes"].values() if r["resource_type"] == "model"]
    nodes = [_node(manifest, macros, resource) for resource in models]
    sources = {
        key_of(r): Table(r["schema"], r["identifier"])
        for r in manifest["sources"].values()
        if key_of(r)[0] == "source"
    }
    return [
        *_log_nodes(manifest),
        *(Node(key, source=table) for key, table in sources.items()),
        *nodes,
    ]


def _log_nodes(manifest: Mapping[str, Any]) -> Iterator[Node]:
    """The assets of the log that the project reads, as sources, for each window."""
    counts = {node.key: node for node in OCCUPANCY_SOURCES}
    found = {
        (LOG_TABLES[r["name"]].asset, window)
        for r in manifest["sources"].values()
        if (window := source_window(r["source_name"])) is not None
    }
    names = {r["name"] for r in manifest["sources"].values() if _is_log(r)}
    yield from {n.key: n for name in sorted(names) for n in LOG_TABLES[name].reads}.values()
    for asset, window in sorted(found, key=str):
        everything = counts.get((asset,)) if window.is_everything else None
        yield everything or log_node(asset, window)


def log_tables(manifest: Mapping[str, Any], chosen: Iterable[str]) -> dict[Window, set[str]]:
    """The tables of the log that models and tests read, also through views, by window.

    Parameters
    ----------
    chosen
        Unique ids.
    """
    waiting, seen = list(chosen), set(chosen)
    found: dict[Window, set[str]] = {}
    while waiting:
        resource = _resource(manifest, waiting.pop())
        if (window := source_window(resource.get("source_name"))) is not None:
            found.setdefault(window, set()).add(resource["name"])
        for unique_id in resource.get("depends_on", {}).get("nodes", ()):
            below = _resource(manifest, unique_id)
            if unique_id not in seen and _is_read_through(below):
                seen.add(unique_id)
                waiting.append(unique_id)
    return found


def _is_read_through(resource: Resource) -> bool:
    source = resource["resource_type"] == "source"
    return source or resource["config"]["materialized"] == "view"


def _node(manifest: Mapping[str, Any], macros: _Macros, resource: Resource) -> Node:
    below = [_resource(manifest, unique_id) for unique_id in resource["depends_on"]["nodes"]]
    config = {n: v for n, v in resource["config"].items() if n not in ("meta", "tags", "docs")}
    # The check of user SQL does not affect the model's table.
    hooks = config.get("pre-hook") or ()
    config["pre-hook"] = [hook for hook in hooks if not is_violations_hook(hook["sql"])]
    code, added = apart_from_added(resource["raw_code"])
    parts = [
        code,
        json.dumps(config, sort_keys=True, default=str),
        # Variables name the columns of the source; the places of tables belong to the content.
        *sorted(str(r["relation_name"]) for r in below),
        *sorted(str(LOG_TABLES[r["name"]].first_schema) for r in below if _is_log(r)),
        *macros.content(resource),
    ]
    deps = {_node_key(r) for r in below}
    deps |= {node.key for node in tables_behind(manifest, resource)}
    return Node(
        key_of(resource),
        digest(*parts),
        tuple(sorted(deps)),
        added=digest(*added) if added else "",
    )


def apart_from_added(code: str) -> tuple[str, list[str]]:
    """The text of a model without the columns that a staging model gained, and these.

    Nothing that reads the model without them has to be computed again, see ``macros/added.sql``.
    """
    return _ADDED.sub("", code), [match[1] for match in _ADDED.finditer(code)]


def tables_behind(manifest: Mapping[str, Any], resource: Resource) -> list[Node]:
    """The tables of the warehouse that a model reads through tables of the log."""
    below = resource.get("depends_on", {}).get("nodes", ())
    sources = [_resource(manifest, unique_id) for unique_id in below]
    return [node for r in sources if _is_log(r) for node in LOG_TABLES[r["name"]].reads]


def _is_log(resource: Resource) -> bool:
    return source_window(resource.get("source_name")) is not None


def _resource(manifest: Mapping[str, Any], unique_id: str) -> Resource:
    place = "sources" if unique_id.startswith("source.") else "nodes"
    return manifest[place][unique_id]


class _Macros:
    """The project's own macros, and the variables that they use."""

    def __init__(self, macros: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
        self._macros, self._variables = macros, variables

    def content(self, resource: Resource) -> Iterator[str]:
        """What a model's SQL depends on besides itself: macros and variables."""
        texts = [str(resource["raw_code"]), json.dumps(resource["config"], default=str)]
        seen: set[str] = set()
        waiting = list(resource["depends_on"]["macros"])
        while waiting:
            unique_id = waiting.pop()
            macro = self._macros.get(unique_id)
            # dbt's own macros are part of dbt, whose version is pinned.
            if unique_id in seen or macro is None or macro["package_name"] != "tippers":
                continue
            # They choose what is read, which is part of the content itself, or add columns.
            if macro["original_file_path"] in (MACROS, _ADDING):
                continue
            seen.add(unique_id)
            texts.append(macro["macro_sql"])
            waiting.extend(macro["depends_on"]["macros"])
        yield from sorted(self._macros[unique_id]["macro_sql"] for unique_id in seen)
        named = {name for text in texts for name in re.findall(r"var\(\s*['\"\\]+(\w+)", text)}
        for name in sorted(named & self._variables.keys()):
            yield f"{name}={json.dumps(self._variables[name], sort_keys=True, default=str)}"
