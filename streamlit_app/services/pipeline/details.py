"""Everything that the side panel shows of one node."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from streamlit_app.services.app import App
from streamlit_app.services.pipeline.edges import EDGES
from streamlit_app.services.pipeline.graph import SOURCE, TABLES, Graph, Item
from tippers_dagster.catalog.files import document
from tippers_dagster.catalog.kinds import Feature, Index, Kind, LabellingFunction, Rule
from tippers_dagster.catalog.model import Definition

Language = Literal["sql", "python", "yaml"]


@dataclass(frozen=True)
class Details:
    """One node in full.

    Attributes
    ----------
    definition
        None for source tables and staging models.
    text, language
        The SQL, Python or YAML that defines it.
    columns
        Name, type, nulls and distinct values of each column when it was last computed.
    votes
        Entities per label, if it votes or labels.
    reads, read_by
        Names of nodes.
    creates
        Kinds of definition that can be created from it.
    tries, next_try
        Failed attempts to compute its current version, and when automation tries again.
    """

    item: Item
    definition: Definition | None
    description: str
    text: str
    language: Language
    columns: list[dict[str, Any]]
    votes: dict[str, int]
    reads: tuple[str, ...]
    read_by: tuple[str, ...]
    creates: tuple[Kind, ...]
    tries: int
    next_try: dt.datetime | None


def details(app: App, graph: Graph, name: str) -> Details | None:
    """One node in full; None if no node has this name."""
    item = graph.items.get(name)
    if item is None:
        return None
    definition = None if item.kind in TABLES else graph.pipeline.definitions.get(name)
    state = graph.snapshot.state(name)
    status = graph.statuses.get(name)
    description, text, language = _texts(graph, item, definition)
    return Details(
        item=item,
        definition=definition,
        description=description,
        text=text,
        language=language,
        columns=[_column(c) for c in state.details.get("columns", [])],
        votes=_votes(state.details),
        reads=item.reads,
        read_by=tuple(i.name for i in graph.items.values() if name in i.reads),
        creates=EDGES.get(item.kind, ()),
        tries=status.tries if status is not None and item.standing == "failed" else 0,
        next_try=None if status is None else status.next_try,
    )


def _texts(graph: Graph, item: Item, definition: Definition | None) -> tuple[str, str, Language]:
    """Description, defining text, and the language of the text."""
    if definition is None:
        return (*_table_texts(graph, item), "sql")
    body = definition.body
    if isinstance(body, Index | Rule | Feature):
        return definition.description, body.sql, "sql"
    if isinstance(body, LabellingFunction) and body.python:
        return definition.description, body.python, "python"
    return definition.description, document(definition), "yaml"


def _table_texts(graph: Graph, item: Item) -> tuple[str, str]:
    """Description and SQL of a source table, staging model or synced table."""
    if item.kind == SOURCE:
        return "A table of the campus database, read only.", ""
    project = graph.pipeline.project
    nodes = {} if project is None else project.manifest["nodes"]
    for node in nodes.values():
        if node["resource_type"] == "model" and node["name"] == item.shown:
            return str(node.get("description", "")), str(node.get("raw_code", ""))
    return "", ""


def _votes(details: Mapping[str, Any]) -> dict[str, int]:
    """Entities per label, the most common first; then abstentions and ties."""
    counts = details.get("classes") or details.get("votes") or {}
    labels = sorted((label for label in counts if label.isupper()), key=lambda n: -counts[n])
    others = [name for name in counts if not name.isupper() and counts[name]]
    return {name: counts[name] for name in (*labels, *others)}


def _column(recorded: Mapping[str, Any]) -> dict[str, Any]:
    return {name: recorded.get(name) for name in ("column", "type", "nulls", "distinct")}
