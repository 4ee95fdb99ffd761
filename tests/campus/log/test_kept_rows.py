"""What rejected rows said, as JSON."""

from __future__ import annotations

import json

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tippers_dagster.campus.log.kept_rows import NUL, as_json, kept_columns
from tippers_dagster.campus.log.mapping import read_mapping

TEXTS = st.none() | st.text(max_size=30)


@given(rows=st.lists(st.tuples(TEXTS, TEXTS), max_size=5), names=st.tuples(st.text(), st.text()))
def test_every_text_comes_back(
    rows: list[tuple[str | None, str | None]], names: tuple[str, str]
) -> None:
    arrays = [pa.array([row[i] for row in rows], pa.string()) for i in (0, 1)]
    found = [json.loads(text) for text in as_json(pa.table(arrays, [*names])).to_pylist()]
    wanted = [[None if v is None else v.replace("\0", NUL) for v in row] for row in rows]
    assert found == [dict(zip(names, row, strict=True)) for row in wanted]


def test_numbers_and_times_are_texts_and_long_ones_are_cut() -> None:
    table = pa.table({"a": [1.0], "b": [pa.scalar(0, pa.timestamp("s"))], "c": ["x" * 501]})
    (row,) = as_json(table).to_pylist()
    assert json.loads(row) == {"a": "1", "b": "1970-01-01 00:00:00", "c": "x" * 500}


def test_columns_have_the_names_of_the_log_and_users_are_left_out() -> None:
    mapping = read_mapping(
        {"device": ["mac", "client"], "start": "began", "user": "login", "space": "room"}
        | {"end": "ended"}
    )
    roles = ("device", "start", "end", "user", "space")
    columns = pa.table({role: pa.array(["x"]) for role in roles})
    assert kept_columns(columns, mapping).column_names == ["device", "began", "ended", "room"]
