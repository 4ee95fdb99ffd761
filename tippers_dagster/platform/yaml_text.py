"""YAML that people edit: writes it for readable diffs, and reads it strictly."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from tippers_dagster.errors import BadInput
from tippers_dagster.platform.text import shown

MAX_CHARACTERS = 1 << 20
"""Characters."""
MAX_DEPTH = 50
"""Nested levels of lists and mappings; definitions have four."""
MAX_VALUES = 200_000
"""Keys and values of a document, including repetitions by aliases."""
MAX_NUMBER_LENGTH = 100
"""Characters: the time to parse a base-60 number grows with the square of its length."""


class _Dumper(yaml.CSafeDumper):
    """Writes texts of several lines as literal blocks where these are exact."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.Dumper, text: str) -> yaml.ScalarNode:
    style = None if text.isprintable() else "|" if _exact_as_block(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _exact_as_block(text: str) -> bool:
    """Whether a literal block reproduces a text: no odd line breaks, no space at line ends."""
    lines = text.split("\n")
    plain = all(line.isprintable() and line == line.rstrip() for line in lines)
    return plain and text == text.strip()


_Dumper.add_representer(str, _represent_text)


class _Loader(yaml.CSafeLoader):
    """Refuses numbers that are too large for a column or JSON."""

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """An integer of 64 bits, or a float."""
        kind = node.tag.rpartition(":")[2]
        made = getattr(self, f"construct_yaml_{kind}")
        number = made(node) if len(node.value) <= MAX_NUMBER_LENGTH else None
        if number is None or (isinstance(number, int) and number.bit_length() > 63):
            raise ConstructorError(
                None, None, "this number is too large; quote it if it is text", node.start_mark
            )
        return number


class _StrictLoader(_Loader):
    """Refuses duplicate keys, of which YAML would use the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise BadInput(
                    f"line {key_node.start_mark.line + 1}: {key!r:.60} is not a field name."
                )
            if key in seen:
                raise BadInput(f"line {key_node.start_mark.line + 1}: {shown(key)} is given twice.")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)


def dump(content: Mapping[str, Any]) -> str:
    """The YAML text of plain values, with fields in the given order."""
    return yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def load(text: str) -> dict[str, Any]:
    """The fields of a YAML document with a single mapping; no duplicate fields, no aliases.

    Raises
    ------
    BadInput
        With the line of the error.
    """
    found = _parsed(text, _StrictLoader, aliases=False)
    if not isinstance(found, dict):
        raise BadInput("There are no fields: expected lines such as `name: value`.")
    return found


def load_project_file(text: str) -> Any:
    """The content of a file of the dbt project, read as dbt does: aliases are allowed.

    Raises
    ------
    BadInput
        With the line of the error.
    """
    return _parsed(text, _Loader, aliases=True)


def _built(text: str, loader: type[_Loader]) -> Any:
    reader = loader(text)
    try:
        return reader.get_single_data()
    finally:
        reader.dispose()


def _parsed(text: str, loader: type[_Loader], *, aliases: bool) -> Any:
    if len(text) > MAX_CHARACTERS:
        raise BadInput(f"It is larger than {MAX_CHARACTERS:,} characters.")
    try:
        _check_structure(yaml.parse(text, loader), aliases=aliases)
        return _built(text, loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise BadInput(f"{where}invalid YAML: {error.problem or error.context}.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise BadInput(
            f"line {line}: YAML does not allow the character U+{error.character:04X}."
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        raise BadInput(f"Invalid YAML: {error}.") from None


def _check_structure(events: Iterable[yaml.Event], *, aliases: bool) -> None:
    """Refuse what is unsafe to construct: the constructor recurses without a limit.

    Nested aliases can expand a few lines to a document of any size, so an anchor's values are
    counted again for each alias.
    """
    open_: list[tuple[str | None, int]] = []
    held: dict[str, int] = {}
    values = 0
    for event in events:
        where = f"line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent):
            if not aliases:
                raise BadInput(f"{where}: aliases (*) are not allowed.")
            values += held.get(event.anchor, MAX_VALUES + 1)  # inside itself: infinite
        elif isinstance(event, yaml.NodeEvent):
            if event.tag is not None:  # explicit
                raise BadInput(f"{where}: tags ({shown(event.tag)}) are not allowed.")
            values += 1
            if isinstance(event, yaml.ScalarEvent):
                held |= {event.anchor: 1} if event.anchor else {}
            else:
                open_.append((event.anchor, values))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            held |= {anchor: values - before + 1} if anchor else {}
        if len(open_) > MAX_DEPTH:
            raise BadInput(f"{where}: nested more than {MAX_DEPTH} levels deep.")
        if values > MAX_VALUES:
            raise BadInput(f"{where}: more than {MAX_VALUES:,} values up to here.")
