"""64-bit fingerprints of arrays, which decide whether a partition is stale."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

U64 = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def of_text(*parts: object, key: bytes = b"") -> int:
    """A fingerprint of texts and numbers, the same in every process (BLAKE2b)."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8, key=key)
    return int.from_bytes(digest.digest(), "little")


def of_texts(texts: Iterable[str]) -> U64:
    """The fingerprint of each text, see `of_text`."""
    return np.fromiter((of_text(text) for text in texts), np.uint64)


def of_column(texts: pa.Array) -> U64:
    """A fingerprint of each text of a column, where each row may have another one; 0 for null.

    Not that of `of_text`, and not cryptographic: `mix` of its bytes, eight at a time, and their
    number.
    """
    texts = texts.cast(pa.large_string())
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset :][: len(texts) + 1]
    data = np.frombuffer(texts.buffers()[2] or b"", np.uint8)
    lengths = np.diff(offsets)
    prints = np.zeros(len(texts), np.uint64)
    there = np.asarray(pc.is_valid(texts))
    for length in np.unique(lengths[there]).tolist():
        rows = np.flatnonzero(there & (lengths == length))
        padded = np.zeros((rows.size, -(-length // 8) * 8), np.uint8)
        if rows.size == len(texts):  # as session ids are: several times as fast
            padded[:, :length] = data[offsets[0] : offsets[-1]].reshape(rows.size, length)
        else:
            padded[:, :length] = data[offsets[rows, None] + np.arange(length)]
        prints[rows] = np.maximum(mix(*padded.view(np.uint64).T, length), np.uint64(1))
    return prints


def mix(*columns: NDArray | int) -> U64:
    """A fingerprint per row of the integer columns (broadcast); their order matters.

    The finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
    generators, 2014), chained over the columns. Not cryptographic.
    """
    with np.errstate(over="ignore"):
        state = np.full(1, _GOLDEN)
        for column in columns:
            values = np.asarray(column)
            state = state + (
                values.view(np.uint64) if values.dtype == np.int64 else values.astype(np.uint64)
            )
            state = state + _GOLDEN
            state = (state ^ (state >> np.uint64(30))) * _FIRST
            state = (state ^ (state >> np.uint64(27))) * _SECOND
            state = state ^ (state >> np.uint64(31))
    return state


def sums_by_group(group: NDArray, values: U64, n_groups: int) -> U64:
    """Sums (modulo 2**64) of values per group code: a fingerprint of each group's rows."""
    order = np.argsort(group.astype(np.uint16 if n_groups <= 1 << 16 else np.int64), kind="stable")
    totals = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values[order], out=totals[1:])
    ends = np.cumsum(np.bincount(group, minlength=n_groups))
    return totals[ends] - totals[np.concatenate([[0], ends[:-1]])]
