"""Definitions as text: to read, to compare line by line, and labels as a tree."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from streamlit_app.services.definitions.edit import Edit, draft
from tippers_dagster.catalog import files
from tippers_dagster.catalog.model import Definition, Draft, Unreadable
from tippers_dagster.catalog.names import read_body
from tippers_dagster.catalog.rows import Version
from tippers_dagster.errors import BadInput
from tippers_dagster.platform import yaml_text


def text_of(given: Draft | Definition | Version | Edit) -> str:
    """The fields of a definition as YAML, with long texts below them, ready for a diff."""
    if isinstance(given, Edit):
        try:
            return text_of(draft(given))
        except BadInput:
            incomplete = {"description": given.description, "owner": given.owner, **given.fields}
            return _joined(incomplete)
    if isinstance(given, Version):
        try:
            body = read_body(given.ref.kind, given.body)
        except BadInput:
            body = Unreadable(reason="", raw=dict(given.body))
        given = Draft(given.ref, body, given.description, given.owner, given.status)
    if isinstance(given.body, Unreadable):
        return json.dumps(_without_secrets(given.body.raw), indent=2, ensure_ascii=False)
    about = {"description": given.description, "owner": given.owner, "status": given.status}
    body_fields = given.body.model_dump(mode="json", exclude_defaults=True)
    return _joined(_without_secrets(about | body_fields))


def _without_secrets(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if k not in files.SECRET_FIELDS}


def _joined(values: Mapping[str, Any]) -> str:
    long = {k: v for k, v in values.items() if k in files.LONG_TEXTS and v}
    short = {k: v for k, v in values.items() if k not in long and v not in ("", None)}
    parts = [yaml_text.dump(short).rstrip()] if short else []
    parts += [f"--- {name} ---\n{text.rstrip()}" for name, text in long.items()]
    return "\n".join(parts) + "\n"


def diff(before: str, after: str, old: str = "before", new: str = "after") -> str:
    """The changed lines with three lines of context; empty if nothing changed."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), old, new, lineterm="")
    return "\n".join(lines)


def tree_lines(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """A concept's labels as an indented list; labels that refine none of them are at the top."""
    names = {v["name"] for v in values}
    lines: list[str] = []
    seen: set[str] = set()

    def add(value: Mapping[str, Any], depth: int) -> None:
        if value["name"] in seen:
            return
        seen.add(value["name"])
        description = f": {value['description']}" if value["description"] else ""
        lines.append(f"{'    ' * depth}{value['name']}{description}")
        for child in values:
            if child["parent"] == value["name"]:
                add(child, depth + 1)

    for value in values:
        if value["parent"] not in names:
            add(value, 0)
    for value in values:  # what is left refines itself in a cycle
        add(value, 0)
    return lines
