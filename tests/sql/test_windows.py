"""Models that read different parts of the log in one run, and what makes them stale."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.dbt_project.lake import write_lake, write_spaces
from tests.dbt_project.oracle import Session
from tests.sql.definitions import (
    DEVICE,
    DEVICES,
    MACS,
    bare_project,
    catalog,
    rule,
)
from tests.sql.test_assets import Deployment, failure
from tippers_dagster.automation.state import load_states
from tippers_dagster.automation.tokens import source_tokens
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.model import Definition
from tippers_dagster.catalog.window import EVERYTHING, Window
from tippers_dagster.occupancy.log_window import NoTerm
from tippers_dagster.platform.warehouse.engine import read_arrow, warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.log import window_chunks
from tippers_dagster.sql.log_schema import forget_log
from tippers_dagster.sql.nodes import dbt_nodes, log_tables
from tippers_dagster.sql.project import Project, rendered_project
from tippers_dagster.sql.running import dbt_run
from tippers_dagster.sql.windows import log_models

MONDAY = dt.date(2025, 1, 6)
TWO_WEEKS = Window(weeks=2)
PAIRED = (
    "SELECT p.mac_address, p.sessions, p.shared_sessions, d.days FROM int_partners p "
    "JOIN (SELECT mac_address, count(*) AS days FROM user_ap_trajectory GROUP BY 1) d "
    "USING (mac_address) WHERE p.mac_address IN (:index_values)"
)
DAYS = (
    "SELECT mac_address, count(*) AS days FROM int_device_days "
    "WHERE mac_address IN (:index_values) GROUP BY 1"
)


def windowed(found: Definition, window: str) -> Definition:
    """The definition with a window."""
    body = found.body.model_copy(update={"window": window})
    return Definition(found.ref, body, version=1)


RULES = (
    rule(DAYS, name="ever"),
    windowed(rule(DAYS, name="recently"), "last 2 weeks"),
    windowed(rule(PAIRED, name="paired"), "last 2 weeks"),
    windowed(rule(DAYS, name="this_term"), "term"),
)


def session(device: int, week: int, hours: int = 1) -> Session:
    start = dt.datetime.combine(MONDAY, dt.time(9)) + dt.timedelta(weeks=week)
    end = start + dt.timedelta(hours=hours)
    seconds = [round(t.replace(tzinfo=dt.UTC).timestamp()) for t in (start, end)]
    return Session(MACS[device], "ap1", "1", start, end, *seconds)


LOG = [session(0, week) for week in range(4)] + [session(1, 0), session(2, 3)]
"""Four weeks: one device in each, one in the first only, and one in the last only."""


@pytest.fixture
def weeks(on_engine: Settings) -> Settings:
    write_spaces(on_engine)
    write_lake(on_engine, LOG, [])
    return on_engine


def week_of(number: int) -> dt.date:
    """The Monday of a week of the log."""
    return MONDAY + dt.timedelta(weeks=number)


def add_term(settings: Settings, first: int, weeks: int) -> None:
    """A term that begins in a week of the log."""
    start = week_of(first)
    with warehouse_engine(settings).begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO tippers.academic_period (kind, name, start_date, end_date, version, "
                "updated_at, updated_by) VALUES ('quarter', :name, :start, :end, 1, now(), 'ada')"
            ),
            {"name": f"week {first}", "start": start, "end": start + dt.timedelta(weeks=weeks)},
        )


def build(settings: Settings, project: Project) -> None:
    """Build everything, staging models too."""
    models = {i: n for i, n in project.manifest["nodes"].items() if n["resource_type"] == "model"}
    tests = [i for i, n in project.manifest["nodes"].items() if n.get("attached_node") in models]
    arguments = ["build", "--select", *(n["name"] for n in models.values())]
    with dbt_run(settings, project, arguments, [*models, *tests]) as run:
        for result in run.results():
            assert result.status in ("success", "pass"), run.messages()
            if result.unique_id in models:
                run.described(models[result.unique_id], result)
        assert run.error() is None, run.error()


def rows(settings: Settings, name: str) -> dict[str, Any]:
    found = read_arrow(settings, f"SELECT * FROM rules.device__{name}").to_pylist()
    return {row.pop("mac_address"): tuple(row.values()) for row in found}


@pytest.mark.slow
def test_one_run_with_three_windows(weeks: Settings) -> None:
    add_term(weeks, first=0, weeks=1)
    project = rendered_project(weeks, Catalog((DEVICE, DEVICES, *RULES)))
    assert not project.broken, project.broken
    build(weeks, project)
    assert rows(weeks, "ever") == {MACS[0]: (4,), MACS[1]: (1,), MACS[2]: (1,)}
    assert rows(weeks, "recently") == {MACS[0]: (2,), MACS[2]: (1,)}
    assert rows(weeks, "this_term") == {MACS[0]: (1,), MACS[1]: (1,)}
    # Over all weeks, nobody would share most sessions of the first device.
    assert rows(weeks, "paired") == {MACS[0]: (2, None, 2), MACS[2]: (1, 1, 1)}

    # One more week.
    write_lake(weeks, [*LOG, session(1, 4)], [])
    build(weeks, project)
    assert rows(weeks, "recently") == dict.fromkeys(MACS[:3], (1,))
    assert rows(weeks, "ever")[MACS[1]] == (2,)

    if weeks.sql_engine == "postgres":
        made = "SELECT count(*) AS n FROM log.partners__last_2_weeks"
        assert read_arrow(weeks, made).to_pylist() != [{"n": 0}]
        with warehouse_engine(weeks).begin() as connection:
            connection.exec_driver_sql(
                "DELETE FROM tippers.partition_figures WHERE chunk = '2025-02-03'"
            )
        forget_log(weeks)
        assert read_arrow(weeks, made).to_pylist() == [{"n": 0}]


@pytest.mark.slow
@pytest.mark.parametrize("weeks", ["duckdb"], indirect=True)
def test_a_term_that_there_is_not_fails_its_models_only(weeks: Settings) -> None:
    deployment = Deployment(weeks, catalog(*RULES))
    result = deployment.materialize()
    assert not result.success
    assert "device/this_term: The window is a term" in failure(result)
    states = load_states(weeks)
    assert "calendar has none" in (states["device/this_term"].error or "")
    computed = {name for name, state in states.items() if state.version is not None}
    assert computed >= {"device/ever", "device/recently", "staging/int_device_days"}
    assert "device/this_term" not in computed

    add_term(weeks, first=0, weeks=1)
    assert deployment.materialize("staging/int_device_days__term", "device/this_term").success
    assert rows(weeks, "this_term") == {MACS[0]: (1,), MACS[1]: (1,)}


@pytest.mark.parametrize("weeks", ["duckdb"], indirect=True)
def test_only_what_is_in_the_window_makes_stale(weeks: Settings) -> None:
    project = rendered_project(weeks, Catalog((DEVICE, DEVICES, *RULES)))
    nodes = {node.name: node for node in dbt_nodes(project)}
    copy = nodes["staging/int_device_days__last_2_weeks"]
    assert nodes["device/recently"].deps == (("device", "devices"), copy.key)
    assert copy.deps == (
        ("days_and_encounters", "last_2_weeks"),
        ("sessions", "last_2_weeks"),
    )
    sources = {n: node.source for n, node in nodes.items() if node.source and node.source.query}

    def changed(log: list[Session]) -> set[str]:
        before = source_tokens(weeks, sources)  # type: ignore[arg-type]
        write_lake(weeks, log, [])
        after = source_tokens(weeks, sources)  # type: ignore[arg-type]
        return {name for name in sources if before[name] != after[name]}

    assert changed(LOG) == set()
    everything = {"sessions", "days_and_encounters"}
    recent = {f"{name}/last_2_weeks" for name in everything}
    assert changed([*LOG, session(3, 1)]) == everything, "late, outside the window"
    assert changed([*LOG, session(3, 1), session(3, 2)]) == everything | recent
    a_week_later = changed([*LOG, session(3, 1), session(3, 2), session(3, 4)])
    assert a_week_later == everything | recent | {"derived_occupancy/last_2_weeks"}


def test_models_of_everything_are_the_same_beside_windows(
    bare: Settings,
) -> None:
    def contents(*rules: Definition) -> dict[str, str]:
        project = rendered_project(bare, Catalog((DEVICE, DEVICES, *rules)))
        return {node.name: node.content for node in dbt_nodes(project)}

    (without, also) = contents(*RULES[:1]), contents(*RULES)
    assert without.items() <= also.items()
    other = contents(RULES[0], windowed(RULES[1], "last 3 weeks"))
    assert other["device/recently"] != also["device/recently"]
    assert also["device/recently"] != without["device/ever"]


@pytest.mark.parametrize("weeks", ["duckdb"], indirect=True)
def test_a_window_has_its_chunks(weeks: Settings) -> None:
    names = ["sessions"]
    assert window_chunks(weeks, names, TWO_WEEKS) == ["2025-01-20", "2025-01-27"]
    assert len(window_chunks(weeks, names, EVERYTHING)) == 4
    assert window_chunks(weeks, ["device_address"], EVERYTHING) == []
    with pytest.raises(NoTerm, match="the calendar has none"):
        window_chunks(weeks, names, Window(term=True))
    add_term(weeks, first=1, weeks=2)
    assert window_chunks(weeks, names, Window(term=True)) == ["2025-01-13", "2025-01-20"]


def test_staging_models_that_read_the_log(tmp_path: Path) -> None:
    project = bare_project(tmp_path / "project")
    paths = list(project.rglob("*.sql"))
    files = {path.relative_to(project).as_posix(): path.read_bytes() for path in paths}
    plain = {f"stg_{name}" for name in ("space", "space_metadata", "faculty_data")}
    plain |= {"stg_region_to_coverage", "int_places"}
    staging = {path.stem for path in (project / "models" / "staging").glob("*.sql")}
    assert set(log_models(files)) == staging - plain
    # Through a macro of the project.
    files["macros/mine.sql"] = b"{% macro mine() %}{{ ref('int_sessions') }}{% endmacro %}"
    files["models/staging/stg_mine.sql"] = b"select * from {{ mine() }}"
    assert "stg_mine" in log_models(files)


def test_tables_of_the_log_by_window(bare: Settings) -> None:
    project = rendered_project(bare, Catalog((DEVICE, DEVICES, *RULES)))
    read = log_tables(project.manifest, ["model.tippers.device__recently"])
    assert read == {TWO_WEEKS: {"device_days", "device_address"}}
