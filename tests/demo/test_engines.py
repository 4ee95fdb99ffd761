"""The whole demo with either SQL engine, and with a lake on S3: the same tables and labels.

Queries that are put together at random give the same, too. Each campus takes minutes, so these
tests need a word: ``TIPPERS_TEST_ENGINES=small`` for the first campus, ``all`` for all of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.conftest import ENGINES, REPOSITORY, SessionServer, enter, environment_of, new_bucket
from tests.dbt_project.engines import check_generated_queries
from tippers_dagster.platform.warehouse.engine import read_arrow, warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.columns import schema_columns

pytestmark = pytest.mark.slow

EXACT = ("indexes", "rules", "features")
LABELS = ("labels",)
OF_ONE_RUN = ("run_id", "version")
"""Columns that name what computed a row."""


@dataclass(frozen=True)
class Campus:
    """What the demo is called with."""

    name: str
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


def _simulated(buildings: int, people: int, weeks: int, seed: int) -> tuple[str, ...]:
    sizes = {"buildings": buildings, "people": people, "weeks": weeks, "seed": seed}
    return tuple(f"--{name}={value}" for name, value in sizes.items())


CAMPUSES = (
    Campus("small", _simulated(1, 150, 3, seed=1)),
    Campus(
        "a change of clocks, and chunks of a month",
        _simulated(2, 300, 11, seed=7),
        {"TIPPERS_TIMEZONE": "Europe/Berlin", "TIPPERS_CHUNK": "month"},
    ),
    Campus(
        "half an hour of summer, and chunks of a day",
        _simulated(4, 600, 4, seed=3),
        {"TIPPERS_TIMEZONE": "Australia/Lord_Howe", "TIPPERS_CHUNK": "day"},
    ),
    Campus("SmartSPEC"),
)


S3 = "duckdb, lake on S3"


@pytest.fixture
def deployments(
    request: pytest.FixtureRequest,
    session_server: SessionServer,
    s3_server: str,
    warehouse_template: str,
    dagster_template: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[dict[str, Settings]]:
    """The deployments in which the demo ran, by what differs."""
    campus: Campus = request.param
    arguments = campus.arguments
    if not arguments:
        arguments = ("--smartspec", str(request.getfixturevalue("shared_data") / "smartspec"))
    created: list[str] = []
    environments, running = {}, {}
    differing = {
        "duckdb": {"TIPPERS_SQL_ENGINE": "duckdb"},
        "postgres": {"TIPPERS_SQL_ENGINE": "postgres"},
        S3: new_bucket(s3_server).environment,
    }
    for name, own in differing.items():
        urls = [session_server.create(t) for t in (warehouse_template, dagster_template)]
        created += urls
        folder = tmp_path / name
        folder.mkdir()
        environments[name] = {**environment_of(folder, *urls), **campus.environment, **own}
        running[name] = subprocess.Popen(
            [sys.executable, "-m", "tippers_dagster.cli", "demo", *arguments],
            env={**os.environ, **environments[name], "COLUMNS": "200"},
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    for name, process in running.items():
        shown, _ = process.communicate(timeout=3600)
        assert process.returncode == 0, f"{name}: {shown}"
    found = {}
    for name, environment in environments.items():
        found[name] = enter(monkeypatch, environment)
    yield found
    for settings in found.values():
        warehouse_engine(settings).dispose()
    for url in created:
        session_server.drop(url)


@pytest.mark.second_engine
@pytest.mark.parametrize(
    "deployments",
    [
        pytest.param(
            campus,
            id=campus.name,
            marks=pytest.mark.skipif(
                ENGINES == "small" and campus.name != "small", reason="TIPPERS_TEST_ENGINES=all"
            ),
        )
        for campus in CAMPUSES
    ],
    indirect=True,
)
def test_the_whole_demo_gives_the_same_everywhere(deployments: dict[str, Settings]) -> None:
    usual = deployments.pop("duckdb")
    tables = _tables(usual, EXACT + LABELS)
    assert {schema for schema, _ in tables} == {*EXACT, *LABELS}
    for other, settings in deployments.items():
        assert _tables(settings, EXACT + LABELS) == tables, other
        for schema, name in tables:
            found, wanted = (_rows(one, schema, name) for one in (settings, usual))
            assert found.schema.equals(wanted.schema), (other, schema, name)
            for column in found.column_names:
                place = f"{other}: {schema}.{name}.{column}"
                # Label models are trained from the same votes by the same code.
                tolerance = 1e-9 if schema in EXACT else 1e-7
                _check_equal(found[column], wanted[column], tolerance, place)
    check_generated_queries(deployments["postgres"], usual)


def _tables(settings: Settings, schemas: tuple[str, ...]) -> list[tuple[str, str]]:
    with warehouse_engine(settings).connect() as connection:
        return sorted(schema_columns(connection, schemas))


def _rows(settings: Settings, schema: str, name: str) -> pa.Table:
    """The rows in the order of their key, which is the first column."""
    rows = read_arrow(settings, f'SELECT * FROM "{schema}"."{name}"')
    rows = rows.drop_columns([c for c in OF_ONE_RUN if c in rows.column_names])
    key = rows.column_names[0]
    return rows.take(pc.sort_indices(rows[key].cast(pa.string())))


def _check_equal(
    found: pa.ChunkedArray, wanted: pa.ChunkedArray, tolerance: float, place: str
) -> None:
    if not pa.types.is_floating(found.type):
        assert found.equals(wanted), place
        return
    assert found.is_null().equals(wanted.is_null()), place
    values, others = (c.drop_null().to_numpy() for c in (found, wanted))
    np.testing.assert_allclose(values, others, rtol=tolerance, atol=1e-12, err_msg=place)
