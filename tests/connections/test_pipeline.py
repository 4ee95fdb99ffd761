"""Definitions that read the tables of connections."""

from __future__ import annotations

import logging
import uuid

import pytest

from tests.connections.conftest import Other, rows
from tippers_dagster.catalog import store as catalog_store
from tippers_dagster.catalog.kinds import Concept, ConnectionTable, Index, Kind
from tippers_dagster.catalog.model import Draft, Ref
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.connections import store
from tippers_dagster.connections.bodies import connections
from tippers_dagster.connections.running import connection_nodes_of, sync_tables
from tippers_dagster.graph.launch import materialize_definitions
from tippers_dagster.graph.load import load_pipeline
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.postgres.owner import OWNER
from tippers_dagster.settings import Settings, get_settings


def compute(settings: Settings) -> list[str]:
    with dagster_instance(settings) as instance:
        done = materialize_definitions(settings, instance, "+course.students")
    assert all(outcome.state == "computed" for outcome in done), done
    return [outcome.name for outcome in done]


@pytest.mark.slow
def test_an_index_over_a_table_follows_it(campus: Settings, other: Other) -> None:
    store.choose(campus, "registrar", ConnectionTable(name="enrolment"), by="ada")
    index = Index(sql="SELECT student FROM connection_registrar.enrolment", key="student")
    catalog_store.save(campus, Draft(Ref("", "course", Kind.CONCEPT), Concept()), by="ada")
    draft = Draft(Ref("course", "students", Kind.INDEX), index, reads=())
    catalog_store.save(campus, draft, by="ada")
    assert compute(campus) == ["connection/registrar/enrolment", "course/students"]
    assert compute(campus) == []

    other.run("INSERT INTO enrolment VALUES (101, 'new', 1, NULL, '2025-02-01')")
    body = store.get(campus, "registrar")
    (outcome,) = sync_tables(
        campus,
        "registrar",
        body,
        body.tables,
        nodes=connection_nodes_of({"registrar": body}),
        run_id="by hand",
        log=logging.getLogger(__name__),
    )
    assert outcome.error is None
    assert compute(campus) == ["course/students"]
    assert rows(campus, "SELECT count(*) FROM indexes.course__students") == [(101,)]


@pytest.mark.slow
def test_staging_models_read_the_synced_source(
    stack: Settings, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIPPERS_SOURCE_URL", other.url)
    get_settings.cache_clear()
    settings = get_settings()
    nodes = load_pipeline(settings).nodes
    synced = {n.key[-1] for n in nodes if n.key[:2] == ("connection", "source")}
    read = {dep[-1] for n in nodes for dep in n.deps if dep[:2] == ("connection", "source")}
    assert (
        read
        == synced
        == {
            settings.space_table,
            settings.space_metadata_table,
            settings.faculty_table,
            settings.coverage_table,
        }
    ), "the session log is read in place"


def test_a_source_may_lack_all_tables_but_the_spaces(
    stack: Settings, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    other.run(f"SET LOCAL ROLE {OWNER}; CREATE SCHEMA source")
    other.run(f"SET LOCAL ROLE {OWNER}; CREATE TABLE source.space (space_id text)")
    monkeypatch.setenv("TIPPERS_SOURCE_URL", other.url)
    get_settings.cache_clear()
    settings = get_settings()

    def synced() -> dict[str, str | None]:
        body = connections(settings, load_catalog(settings))["source"]
        nodes = connection_nodes_of({"source": body})
        log = logging.getLogger(__name__)
        done = sync_tables(
            settings, "source", body, body.tables, nodes=nodes, run_id=uuid.uuid4().hex, log=log
        )
        return {outcome.table.name: str(outcome.error or "") for outcome in done}

    assert set(synced().values()) == {""}
    other.run(f"SET LOCAL ROLE {OWNER}; CREATE TABLE source.faculty_data (name text, office text)")
    assert set(synced().values()) == {""}
    assert rows(settings, "SELECT count(*) FROM connection_source.faculty_data") == [(0,)]
    other.run("DROP TABLE source.faculty_data, source.space")
    wrong = {name for name, error in synced().items() if "there is no table" in error}
    assert wrong == {"faculty_data", "space"}, "what was there is missed"
