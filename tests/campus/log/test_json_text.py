"""JSON of any shape as lines: the text may be cut into blocks anywhere."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tippers_dagster.campus.log.json_text import (
    Records,
    first_document,
    list_of_records,
    paths_of,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 40), 1 << 40)
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.sampled_from(['"', "\\", '\\"', '\\\\"', "a]b", "{,}", "\n", "é漢😀"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
RECORDS = st.lists(st.dictionaries(st.text('ab"\\é', max_size=3), VALUES, max_size=4), max_size=6)


def blocks_of(text: bytes, cuts: list[int]) -> list[bytes]:
    at = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[a:b] for a, b in pairwise(at)]


@given(
    RECORDS,
    st.sampled_from([None, 0, 2, "\t"]),
    st.booleans(),
    st.sampled_from(
        [
            ('{"a":{"b":%s},"c":[1,{"d":"]"}]}', ("a", "b")),
            ("%s", None),
            ('{"x":"[","results": %s\n}\n', ("results",)),
        ]
    ),
    st.lists(st.integers(0, 1 << 20), max_size=8),
)
def test_a_list_becomes_lines(records, indent, ascii_only, document, cuts) -> None:
    around, path = document
    text = around % json.dumps(records, indent=indent, ensure_ascii=ascii_only)
    found = list_of_records(text, path)
    assert found is not None
    start, depth = found
    state = Records(depth)
    blocks = blocks_of(text.encode()[len(text[:start].encode()) :], cuts)
    lines = b"".join(map(state.lines, blocks)).split(b"\n")
    assert [json.loads(line) for line in lines if line.strip()] == records
    assert (state.closed, state.ended, state.broken, state.follows) == (True, True, False, False)


@given(
    RECORDS,
    st.sampled_from([None, 1]),
    st.lists(st.integers(0, 1 << 20), max_size=8),
)
def test_documents_become_lines(records, indent, cuts) -> None:
    text = "\n".join(json.dumps(record, indent=indent) for record in records).encode()
    state = Records(0)
    lines = b"".join(map(state.lines, blocks_of(text, cuts))).split(b"\n")
    assert [json.loads(line) for line in lines if line.strip()] == records
    assert state.ended
    assert not state.broken


@pytest.mark.parametrize(
    ("text", "closed", "ended", "follows"),
    [
        (b'{"a":1},{"a":', False, False, False),
        (b'{"a":1}]', True, False, False),
        (b'{"a":1}]} \n', True, True, False),
        (b'{"a":1}]}{"results":[{"a":2}]}', True, True, True),
        (b'{"a":"]}', False, False, False),
    ],
    ids=["cut in a record", "cut after the list", "whole", "two documents", "cut in a text"],
)
def test_how_a_list_ends(text: bytes, closed: bool, ended: bool, follows: bool) -> None:
    state = Records(2)
    for at in range(len(text)):
        state.lines(text[at : at + 1])
    assert (state.closed, state.ended, state.follows) == (closed, ended, follows)


def test_a_bracket_that_was_not_opened() -> None:
    state = Records(0)
    state.lines(b'{"a":1}\n}\n{"a":2}')
    assert state.broken


@pytest.mark.parametrize(
    ("head", "path", "after"),
    [
        ('{"results": [{"a": 1}]}', None, "[{"),
        ('{"tags": ["x"], "data": {"Rows": [ {"a": 1}]}}', None, "[ {"),
        ('{"a": [{"x": 1}], "b": [{"y": 2}]}', ("b",), '[{"y'),
        ('{"a": {"B": []}}', ("A", "b"), "[]"),
        ("[]", None, "[]"),
        ('{"a": 1}', None, None),
        ('{"a": [1, 2]}', None, None),
        ('{"a": [{"x": 1}]}', ("b",), None),
        ('{"a": ' * 10_000, None, None),
        ("[" * 100_000, ("a",), None),
        ('{"a"', None, None),
    ],
)
def test_where_the_list_of_records_is(head, path, after) -> None:
    found = list_of_records(head, path)
    assert found == (None if after is None else (head.index(after) + 1, found[1]))


def test_the_first_line_may_be_a_document() -> None:
    assert first_document('{"a": 1}\n{"a": 2}') == 8
    assert first_document('  {"a": 1}  ') == 10
    assert first_document('{"a":\n1}') is None
    assert first_document('{"a": 1} {"a": 2}') is None
    assert first_document("[" * 100_000) is None


def test_paths_of_a_record() -> None:
    line = '{"a": {"b": 1, "c": {}}, "d": [1], "e": [{"f": 1}, {"g": {"h": 2}}, 3]}'
    assert list(paths_of(line, frozenset())) == [("a", "b"), ("a", "c"), ("d",), ("e",)]
    exploded = frozenset({("e",)})
    assert list(paths_of(line, exploded))[3:] == [("e", "f"), ("e", "g", "h")]
    assert list(paths_of("not JSON", frozenset())) == []
    assert list(paths_of('{"a":' * 100_000, frozenset())) == []
