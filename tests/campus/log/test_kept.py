"""What is kept of sessions: JSON as PostgreSQL writes it."""

from __future__ import annotations

import json

import numpy as np
import psycopg2
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from tippers_dagster.campus.log.kept import MAX_KEPT, KeptTexts, kept_texts

texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), min_size=1)


def kept(**columns: list[str | None]) -> list[str | None]:
    found: list[str | None] = kept_texts(
        pa.table(columns, pa.schema([(n, pa.string()) for n in columns]))
    ).to_pylist()
    return found


def test_values_are_texts_by_name() -> None:
    assert kept(ssid=["eduroam", None, " ", "a"], rssi=["-60", " -7 ", "", None]) == [
        '{"rssi": "-60", "ssid": "eduroam"}',
        '{"rssi": "-7"}',
        None,
        '{"ssid": "a"}',
    ]
    assert kept_texts(pa.table({"n": [1, 2]}).select([])).to_pylist() == [None, None]


def test_long_values_are_cut() -> None:
    (found,) = kept(a=["é" * (MAX_KEPT + 1)])
    assert json.loads(found or "") == {"a": "é" * MAX_KEPT}


@pytest.fixture(scope="module")
def connection(session_server: object) -> psycopg2.extensions.connection:
    url = session_server.create()  # type: ignore[attr-defined]
    connection = psycopg2.connect(url)
    connection.autocommit = True
    yield connection
    connection.close()
    session_server.drop(url)  # type: ignore[attr-defined]


@given(st.dictionaries(names, texts, max_size=5))
@given_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_is_the_text_of_jsonb(
    connection: psycopg2.extensions.connection, values: dict[str, str | None]
) -> None:
    values = {name.strip(): value for name, value in values.items()}
    (found,) = kept_texts(
        pa.table(
            {name: pa.array([v], pa.string()) for name, v in values.items()}
            or {"x": pa.nulls(1, pa.string())}
        )
    )
    if not found.is_valid:
        assert not any((value or "").strip() for value in values.values())
        return
    wanted = {
        n: v.strip().replace("\0", "\N{SYMBOL FOR NULL}")
        for n, v in values.items()
        if (v or "").strip()
    }  # type: ignore[union-attr]
    assert json.loads(found.as_py()) == wanted
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::jsonb::text", (found.as_py(),))
        assert cursor.fetchone() == (found.as_py(),)


def test_values_are_completed_by_those_of_others() -> None:
    given = ['{"a": "1"}', '{"a": "2", "bb": "x: \\"y\\""}', None]
    known, codes = KeptTexts.encoded(pa.chunked_array([given, given[:1]], pa.string()))
    assert codes.tolist() == [0, 1, -1, 0]
    mine, others = np.array([0, 1, 2, 2, 0]), np.array([1, 0, 0, 2, 2])
    assert known.lacking(codes[mine], codes[others]).tolist() == [True, False, True, False, False]
    found = known.completed(codes[mine[:3]], codes[others[:3]])
    assert known.take(found).to_pylist() == [
        '{"a": "1", "bb": "x: \\"y\\""}',
        given[1],
        given[0],
    ]
