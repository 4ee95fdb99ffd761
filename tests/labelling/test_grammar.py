"""Parsing of conditions: precedence, spelling, quotes."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tippers_dagster.catalog.kinds import Condition, LabellingFunction
from tippers_dagster.labelling.program import compile_function

TABLE = pa.table(
    {
        "x": [7],
        "y": [2],
        "b": [True],
        "t": ["dean's"],
        "room type": ["lab"],
        "order": [1],
        "in": [3],
    }
)


def holds(when: str) -> bool:
    body = LabellingFunction(
        rule="r", labels=("STATIC",), conditions=(Condition(when=when, label="STATIC"),)
    )
    columns = {field.name: field.type for field in TABLE.schema}
    result = compile_function(body, columns=columns, values=("STATIC",)).vote(TABLE)
    return result.votes.tolist() == [0]


@pytest.mark.parametrize(
    "when",
    [
        "x + y * 2 = 11",
        "(x + y) * 2 = 18",
        "x - y - 1 = 4",
        "x / y / 2 = 1.75",
        "-x // y = -4",
        "-x % y = 1",
        "- -x = 7",
        "x * -y = -14",
        "not x < y and b",
        "not (x < y or not b)",
        "b or x < y and x < y",
        "NOT b OR TRUE",
        "x BETWEEN 7 AND 7 and y between 1 and 1 + 1",
        "x not between 1 and 6",
        "x IN (1, 7.0) and y not in (-2, 3)",
        "1 < y <= 2 < x",
        "x == 7 and x = 7 and x != 8 and x <> 8",
        "t = 'dean''s' and t = \"dean's\" and t <> 'Dean''s'",
        "`room type` in ('office', 'lab')",
        "`in` = 3 and order = 1",
        "x is not null and not x is None",
        "b = true and b <> false",
        "x > .5 and x < 1e1 and x = 7. and x = 0.7E+1",
        "max(x, y, 9) = 9 and min(x, y) = 2 and ABS(-x) = 7",
        "round(x / y) = 4 and round(x / 3, 2) = 2.33 and int(x / y) = 3",
        "startswith(t, 'd') and endswith(upper(t), 'S') and len(t) = 6",
        "coalesce(x, 1 / 0) = 7",
        "int('12') + float('0.5') = 12.5",
        "\n  x = 7\n  and\n y = 2 or\tx = 14 - 7",
        "7\n=\nx",
    ],
)
def test_conditions_that_are_true(when: str) -> None:
    assert holds(when)
    assert not holds(f"not ({when})")
