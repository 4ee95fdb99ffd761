"""YAML that people edit: written so that it diffs well, read so that nothing passes unseen."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import yaml

from tippers_dagster.errors import BadInput


class _Dumper(yaml.CSafeDumper):
    """Texts of several lines as literal blocks, where these are exact."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.Dumper, text: str) -> yaml.ScalarNode:
    style = None if text.isprintable() else "|" if _exact_as_block(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _exact_as_block(text: str) -> bool:
    """Whether a literal block gives a text back as it is: no odd breaks, no space at the edges."""
    lines = text.split("\n")
    plain = all(line.isprintable() and line == line.rstrip() for line in lines)
    return plain and text == text.strip()


_Dumper.add_representer(str, _represent_text)


class _Loader(yaml.CSafeLoader):
    """Refuses a key that is given twice, of which YAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise BadInput(f"line {key_node.start_mark.line + 1}: {key!r} is not a field.")
            if key in seen:
                raise BadInput(f"line {key_node.start_mark.line + 1}: {key} is given twice.")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def dump(content: Mapping[str, Any]) -> str:
    """The YAML text of plain values, fields in the order given."""
    return yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def load(text: str) -> dict[str, Any]:
    """The fields of a YAML text that holds one mapping.

    Raises
    ------
    BadInput
        With the line of what is wrong.
    """
    try:
        _refuse_aliases(text)
        found = yaml.load(text, _Loader)  # a subclass of the safe one
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise BadInput(f"{where}this is not YAML: {error.problem or error.context}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadInput(f"This is not YAML: {error}.") from None
    if not isinstance(found, dict):
        raise BadInput("It holds no fields: `name: value` lines are expected.")
    return found


def _refuse_aliases(text: str) -> None:
    """A few lines of aliases of aliases can stand for a document of any size."""
    if "*" not in text:
        return
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.AliasEvent):
            raise BadInput(f"line {event.start_mark.line + 1}: aliases (*) are not taken.")
