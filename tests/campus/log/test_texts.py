"""Columns of text."""

import pyarrow as pa
import pytest

from tippers_dagster.campus.log import texts
from tippers_dagster.campus.log.checks import Checks
from tippers_dagster.errors import BadInput


def _column(*values: object) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values)])


def test_text() -> None:
    assert texts.text(_column(" a ", "", "  ", None, "é"), "t").to_pylist() == [
        "a", None, None, None, "é",
    ]  # fmt: skip
    assert texts.text(_column(7, None), "t").to_pylist() == ["7", None]
    assert texts.text(_column(7.0, None), "t").to_pylist() == ["7", None]
    dictionary = pa.chunked_array([pa.array(["a", "b", "a"]).dictionary_encode()])
    assert texts.text(dictionary, "t").to_pylist() == ["a", "b", "a"]
    for kind in (pa.large_string(), pa.string_view()):
        other = pa.chunked_array([pa.array([" a ", None], kind)])
        assert texts.text(other, "t").to_pylist() == ["a", None]
    with pytest.raises(BadInput, match="Column t"):
        texts.text(_column(7.5), "t")
    with pytest.raises(BadInput, match="Column t is of type bool"):
        texts.text(_column(True), "t")


def test_text_that_postgres_cannot_store() -> None:
    checks = Checks(4)
    texts.check_text(checks, _column("a", "b\0", "x" * 501, None), "t")
    assert checks.good.tolist() == [True, False, False, True]
    assert checks.counts() == {"t has a NUL character": 1, "t is longer than 500 bytes": 1}
