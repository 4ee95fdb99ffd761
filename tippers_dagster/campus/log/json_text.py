"""JSON text as one record per line, whatever its shape: lines, documents or a list of records.

In JSON a line break is only white space, so a list of records becomes lines when the commas between
its records become line breaks, and the line breaks within records become spaces. Nothing is parsed
for that: a pass over the structural characters of a block finds how deeply nested each is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

MAX_SEARCHED_DEPTH = 20
"""Levels of objects in which the list of records is looked for."""

_WHITE = " \t\r\n"
_QUOTE, _BACKSLASH, _COMMA = b'"\\,'
_NEWLINE, _RETURN, _SPACE = b"\n\r "
_STRUCTURAL = bytes(int(byte in b'"\\{}[],\n\r') for byte in range(256))
_DEPTH = np.zeros(256, np.int8)
_DEPTH[list(b"{[")] = 1
_DEPTH[list(b"}]")] = -1


class Records:
    """Turns blocks of JSON text into lines, each with one record.

    Parameters
    ----------
    depth
        How many lists and objects surround the records: 0 for documents that follow each other.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.closed = False
        """Whether the list of records has ended; what the document has after it is not read."""
        self.follows = False
        """Whether anything follows the document."""
        self.broken = False
        """Whether a bracket is closed that was not opened."""
        self._open = depth
        self._in_text = False
        self._escaping = False  # the last block ended with a backslash that escapes what is next

    def lines(self, block: bytes) -> bytes:
        """The block as lines; its last record may go on in the next block.

        Parameters
        ----------
        block
            The text after the previous block, or after the bracket that opens the list.
        """
        if not block:
            return b""
        text = np.frombuffer(block, np.uint8).copy()
        if self._open == 0 and self.depth:
            self._note_what_follows(text)
            return b""
        at = self._structure(block, text)
        kind = text[at]
        depth = self._open + np.cumsum(_DEPTH[kind], dtype=np.int32)
        ended = np.flatnonzero(depth == 0)
        if len(ended) and self.depth:
            self._note_what_follows(text[at[ended[0]] + 1 :])
            self._open = 0
        elif len(depth):
            self._open = int(depth[-1])
        if self.closed:
            return b""
        end = np.flatnonzero(depth < self.depth)
        if len(end):
            self.closed, self.broken = True, not self.depth
            text, at = text[: at[end[0]]], at[: end[0]]
            kind, depth = kind[: end[0]], depth[: end[0]]
        outside = depth == self.depth
        breaks = (kind == _NEWLINE) | (kind == _RETURN)
        text[at[breaks & ~(outside & (self.depth == 0))]] = _SPACE
        if self.depth:
            text[at[(kind == _COMMA) & outside]] = _NEWLINE
        return text.tobytes()

    @property
    def ended(self) -> bool:
        """Whether everything that was opened has been closed."""
        return self._open == 0 and not self._in_text

    def _note_what_follows(self, text: NDArray[np.uint8]) -> None:
        self.follows |= bool(text.tobytes().strip())

    def _structure(self, block: bytes, text: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The positions of brackets, commas and line breaks that are not in texts."""
        at = np.flatnonzero(np.frombuffer(block.translate(_STRUCTURAL), np.bool_))
        kind = text[at]
        is_slash = kind == _BACKSLASH
        is_quote = kind == _QUOTE
        is_quote[is_quote] = ~self._is_escaped(at[is_quote], at[is_slash], len(text))
        # Whether the number of quotes before each position is odd.
        inside = np.bitwise_xor.accumulate(is_quote.view(np.uint8)) ^ self._in_text
        if len(inside):
            self._in_text = bool(inside[-1])
        return at[(inside == 0) & ~is_slash & (kind != _QUOTE)]

    def _is_escaped(
        self, quotes: NDArray[np.int64], slashes: NDArray[np.int64], size: int
    ) -> NDArray[np.bool_]:
        """Whether an odd number of backslashes stands right before each quote."""
        escaping, self._escaping = self._escaping, False
        escaped = np.zeros(len(quotes), bool)
        if escaping and len(quotes) and quotes[0] == 0:
            escaped[0] = True
        if not len(slashes):
            return escaped
        # A run of backslashes is what has consecutive positions.
        order = np.arange(len(slashes))
        begins = np.append(True, np.diff(slashes) > 1)
        first = np.maximum.accumulate(np.where(begins, order, 0))
        length = order - first + 1
        if escaping and slashes[0] == 0:
            length[first == 0] += 1
        last = np.searchsorted(slashes, quotes) - 1
        near = np.flatnonzero((last >= 0) & (slashes[last] == quotes - 1))
        escaped[near] = length[last[near]] % 2 == 1
        self._escaping = bool(slashes[-1] == size - 1 and length[-1] % 2 == 1)
        return escaped


def list_of_records(head: str, path: tuple[str, ...] | None) -> tuple[int, int] | None:
    """Where the list of records begins in a document.

    Parameters
    ----------
    head
        The beginning of the text.
    path
        The keys that lead to the list; ``None``: the first list of objects.

    Returns
    -------
    (position, depth)
        The position after the opening bracket, and how many lists and objects surround the records.
        ``None`` when there is none in ``head``.
    """
    try:
        found = _find(head, _after_white(head, 0), path, 0)
    except (ValueError, RecursionError, IndexError):
        return None
    return found if isinstance(found, tuple) else None


def _find(head: str, at: int, path: tuple[str, ...] | None, depth: int) -> tuple[int, int] | int:
    """The list in the value at a position, or where that value ends."""
    if head[at] == "[" and not path:
        first = head[_after_white(head, at + 1)]
        if first == "{" or (path is not None) or (depth == 0):
            return at + 1, depth + 1
    if head[at] != "{" or path == () or depth > MAX_SEARCHED_DEPTH:
        return json.JSONDecoder(strict=False).raw_decode(head, at)[1]
    at = _after_white(head, at + 1)
    while head[at] != "}":
        key, at = json.JSONDecoder(strict=False).raw_decode(head, at)
        at = _after_white(head, _after_white(head, at) + 1)  # the colon
        if path is None:
            found = _find(head, at, None, depth + 1)
        elif str(key).casefold() == path[0].casefold():
            found = _find(head, at, path[1:], depth + 1)
        else:
            found = json.JSONDecoder(strict=False).raw_decode(head, at)[1]
        if isinstance(found, tuple):
            return found
        at = _after_white(head, found)
        if head[at] == ",":
            at = _after_white(head, at + 1)
    return at + 1


def _after_white(text: str, at: int) -> int:
    while text[at] in _WHITE:
        at += 1
    return at


def first_document(head: str) -> int | None:
    """Where the first line's JSON value ends; ``None`` when its first line is not one value."""
    line = head.lstrip(_WHITE).partition("\n")[0]
    try:
        _, end = json.JSONDecoder(strict=False).raw_decode(line)
    except (ValueError, RecursionError):
        return None
    return len(head) - len(head.lstrip(_WHITE)) + end if not line[end:].strip() else None


def paths_of(line: str, exploded: frozenset[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """The paths of a record's values; a list is one value, unless it is exploded."""
    try:
        record = json.loads(line, strict=False)
    except (ValueError, RecursionError):
        return
    yield from _paths(record, (), exploded)


def _paths(
    value: object, path: tuple[str, ...], exploded: frozenset[tuple[str, ...]]
) -> Iterator[tuple[str, ...]]:
    if path in exploded and isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                yield from _paths(item, path, exploded)
    elif isinstance(value, dict) and value and len(path) < MAX_SEARCHED_DEPTH:
        for key, inner in value.items():
            yield from _paths(inner, (*path, key), exploded)
    elif path and path not in exploded:
        yield path
