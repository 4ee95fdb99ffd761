"""Further values of a session that a mapping keeps: one JSON object of texts.

It is written as PostgreSQL writes its type ``jsonb``, so that a session has the same text whether
it was loaded from a file or is read in place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.platform.text import NUL

MAX_KEPT = 200
"""Characters of a kept value; longer ones are cut."""

_SPECIAL = r'["\\\x01-\x1f]'
_STRING = r'"(?:[^"\\]|\\.)*"'

Codes = NDArray[np.int32]


def kept_texts(columns: pa.Table) -> pa.Array:
    """The values of each row that are kept, as JSON; null for a row without any.

    Blank values are none. Longer ones than ``MAX_KEPT`` are cut.

    Parameters
    ----------
    columns
        Texts by the names that the mapping keeps them under.
    """
    names = sorted((name.strip() for name in columns.column_names), key=_place)
    by_name = dict(zip(map(str.strip, columns.column_names), columns.columns, strict=True))
    members = [_members(name, by_name[name]) for name in names]
    if not members:
        return pa.nulls(columns.num_rows, pa.string())
    inner = pc.utf8_slice_codeunits(pc.binary_join_element_wise(*members, ""), 0, -2)
    found = pc.binary_join_element_wise("{", inner, "}", "")
    return pc.if_else(pc.equal(inner, ""), pa.scalar(None, pa.string()), found)


def _place(name: str) -> tuple[int, bytes]:
    """By this PostgreSQL orders the keys of an object."""
    return len(name.encode()), name.encode()


def _members(name: str, column: pa.ChunkedArray) -> pa.Array:
    """``"name": "value", `` for each row; empty where there is none."""
    encoded = column.combine_chunks().dictionary_encode()
    values = pc.utf8_slice_codeunits(pc.utf8_trim_whitespace(encoded.dictionary), 0, MAX_KEPT)
    values = pc.replace_substring(values, "\0", NUL)
    key = f"{_quoted(name)}: "
    found = pc.binary_join_element_wise(f'{key}"', values, '", ', "")
    special = pc.match_substring_regex(values, _SPECIAL)
    if pc.any(special).as_py():
        escaped = [f"{key}{_quoted(value)}, " for value in values.filter(special).to_pylist()]
        found = pc.replace_with_mask(found, special, pa.array(escaped, pa.string()))
    found = pc.if_else(pc.equal(values, ""), "", found)
    return pc.fill_null(found.take(encoded.indices), "")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


class KeptTexts:
    """The distinct kept values of some sessions, which have them by code; -1: none."""

    def __init__(self, texts: pa.Array) -> None:
        self._texts = texts
        self._more: dict[str, int] = {}

    @classmethod
    def encoded(cls, texts: pa.ChunkedArray) -> tuple[KeptTexts, Codes]:
        """Those of rows, and the code of each; codes are in the order of the texts."""
        encoded = texts.combine_chunks().dictionary_encode()
        order = pc.sort_indices(encoded.dictionary).to_numpy()
        place = np.full(len(order) + 1, -1, np.int32)
        place[order] = np.arange(len(order))
        codes = place[encoded.indices.fill_null(len(order)).to_numpy()]
        return cls(encoded.dictionary.take(pa.array(order))), codes

    def take(self, codes: Codes) -> pa.Array:
        """The texts of codes; null for none."""
        if self._more:
            more = pa.array(self._more, pa.string())
            self._texts, self._more = pa.concat_arrays([self._texts, more]), {}
        return self._texts.take(pa.array(codes, mask=codes < 0))

    def lacking(self, codes: Codes, others: Codes) -> NDArray[np.bool_]:
        """Whether others have values under names for which those of codes have none."""
        used, at = np.unique(np.concatenate([codes, others]), return_inverse=True)
        names = pc.replace_substring_regex(self.take(used), f"({_STRING}): {_STRING}", r"\1")
        names = pc.fill_null(names, "{}").dictionary_encode()
        by_shape = [set(json.loads(f"[{text[1:-1]}]")) for text in names.dictionary.to_pylist()]
        more = np.array([[not theirs <= mine for theirs in by_shape] for mine in by_shape])
        shape, other_shape = np.split(names.indices.to_numpy()[at], 2)
        found: NDArray[np.bool_] = more[shape, other_shape]
        return found

    def completed(self, codes: Codes, others: Codes) -> Codes:
        """Codes of the same values, and of those of others under further names."""
        pairs, at = np.unique(np.stack([codes, others]), axis=1, return_inverse=True)
        mine, theirs = (self.take(some).to_pylist() for some in pairs)
        made = [
            self._code(json.loads(other or "{}") | json.loads(one or "{}"))
            for one, other in zip(mine, theirs, strict=True)
        ]
        return np.array(made, np.int32)[at.ravel()]

    def _code(self, values: Mapping[str, str]) -> int:
        """A code of these values; a new one, which may be a second one of the same text."""
        return self._more.setdefault(_as_text(values), len(self._texts) + len(self._more))


def _as_text(values: Mapping[str, str]) -> str:
    members = (f"{_quoted(key)}: {_quoted(values[key])}" for key in sorted(values, key=_place))
    return f"{{{', '.join(members)}}}"
