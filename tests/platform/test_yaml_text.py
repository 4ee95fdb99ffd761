"""Any YAML text is either read or refused with a message, quickly."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tippers_dagster.calendar.files import read_bytes
from tippers_dagster.errors import BadInput
from tippers_dagster.platform import yaml_text

LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)

HOSTILE = {
    "a: " + "[" * 60_000 + "]" * 60_000: "line 1: nested more than 50 levels deep",
    "a: " + "{a: " * 60_000: "line 1: nested more than 50 levels deep",
    "a:\n" + "- " * 60_000: "line 2: nested more than 50 levels deep",
    "? " * 60_000: "line 1: nested more than 50 levels deep",
    "\n".join(" " * i + "a:" for i in range(1000)): "line 51: nested more than 50 levels deep",
    "a: [" + "1," * 300_000 + "]": "more than 200,000 values",
    "a: '" + "x" * (1 << 20) + "'": "larger than",
    LAUGHS: "aliases",
    "a: &x [*x]": "aliases",
    "a: !!int x": "tags",
    "a: !!bool x": "tags",
    "a: !!float ''": "tags",
    "a: !!timestamp x": "tags",
    "a: !foo 1": "tags",
    "a: 0x" + "f" * 90: "number is too large",
    "a: 1" + "0" * 5000: "number is too large",
    "a: " + ":".join(["59"] * 30_000): "number is too large",
    "a: 2020-13-45": "nvalid YAML",
    "a: <<": "nvalid YAML",
    "a: 1\n---\nb: 2": "line 2: invalid YAML",
    "a: 1\nb: \x00": "line 2: YAML does not allow the character U+0000",
    "a: \x1b[2J": "U+001B",
    "a: \ud800": "nvalid YAML",
    "? [1]\n: 2": "is not a field",
}


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text)[:30])
def test_hostile_texts_are_refused(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        yaml_text.load(text)
    assert HOSTILE[text] in caught.value.message
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("text", ["periods: " + "[" * 60_000, "- " * 60_000])
def test_deeply_nested_yaml_does_not_end_the_process(text: str) -> None:
    with pytest.raises(BadInput, match="50 levels"):
        read_bytes(text.encode(), "calendar.yml")


def test_aliases_in_project_files_expand_up_to_a_limit() -> None:
    text = "a: &x {k: 1}\nb: *x\nc:\n  <<: *x\n  d: 2\n"
    assert yaml_text.load_project_file(text) == {
        "a": {"k": 1},
        "b": {"k": 1},
        "c": {"k": 1, "d": 2},
    }
    with pytest.raises(BadInput, match="more than 200,000 values"):
        yaml_text.load_project_file(LAUGHS)
    with pytest.raises(BadInput, match="more than 200,000 values"):
        yaml_text.load_project_file("a: &x [*x]")


PLAIN = st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text()


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            PLAIN, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3)
        ),
    )
)
def test_written_yaml_is_read_back_unchanged(content: dict[str, object]) -> None:
    assert yaml_text.load(yaml_text.dump(content)) == content


@settings(max_examples=1000, deadline=None)
@given(st.text(alphabet="ab1:-?[]{}&*!|>%@`'\"#,. \n\t~<=\x00é", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for load in (yaml_text.load, yaml_text.load_project_file):
        with suppress(BadInput):
            load(text)
