"""What the errors of drivers become."""

from __future__ import annotations

import pytest

from tippers_dagster.catalog.kinds import Connection
from tippers_dagster.connections.faults import fault

BODY = Connection(dialect="mysql", host="db", database="radius", user="reader")


@pytest.mark.parametrize(
    ("message", "words", "hint"),
    [
        ("permission denied for table radacct", "reader may not read it", "GRANT SELECT"),
        ("(1142, \"SELECT command denied to user 'reader'\")", "may not read it", "GRANT SELECT"),
        ("(2013, 'Lost connection to MySQL server during query')", "broke", "Try again"),
        ("terminating connection due to administrator command", "broke", "Try again"),
        ("(1045, \"Access denied for user 'reader'\")", "wrong user or password", "password"),
        ("(1049, \"Unknown database 'radius'\")", "no database 'radius'", "--database"),
        ("division by zero", "radius: division by zero", ""),
    ],
)
def test_messages_say_what_to_do(message: str, words: str, hint: str) -> None:
    found = fault("radius", BODY, message)
    assert words in found.message
    assert hint in (found.hint or "")
