"""Combining votes in the order of an index."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.votes import vote_matrix


def votes(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int8)


KEYS = [
    np.array([5, 3, 2**63 + 9, 1], np.uint64),
    np.array([5, 3, -9, 1]),
    np.array([5, 3, 9, 1], np.int32),
    pa.array(["e", "c", "", "ä"]),
    pa.chunked_array([["e"], ["c", "", "ä"]]),
    pa.array(["e", "c", "", "ä"]).dictionary_encode(),
    pa.array([dt.date(2025, 1, day) for day in (5, 3, 9, 1)]),
]


@pytest.mark.parametrize(
    "keys",
    KEYS,
    ids=lambda keys: str(getattr(keys, "type", keys.dtype if isinstance(keys, np.ndarray) else "")),
)
def test_votes_are_in_the_order_of_the_index(keys) -> None:
    array = keys if not isinstance(keys, np.ndarray) else pa.array(keys)
    some = array.take(pa.array([3, 0]))
    matrix = vote_matrix(
        keys, [(array, votes(0, -1, 1, 0)), (some, votes(1, 0)), (array.slice(0, 0), votes())]
    )
    assert matrix.dtype == np.int8
    assert matrix.tolist() == [[0, 0, -1], [-1, -1, -1], [1, -1, -1], [0, 1, -1]]


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sets(st.integers(0, 2**64 - 1), max_size=30))
def test_the_matrix_equals_one_built_with_dictionaries(
    data: st.DataObject, entities: set[int]
) -> None:
    index = data.draw(st.permutations(sorted(entities)))
    functions = []
    for _ in range(data.draw(st.integers(0, 4))):
        rows = data.draw(st.permutations(index).map(lambda r: r[: len(r) // 2 + 1]))
        cast = data.draw(st.lists(st.integers(-1, 3), min_size=len(rows), max_size=len(rows)))
        functions.append((rows, cast))
    found = vote_matrix(
        np.array(index, np.uint64),
        [(np.array(rows, np.uint64), np.array(cast, np.int8)) for rows, cast in functions],
    )
    known = [dict(zip(*function, strict=True)) for function in functions]
    assert found.shape == (len(index), len(functions))
    assert found.tolist() == [[votes.get(key, -1) for votes in known] for key in index]


@pytest.mark.parametrize(
    ("index", "keys", "message"),
    [
        (["a", "b", "a"], ["a"], "index has duplicate keys: 1, for example a"),
        (["a", "b"], ["b", "c", "d"], "co_paired has keys that are not in the index: 2.* c, d"),
        (["a", "b"], ["b", "a", "b"], "co_paired has duplicate keys: 2, for example b"),
        (["a", None], ["a"], "index has rows without a key: 1"),
        (["a"], ["a", None], "co_paired has rows without a key: 1"),
        (["1"], [1], "co_paired have type int64, those of the index text"),
    ],
)
def test_keys_that_do_not_fit_are_errors(index: list, keys: list, message: str) -> None:
    cast = np.zeros(len(keys), np.int8)
    with pytest.raises(BadInput, match=message):
        vote_matrix(pa.array(index), [(pa.array(keys), cast)], ["co_paired"])


def test_there_must_be_as_many_votes_as_keys() -> None:
    with pytest.raises(BadInput, match="labelling function 1 has 1 votes for 2 keys"):
        vote_matrix(np.arange(2), [(np.arange(2), votes(0))])


def test_a_million_entities() -> None:
    rng = np.random.default_rng(0)
    index = rng.permutation(1_000_000).astype(np.uint64)
    keys = [rng.permutation(index)[:900_000] for _ in range(3)]
    cast = rng.integers(-1, 2, 900_000).astype(np.int8)
    matrix = vote_matrix(index, [(keys[at % 3], cast) for at in range(20)])
    assert matrix.shape == (1_000_000, 20)
    at = int(np.flatnonzero(index == keys[1][17])[0])
    assert matrix[at, 1] == matrix[at, 4] == cast[17]
