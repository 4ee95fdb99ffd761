"""Combines the votes of many labelling functions to a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.expressions.nodes import ABSTAIN
from tippers_dagster.labelling.expressions.values import one_array

if TYPE_CHECKING:
    import pandas as pd

Keys: TypeAlias = NDArray[Any] | pa.Array | pa.ChunkedArray
_EXAMPLES = 3


def vote_matrix(
    index_keys: Keys,
    votes: Sequence[tuple[Keys, NDArray[np.int8]]],
    names: Sequence[str] | None = None,
) -> NDArray[np.int8]:
    """Arrange votes in the order of an index.

    Parameters
    ----------
    index_keys
        [n]: the unique key of every entity: integers, texts or dates.
    votes
        For each labelling function, the keys of its rule's rows and its votes on them. Fastest
        when functions of one rule share the array of keys.
    names
        Of the labelling functions, for messages.

    Returns
    -------
    int8 [n, functions], contiguous for each function: -1 also if the rule has no row for the
    entity.

    Raises
    ------
    BadInput
        Keys are null, duplicated, of another type than the index's, or not in the index.
    """
    index = _Index(index_keys)
    matrix = np.full((index.size, len(votes)), ABSTAIN, np.int8, order="F")
    placed: list[tuple[NDArray[Any], NDArray[np.intp]]] = []
    for at, (keys, cast) in enumerate(votes):
        what = f"labelling function {at + 1 if names is None else names[at]}"
        plain = _plain(keys, what)
        if len(plain) != len(cast):
            raise BadInput(f"The {what} has {len(cast)} votes for {len(plain)} keys.")
        places = next((found for known, found in placed if _same(known, plain)), None)
        if places is None:
            places = index.places(plain, what)
            placed.append((plain, places))
        matrix[places, at] = cast
    return matrix


class _Index:
    """The entities and their positions."""

    def __init__(self, keys: Keys) -> None:
        import pandas as pd

        self._keys = _plain(keys, "index")
        self._index: pd.Index = pd.Index(self._keys)
        self.size = len(self._keys)
        if not self._index.is_unique:
            raise _bad_keys("index has duplicate keys", self._keys[self._index.duplicated()])

    def places(self, keys: NDArray[Any], what: str) -> NDArray[np.intp]:
        """int [rows]: the position of each key."""
        if keys.dtype != self._keys.dtype:
            raise BadInput(
                f"The keys of the {what} have type {_type(keys)}, those of the index "
                f"{_type(self._keys)}.",
                "The rule's key column must match its index's.",
            )
        if _same(self._keys, keys):
            return np.arange(self.size)
        places = self._index.get_indexer(keys)
        if (places < 0).any():
            raise _bad_keys(f"{what} has keys that are not in the index", keys[places < 0])
        found = np.zeros(self.size, bool)
        found[places] = True
        if np.count_nonzero(found) < len(places):
            counts = np.bincount(places, minlength=self.size)
            raise _bad_keys(f"{what} has duplicate keys", keys[counts[places] > 1])
        return places


def _plain(keys: Keys, what: str) -> NDArray[Any]:
    """Integers as int64 or uint64, texts as Python's, everything else unchanged."""
    array = pa.array(keys) if isinstance(keys, np.ndarray) else keys
    if array.null_count:
        raise BadInput(
            f"The {what} has rows without a key: {array.null_count:,}.",
            "Filter them out in the SQL (where ... is not null).",
        )
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if isinstance(array, pa.ChunkedArray):
        array = one_array(array)
    plain = array.to_numpy(zero_copy_only=False)
    return plain.astype(np.int64) if plain.dtype.kind == "i" else plain


def _same(left: NDArray[Any], right: NDArray[Any]) -> bool:
    if left.dtype != right.dtype or len(left) != len(right):
        return False
    if left.ctypes.data == right.ctypes.data:
        return True
    # The first keys differ in most arrays.
    return np.array_equal(left[:100], right[:100]) and np.array_equal(left, right)


def _type(keys: NDArray[Any]) -> str:
    return "text" if keys.dtype == object else str(keys.dtype)


def _bad_keys(what: str, keys: NDArray[Any]) -> BadInput:
    distinct = list(dict.fromkeys(keys[: 100 * _EXAMPLES].tolist()))[:_EXAMPLES]
    return BadInput(
        f"The {what}: {len(keys):,}, for example {', '.join(map(str, distinct))}.",
        "A rule has at most one row per entity, and only for entities of its index. Materialise "
        "the index and the rule again if they were computed at different times.",
    )
