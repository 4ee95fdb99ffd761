"""Numbers read by the shape of their texts, compared with int()."""

from __future__ import annotations

import re

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tippers_dagster.campus.log.shapes import LONG, Span, groups, shapes_of


def form(shape: str) -> Span | None:
    """Where the first number of a shape is."""
    match = re.search("0{1,19}(?!0)", shape)
    return match.span() if match else None


def numbers(texts: pa.Array) -> dict[int, int]:
    """The first number of each row that has one."""
    found = {}
    for group in groups(texts, form, lambda span: span):
        rows = range(len(texts))[group.rows] if isinstance(group.rows, slice) else group.rows
        found |= dict(zip(map(int, rows), group.number(group.forms[0]).tolist(), strict=True))
    return found


def test_shapes() -> None:
    texts = pa.array(["2025-01-07T09:00Z", "1999-12-31t23:59z", None, "A\tÉ", "x" * 101, "x" * 100])
    codes, shapes = shapes_of(texts)
    found = [None if code < 0 else shapes[code] for code in codes]
    iso = "0000-00-00t00:00z"
    assert found == [iso, iso, None, "a ??", LONG, "x" * 100]
    assert shapes_of(texts[:0])[1] == []


def test_numbers_that_are_too_large_become_the_largest() -> None:
    digits = ["9" * 18, "9" * 19, str(2**63 - 1), str(2**63), "0" * 19, "1"]
    for text in digits:
        expected = min(int(text), 2**63 - 1)
        assert numbers(pa.array([text, text])) == {0: expected, 1: expected}
        assert numbers(pa.array([text, None, "x"])) == {0: expected}


@given(
    st.lists(st.none() | st.text(st.sampled_from("0123456789aé -"), max_size=22), max_size=12),
    st.integers(0, 4),
)
def test_numbers_of_any_texts(texts: list[str | None], skipped: int) -> None:
    expected = {}
    for row, text in enumerate(texts[skipped:]):
        match = re.search("[0-9]{1,19}(?![0-9])", text or "")
        if match:
            expected[row] = min(int(match[0]), 2**63 - 1)
    assert numbers(pa.array(texts, pa.string())[skipped:]) == expected
