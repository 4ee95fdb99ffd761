"""The shapes of texts: how values are written, apart from which digits they have.

The shape of ``2025-01-07T09:00Z`` is ``0000-00-00t00:00z``. A log's column has many values but few
shapes, and all values of one shape have their numbers in the same places. So a shape is understood
once, and then all its values are read as whole columns of digits.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Span = tuple[int, int]
"""Where a number is written: its first byte, and the one after its last."""

MAX_BYTES = 100
"""Longer values have no shape: nothing that is understood is as long."""

_LARGEST = np.iinfo(np.int64).max

LONG = "~"
"""The shape of these."""

_DIGITS, _CAPITALS, _BLANKS = b"0123456789", bytes(range(65, 91)), b"\t\n\v\f\r"
_TABLE = bytearray(range(128)) + b"?" * 128
_TABLE[48:58] = b"0" * 10
_TABLE[65:91] = _CAPITALS.lower()
for _blank in _BLANKS:
    _TABLE[_blank] = ord(" ")
_SHAPE_OF = bytes(_TABLE)

# Blanks and signs that look like those of ASCII: JavaScript writes a narrow one before AM and PM.
_LOOKS_LIKE = (
    ("[\u00a0\u2000-\u200a\u202f\u205f\u3000]", " "),
    ("[\u2010-\u2015\u2212]", "-"),
    ("[\u200e\u200f\u2060\ufeff]", ""),
)

Form = TypeVar("Form")


@dataclass(frozen=True)
class Group(Generic[Form]):
    """The values whose shapes are understood alike: their numbers are in the same places."""

    rows: NDArray[np.intp] | slice
    forms: list[Form]
    which: NDArray[np.integer]
    """The form of each value, by its place in ``forms``."""
    _data: NDArray[np.uint8]
    _starts: NDArray[np.int64]
    _width: int
    """Bytes of each value if they follow each other, otherwise 0."""

    def number(self, span: Span) -> NDArray[np.int64]:
        """The number that is written in a span of up to 19 digits.

        Larger numbers than an int64 can hold become its largest.
        """
        first, stop = span
        if stop - first > 18:
            large = self._bytes(first).astype(np.uint64) - 48
            for at in range(first + 1, stop):
                large = large * 10 + (self._bytes(at) - 48)
            return np.minimum(large, np.uint64(_LARGEST)).astype(np.int64)
        total = self._bytes(first).astype(np.int64)
        for at in range(first + 1, stop):
            total *= 10
            total += self._bytes(at)
        # Each byte was a character; 48 is that of 0. What overflows comes back by this.
        total -= np.int64(_wrapped(48 * int("1" * (stop - first))))
        return total

    def fraction(self, span: Span | None) -> NDArray[np.int64] | int:
        """Digits after a decimal point, as millionths; further digits are cut off."""
        if span is None:
            return 0
        first, stop = span[0], min(span[1], span[0] + 6)
        return self.number((first, stop)) * 10 ** (6 - (stop - first))

    def each(self, of: Callable[[Form], int]) -> NDArray[np.int64]:
        """A number that the form says, for each value."""
        return np.array([of(form) for form in self.forms], np.int64)[self.which]

    def _bytes(self, at: int) -> NDArray[np.uint8]:
        if self._width:
            return self._data[at :: self._width]
        return self._data[self._starts + at]


def groups(
    texts: pa.Array, form_of: Callable[[str], Form | None], places: Callable[[Form], Hashable]
) -> Iterator[Group[Form]]:
    """The values whose shape is understood, by the places of their numbers.

    Parameters
    ----------
    texts
        Text [n]; null is in no group.
    form_of
        What a shape means; None if it means nothing.
    places
        Where a form has its numbers.
    """
    texts = plain(texts)
    codes, shapes = shapes_of(texts)
    data, offsets = _buffers(texts)
    layouts: dict[tuple[Hashable, int], int] = {}
    forms: list[list[Form]] = []
    # The layout of each shape, and the place of its form there. Null has the code -1, and so finds
    # the last; so does what is not understood.
    layout_of, which = np.full((2, len(shapes) + 1), -1)
    for code, shape in enumerate(shapes):
        if (form := form_of(shape)) is not None:
            layout = layouts.setdefault((places(form), len(shape)), len(layouts))
            if layout == len(forms):
                forms.append([])
            layout_of[code], which[code] = layout, len(forms[layout])
            forms[layout].append(form)
    for (_, width), layout, rows in zip(
        layouts, layouts.values(), _split(layout_of[codes], len(layouts)), strict=True
    ):
        packed = isinstance(rows, slice) and len(data) == len(texts) * width
        starts = offsets[:-1][rows]
        yield Group(rows, forms[layout], which[codes[rows]], data, starts, width if packed else 0)


def shapes_of(texts: pa.Array) -> tuple[NDArray[np.int32], list[str]]:
    """The shape of each text: its code int32 [n], -1 for null, and all shapes by code."""
    data, offsets = _buffers(texts)
    shaped = pa.Array.from_buffers(
        pa.string(),
        len(texts),
        [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(_translated(data))],
    )
    longer = np.diff(offsets) > MAX_BYTES
    if longer.any():
        shaped = pc.if_else(pa.array(longer), LONG, shaped)
    encoded = shaped.dictionary_encode()
    codes = encoded.indices.to_numpy()
    if texts.null_count:
        codes = np.where(np.asarray(texts.is_null()), np.int32(-1), codes)
    return codes, encoded.dictionary.to_pylist()


def plain(texts: pa.Array) -> pa.Array:
    """Texts with plain blanks and minus signs instead of those that only look like them."""
    data, _ = _buffers(texts)
    if not len(data) or data.max() < 128:
        return texts
    for pattern, character in _LOOKS_LIKE:
        texts = pc.replace_substring_regex(texts, pattern, character)
    return texts


def _split(numbers: NDArray[np.integer], count: int) -> Iterator[NDArray[np.intp] | slice]:
    """The rows of each number from 0 to ``count``, in order; a slice if they are all rows."""
    if count == 1 and (numbers == 0).all():
        yield slice(None)
        return
    order = np.argsort(numbers, kind="stable")
    yield from np.split(order, np.searchsorted(numbers[order], np.arange(count)))[1:]


def _buffers(texts: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes of all texts, and where each begins; n + 1 offsets."""
    _, offsets, data = texts.buffers()
    if not len(texts) or offsets is None:
        return np.empty(0, np.uint8), np.zeros(len(texts) + 1, np.int64)
    at = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    at = at.astype(np.int64)
    everything = np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)
    return everything[at[0] : at[-1]], at - at[0]


def _wrapped(number: int) -> int:
    """An int as an int64 would hold it."""
    return (number + 2**63) % 2**64 - 2**63


def _translated(data: NDArray[np.uint8]) -> bytes:
    return data.tobytes().translate(_SHAPE_OF)
