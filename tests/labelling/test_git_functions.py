"""Python functions imported from the project's files."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tippers_dagster.catalog.kinds import LabellingFunction
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.expressions.values import Columns
from tippers_dagster.labelling.git_functions import (
    GitFunction,
    content_hash,
    git_function_path,
    load_git_function,
)
from tippers_dagster.labelling.program import AllRowsFailed, compile_function

LABELS = ("STATIC", "LAPTOP", "PHONE")
BODY = LabellingFunction(rule="r", labels=("LAPTOP", "PHONE"), function="carried")
HEAD = "from snorkel.labeling import labeling_function\n\n"
TABLE = pa.table(
    {
        "mac_address": ["m1", "m2", "m3", "m4"],
        "hours": [5.0, None, 1.0, 2.0],
        "sessions": [3, 4, 0, None],
    }
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = git_function_path(tmp_path, "device", "carried_together")
    found.parent.mkdir(parents=True)
    return found


def loaded(path: Path, text: str, body: LabellingFunction = BODY) -> GitFunction:
    path.write_text(HEAD + text)
    return load_git_function(path, body, LABELS)


def test_a_snorkel_function_votes_row_by_row(path: Path) -> None:
    function = loaded(
        path,
        """
import math

PHONE, LAPTOP, ABSTAIN = 2, "LAPTOP", -1

@labeling_function()
def carried(x):
    total = sum(value for value in (x.hours, x["sessions"]) if value is not None)
    if x.get("hours") is None:
        return "ABSTAIN"
    return PHONE if math.sqrt(total) > 2 else LAPTOP
""",
    )
    result = function.vote(TABLE)
    assert result.votes.tolist() == [2, -1, 1, 1]
    assert (result.nulls, result.errors, result.example) == (0, 0, None)
    assert function.vote(Columns(TABLE)).votes.tolist() == [2, -1, 1, 1]
    assert str(path).endswith("definitions/device/labelling_functions/carried_together.py")


def test_nulls_and_errors_abstain_and_are_counted_separately(path: Path) -> None:
    function = loaded(
        path,
        "@labeling_function()\ndef carried(x):\n    return 2 if x.hours / x.sessions else -1\n",
    )
    result = function.vote(TABLE)
    assert result.votes.tolist() == [2, -1, -1, -1]
    assert (result.nulls, result.errors) == (2, 1)
    assert result.example is not None
    assert result.example.startswith("row 3: ZeroDivisionError: float division by zero (line 5)")
    assert "hours = 1.0, sessions = 0" in result.example
    assert "m3" not in result.example


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ('row["hours"] == 5', [1, -1, -1, -1]),
        ('row["hours"] != 5', [-1, -1, 1, 1]),
        ('row["sessions"] in (3, 4)', [1, 1, -1, -1]),
        ('row["sessions"] not in (3, 4)', [-1, -1, 1, -1]),
        ('row["hours"] == None', [-1, 1, -1, -1]),
        ('row["hours"] is not None and row["hours"] > 1', [1, -1, -1, 1]),
        ('row["hours"]', [1, -1, 1, 1]),
        ('not row["sessions"]', [-1, -1, 1, 1]),
        ('(row["hours"] or 9) > 4', [1, 1, -1, -1]),
    ],
)
def test_a_null_means_the_same_in_all_kinds(path: Path, test: str, expected: list[int]) -> None:
    text = f"def carried(row):\n    return LAPTOP if {test} else ABSTAIN\n"
    constants = "LAPTOP, ABSTAIN = 1, -1\n"
    in_git = loaded(path, f"{constants}@labeling_function()\n{text}").vote(TABLE)
    body = LabellingFunction(rule="r", labels=("LAPTOP",), python=text)
    columns = {field.name: field.type for field in TABLE.schema}
    compiled = compile_function(body, columns=columns, values=LABELS).vote(TABLE)
    assert in_git.votes.tolist() == compiled.votes.tolist() == expected
    assert (in_git.nulls, in_git.errors) == (compiled.nulls, compiled.errors)


def test_helpers_of_the_file_keep_pythons_meaning_of_none(path: Path) -> None:
    function = loaded(
        path,
        """
def same(a, b):
    return a == b

@labeling_function(name="carried")
def other_name(x):
    return 1 if same(x.hours, None) else -1
""",
    )
    assert function.vote(TABLE).votes.tolist() == [-1, 1, -1, -1]


def test_numerics_are_floats(path: Path) -> None:
    numeric = pa.opaque(pa.string(), "numeric", "PostgreSQL")
    table = pa.table({"x": pa.ExtensionArray.from_storage(numeric, pa.array(["0.8", None]))})
    function = loaded(
        path, "@labeling_function()\ndef carried(x):\n    return 1 if x.x >= 0.8 else -1\n"
    )
    assert function.vote(table).votes.tolist() == [1, -1]


def test_preprocessors_of_snorkel_work(path: Path) -> None:
    function = loaded(
        path,
        """
from snorkel.preprocess import preprocessor

@preprocessor()
def doubled(x):
    x.twice = x.sessions * 2 if x.sessions is not None else 0
    return x

@labeling_function(pre=[doubled])
def carried(x):
    return 2 if x.twice > 5 else -1
""",
    )
    assert function.vote(TABLE).votes.tolist() == [2, 2, -1, -1]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("0", "returned 'STATIC', which is not in its list of labels"),
        ("7", "returned 7"),
        ("True", "returned True"),
        ("1.0", "returned 1.0"),
        ("'ROUTER'", "returned 'ROUTER'"),
    ],
)
def test_an_invalid_vote_is_an_error(path: Path, returned: str, message: str) -> None:
    function = loaded(path, f"@labeling_function()\ndef carried(x):\n    return {returned}\n")
    with pytest.raises(BadInput, match=message) as caught:
        function.vote(TABLE)
    assert caught.value.hint == "It may return 1 (LAPTOP), 2 (PHONE) or -1 to abstain."


def test_failing_on_all_rows_is_an_error(path: Path) -> None:
    function = loaded(
        path, "@labeling_function()\ndef carried(x):\n    return 1 if x.hour else -1\n"
    )
    with pytest.raises(AllRowsFailed, match="no attribute 'hour'"):
        function.vote(TABLE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "no labelling function 'carried'"),
        ("@labeling_function()\ndef other(x):\n    return 1\n", "no labelling function 'carried'"),
        ("def carried(x:\n", "SyntaxError"),
        ("1 / 0", r"ZeroDivisionError: division by zero \(line 3\)"),
        ("import nowhere_to_be_found", "nowhere_to_be_found"),
        ("raise SystemExit(3)", "SystemExit"),
    ],
)
def test_an_unusable_file_is_reported(path: Path, text: str, message: str) -> None:
    before = set(sys.modules)
    with pytest.raises(BadInput, match=message):
        loaded(path, text)
    left = {name for name in set(sys.modules) - before if name.startswith("_tippers_git_")}
    assert len(left) == (message.startswith("no labelling"))


def test_no_file_and_no_label(path: Path) -> None:
    with pytest.raises(BadInput, match=r"no file carried_together\.py"):
        load_git_function(path, BODY, LABELS)
    with pytest.raises(BadInput, match=r"no file carried_together\.py"):
        content_hash(path)
    with pytest.raises(BadInput, match="no label LAPTOP"):
        load_git_function(path, BODY, ("STATIC", "PHONE"))
    python = LabellingFunction(rule="r", labels=("LAPTOP",), python="def f(row): return LAPTOP")
    with pytest.raises(BadInput, match="names no function"):
        load_git_function(path, python, LABELS)


def test_a_changed_file_is_loaded_again(path: Path) -> None:
    text = "@labeling_function()\ndef carried(x):\n    return {}\n"
    first = loaded(path, text.format(1))
    before = content_hash(path)
    second = loaded(path, text.format(2))
    assert content_hash(path) != before
    assert set(first.vote(TABLE).votes) == {1}
    assert set(second.vote(TABLE).votes) == {2}
    assert not list(path.parent.glob("__pycache__"))
