"""What rows said that cannot be used, as it is kept with their reason."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.log.arrow_types import text_of
from tippers_dagster.campus.log.mapping import LogMapping
from tippers_dagster.campus.log.rows import MAX_VALUE_CHARACTERS
from tippers_dagster.platform.text import NUL

_CONTROL = tuple(map(chr, range(32)))


def kept_columns(columns: pa.Table, mapping: LogMapping) -> pa.Table:
    """Columns by role, under the log's names; user names, which are kept nowhere, are left out.

    A role that several columns of the log share keeps its own name.
    """
    roles = [role for role in columns.column_names if role != "user"]
    return columns.select(roles).rename_columns(
        [_only(mapping.mapped[role]) or role for role in roles]
    )


def _only(names: tuple[str, ...]) -> str | None:
    return names[0] if len(names) == 1 else None


def storable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as texts that PostgreSQL stores: cut, and without NUL characters."""
    texts = pc.utf8_slice_codeunits(text_of(column), 0, MAX_VALUE_CHARACTERS)
    return pc.replace_substring(texts, "\0", NUL)


def as_json(columns: pa.Table) -> pa.ChunkedArray:
    """Each row as a JSON object of texts and nulls."""
    if not columns.num_columns:
        return pa.chunked_array([pa.array(["{}"] * columns.num_rows, pa.string())])
    members = [
        pc.binary_join_element_wise(f"{json.dumps(name)}: ", _quoted(column), "")
        for name, column in zip(columns.column_names, columns.columns, strict=True)
    ]
    return pc.binary_join_element_wise("{", pc.binary_join_element_wise(*members, ", "), "}", "")


def _quoted(column: pa.ChunkedArray) -> pa.ChunkedArray:
    texts = storable(column)
    for character in ("\\", '"'):
        texts = pc.replace_substring(texts, character, f"\\{character}")
    if pc.any(pc.match_substring_regex(texts, r"[\x00-\x1f]")).as_py():
        for character in _CONTROL:
            texts = pc.replace_substring(texts, character, json.dumps(character)[1:-1])
    return pc.fill_null(pc.binary_join_element_wise('"', texts, '"', ""), "null")
