"""Every shipped model on both engines: the same tables, rows and types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.conftest import SessionServer
from tests.dbt_project.engines import check_generated_queries, same
from tests.dbt_project.test_models import Built, built, copied, deployment
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.warehouse.engine import read_arrow, warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.columns import schema_columns
from tippers_dagster.sql.duckdb.contents import inputs, lake_sandbox
from tippers_dagster.sql.nodes import meta_of
from tippers_dagster.sql.project import Project, rendered_project
from tippers_dagster.sql.running import dbt_run

__all__ = ["built", "deployment"]

pytestmark = [pytest.mark.slow, pytest.mark.second_engine]

Row = dict[str, Any]


class OnLake:
    """The same lake, and a copy of the warehouse without results."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.project: Project = rendered_project(settings, Catalog(()))
        nodes = self.project.manifest["nodes"]
        self.models = {
            i: n
            for i, n in nodes.items()
            if n["resource_type"] == "model" and "concept" in meta_of(n)
        }
        self.tests = [i for i, n in nodes.items() if n.get("attached_node") in self.models]
        self.statuses: dict[str, str] = {}

    def build(self) -> None:
        """Build and store every model."""
        names = [node["name"] for node in self.models.values()]
        arguments = ["build", "--exclude-resource-type", "unit_test", "--select", *names]
        chosen = [*self.models, *self.tests]
        with dbt_run(self.settings, self.project, arguments, chosen) as run:
            for result in run.results():
                self.statuses[result.unique_id] = result.status
                if result.unique_id in self.models:
                    run.described(self.models[result.unique_id], result)
            assert run.error() is None, run.error()


@pytest.fixture(scope="module")
def lake(
    built: Built,
    deployment: tuple[Settings, str, Path],
    session_server: SessionServer,
) -> Iterator[OnLake]:
    on_postgres = deployment[0]
    settings, copy = copied(on_postgres, session_server)
    settings = settings.model_copy(
        update={
            "home": on_postgres.home / "lake_engine",
            "lake_url": open_lake(on_postgres).uri(),
            "sql_engine": "duckdb",
        }
    )
    with warehouse_engine(settings).begin() as connection:
        for schema in ("indexes", "rules", "features"):
            for table in {t for s, t in schema_columns(connection, [schema])}:
                connection.execute(sa.text(f'DROP TABLE "{schema}"."{table}" CASCADE'))
    found = OnLake(settings)
    found.build()
    yield found
    warehouse_engine(settings).dispose()
    session_server.drop(copy)


def test_everything_is_built_and_tested(lake: OnLake) -> None:
    assert set(lake.statuses) == {*lake.models, *lake.tests}
    assert set(lake.statuses.values()) == {"success", "pass"}


def test_every_model_is_the_same_on_both_engines(built: Built, lake: OnLake) -> None:
    assert len(lake.models) == 52
    for node in lake.models.values():
        place = f"{node['schema']}.{node['alias']}"
        wanted, found = _rows(built.read(place)), _rows(_read(lake.settings, place))
        assert found.keys() == wanted.keys(), place
        for key, row in wanted.items():
            for name, value in row.items():
                assert same(value, found[key][name]), (place, key, name, value, found[key][name])


def test_columns_and_types_are_the_same(
    built: Built, deployment: tuple[Settings, str, Path], lake: OnLake
) -> None:
    schemas = ("indexes", "rules", "features")
    with warehouse_engine(deployment[0]).connect() as connection:
        wanted = schema_columns(connection, schemas)
    with warehouse_engine(lake.settings).connect() as connection:
        assert schema_columns(connection, schemas) == wanted


def test_tables_have_their_index_and_a_file_in_the_lake(lake: OnLake) -> None:
    indexed = read_arrow(
        lake.settings, "SELECT DISTINCT tablename FROM pg_indexes WHERE schemaname = 'rules'"
    )
    rules = {n["alias"] for n in lake.models.values() if n["schema"] == "rules"}
    assert set(indexed["tablename"].to_pylist()) == rules
    keys = set(open_lake(lake.settings).list("rules/"))
    assert keys == {f"rules/{name}/data.parquet" for name in rules}


def test_the_views_of_the_log(built: Built, lake: OnLake) -> None:
    """What staging models give is what PostgreSQL makes of the source."""
    manifest, views = lake.project.manifest, lake.project.staging_views
    names = ("int_sessions", "int_place_days", "int_device_days", "int_regions", "int_places")
    given = inputs(manifest, views, [f"model.tippers.{name}" for name in names])
    assert {view for view, _ in given.views} >= {f"staging.{name}" for name in names}
    with lake_sandbox(lake.settings, given, statement_seconds=30) as box:
        for name in names:
            found = box.query(f"SELECT * FROM staging.{name}", 30).to_pylist()
            wanted = built.read(f"staging.{name}")
            assert _sorted(found) == _sorted(wanted), name


def test_what_only_the_other_engine_needs_is_dropped(lake: OnLake) -> None:
    with warehouse_engine(lake.settings).connect() as connection:
        assert schema_columns(connection, ["log", "staging"]) == {}


def test_generated_queries_give_the_same(
    deployment: tuple[Settings, str, Path], lake: OnLake
) -> None:
    """Over what was extracted from the source, and over the lake."""
    check_generated_queries(deployment[0], lake.settings)


def _sorted(rows: list[Row]) -> list[str]:
    return sorted(json.dumps(_plain(row), sort_keys=True, default=str) for row in rows)


def _plain(row: Row) -> Row:
    """Instants in seconds: the drivers' zones differ."""
    return {n: v.timestamp() if getattr(v, "tzinfo", None) else v for n, v in row.items()}


def _rows(rows: list[Row]) -> dict[str, Row]:
    return {row["mac_address"]: row for row in rows}


def _read(settings: Settings, place: str) -> list[Row]:
    schema, name = place.split(".")
    return read_arrow(settings, f'SELECT * FROM "{schema}"."{name}"').to_pylist()
