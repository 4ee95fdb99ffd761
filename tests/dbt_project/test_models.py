"""The hand-written models on a small source: one `dbt build`, and every rule recounted."""

from __future__ import annotations

import datetime as dt
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extras
import pytest
from psycopg2 import sql
from pydantic import SecretStr

from tests.conftest import SessionServer
from tests.dbt_project import campus, oracle
from tests.dbt_project.lake import extract_log
from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.campus.source.schema import (
    FACULTY_DATA,
    REGION_TO_COVERAGE,
    SESSIONS,
    SPACE_METADATA,
    SPACES,
    VENDOR_PREFIXES,
    loaded_tables,
)
from tippers_dagster.catalog.handwritten import project_source
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.environment import dbt_command, dbt_environment, dbt_variables
from tippers_dagster.sql.log import LOG_TABLES
from tippers_dagster.sql.log_schema import fill_log
from tippers_dagster.sql.roles import ensure_roles

pytestmark = pytest.mark.slow

STATIC, TIED, UNLABELLED = campus.DEVICES[3], campus.DEVICES[4], campus.DEVICES[5]
VISITOR, FACULTY = campus.DEVICES[6], campus.DEVICES[7]
LABELS = {
    "device__device_type": {STATIC: "STATIC", TIED: None, UNLABELLED: None},
    "people__visitor_or_resident": {VISITOR: "VISITOR", TIED: None},
    "resident__role": {FACULTY: "FACULTY"},
    "student__degree": {},
}
"""The labels of label models; the default label for all other devices."""
OTHERWISE = {
    "device__device_type": "PHONE",
    "people__visitor_or_resident": "RESIDENT",
    "resident__role": "STUDENT",
    "student__degree": "UNDERGRAD",
}
INDEX = {
    "device": "device__devices",
    "people": "people__people",
    "resident": "resident__residents",
    "student": "student__students",
    "group": "people__people",
}
SCHEMAS = {"rule": "rules", "feature": "features", "index": "indexes", "derived_index": "indexes"}


@dataclass(frozen=True)
class Built:
    """A warehouse after `dbt build`, and dbt's manifest."""

    url: str
    manifest: dict[str, Any]
    results: list[dict[str, Any]]
    sessions: list[oracle.Session]

    def read(self, table: str) -> list[dict[str, Any]]:
        query = sql.SQL("SELECT * FROM {}").format(sql.Identifier(*table.split(".")))
        factory = psycopg2.extras.RealDictCursor
        with psycopg2.connect(self.url) as link, link.cursor(cursor_factory=factory) as cursor:
            cursor.execute(query)
            return [dict(row) for row in cursor.fetchall()]

    def devices(self, index: str) -> set[str]:
        return {row["mac_address"] for row in self.read(f"indexes.{index}")}


def _source(settings: Settings, url: str) -> None:
    create_source_schema(settings)
    tables = loaded_tables(settings)
    rows = {
        SPACES: campus.spaces(),
        SPACE_METADATA: campus.space_metadata(),
        FACULTY_DATA: campus.faculty(),
        REGION_TO_COVERAGE: campus.coverage(),
        VENDOR_PREFIXES: campus.vendor_prefixes(),
        SESSIONS: campus.sessions(),
    }
    with psycopg2.connect(url) as link, link.cursor() as cursor:
        for kind, content in rows.items():
            names = ", ".join(tables[kind].column(name) for name in content[0])
            psycopg2.extras.execute_values(
                cursor,
                f"INSERT INTO {tables[kind].sql} ({names}) VALUES %s",
                [tuple(row.values()) for row in content],
            )


def _labels(url: str) -> None:
    devices = sorted({s.device for s in oracle.usable(campus.sessions())})
    with psycopg2.connect(url) as link, link.cursor() as cursor:
        cursor.execute("CREATE SCHEMA IF NOT EXISTS labels")
        for table, given in LABELS.items():
            name = sql.Identifier("labels", table)
            cursor.execute(
                sql.SQL(
                    "CREATE TABLE {} (mac_address text, label text, confidence double precision)"
                ).format(name)
            )
            rows = [(device, given.get(device, OTHERWISE[table]), 0.9) for device in devices]
            # One entity has no label at all, as if it appeared after labelling.
            kept = [row for row in rows if row[0] != UNLABELLED or table != "device__device_type"]
            psycopg2.extras.execute_values(
                cursor, sql.SQL("INSERT INTO {} VALUES %s").format(name).as_string(link), kept
            )


def _dbt(settings: Settings, target: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return _run(settings, target, [*dbt_command(), *words])


def _run(settings: Settings, target: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run dbt in the hand-written project."""
    folder = project_source(settings)
    ensure_roles(settings)
    return subprocess.run(
        [*command, "--vars", json.dumps(dbt_variables(settings))],
        cwd=folder,
        env=dbt_environment(settings, folder, target),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def deployment(
    session_server: SessionServer, warehouse_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Settings, str, Path]]:
    """Settings, the warehouse's URL, and a folder for dbt's output."""
    url = session_server.create(warehouse_template)
    folder = tmp_path_factory.mktemp("dbt")
    # A column and a table with other names, as in deployments.
    settings = Settings(
        home=folder / "home",
        database_url=url,
        dagster_url=url,
        timezone=campus.ZONE,
        open_session_seconds=campus.OPEN_SECONDS,
        sql_engine="postgres",
        session_table="user_location_trajectory",
        session_columns={"mac_address": "MAC"},
    )
    yield settings, url, folder / "target"
    session_server.drop(url)


@pytest.fixture(scope="module")
def built(deployment: tuple[Settings, str, Path]) -> Built:
    settings, url, target = deployment
    _source(settings, url)
    _labels(url)
    end = campus.FIRST_DAY + dt.timedelta(days=campus.DAYS + 1)
    extract_log(settings, space="1", start=campus.FIRST_DAY, end=end)
    fill_log(settings, LOG_TABLES)
    done = _dbt(settings, target, "build")
    assert done.returncode == 0, done.stdout[-5000:]
    return Built(
        url=url,
        manifest=json.loads((target / "manifest.json").read_text()),
        results=json.loads((target / "run_results.json").read_text())["results"],
        sessions=oracle.usable(campus.sessions()),
    )


def copied(settings: Settings, session_server: SessionServer) -> tuple[Settings, str]:
    """Settings and the URL of a copy of a warehouse."""
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    warehouse_engine(settings).dispose()
    session_server.disconnect(url)
    copy = session_server.create(session_server.name_of(url))
    return settings.model_copy(update={"database_url": SecretStr(copy)}), copy


@pytest.fixture
def changeable(
    deployment: tuple[Settings, str, Path], built: Built, session_server: SessionServer
) -> Iterator[tuple[Settings, Path, Built]]:
    """A copy of what was built, for a test that changes it: settings, dbt's folder, the copy."""
    settings, url = copied(deployment[0], session_server)
    yield settings, deployment[2], replace(built, url=url)
    warehouse_engine(settings).dispose()
    session_server.drop(url)


def test_everything_is_built_and_tested(built: Built) -> None:
    statuses = {result["status"] for result in built.results}
    assert statuses == {"success", "pass"}
    kinds = {result["unique_id"].split(".")[0] for result in built.results}
    assert kinds == {"model", "test", "unit_test"}


def test_the_cleaned_sessions(built: Built) -> None:
    def sort_key(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["mac_address"], row["start_time"], row["space_id"], row["seconds"]

    found = sorted(built.read("staging.int_sessions"), key=sort_key)
    expected = [
        {
            "mac_address": s.device,
            "sensor_id": s.sensor,
            "space_id": s.space,
            "start_time": s.start,
            "end_time": s.end,
            "seconds": s.seconds,
            "local_date": s.day,
            "weekday": s.day.isoweekday(),
            "is_room": s.room is not None,
            "room_type": s.type,
            "is_faculty_office": s.faculty,
        }
        for s in built.sessions
    ]
    expected.sort(key=sort_key)
    assert [{name: row[name] for name in expected[0]} for row in found] == expected
    assert all(
        (row["ended_at"] - row["started_at"]).total_seconds() == row["seconds"] for row in found
    )


def test_derived_indexes(built: Built) -> None:
    everybody = {s.device for s in built.sessions}
    assert built.devices("device__devices") == everybody
    assert built.devices("device__static") == {STATIC}
    assert built.devices("device__laptop") == set()
    assert built.devices("device__phone") == everybody - {STATIC, TIED, UNLABELLED}
    people = everybody - {STATIC}
    assert built.devices("people__people") == people
    assert built.devices("resident__residents") == people - {VISITOR, TIED}
    assert built.devices("student__students") == people - {VISITOR, TIED, FACULTY}


@pytest.mark.parametrize("rule", oracle.RULES)
def test_a_rule_equals_a_plain_count(built: Built, rule: str) -> None:
    index = built.devices(INDEX[rule.split("__")[0]])
    expected = oracle.expected(rule, built.sessions, index)
    rows = {row.pop("mac_address"): row for row in built.read(f"rules.{rule}")}
    assert rows.keys() == expected.keys()
    assert len(rows) >= 5
    for device, row in rows.items():
        for name, value in row.items():
            wanted = expected[device].get(name) if value is None else expected[device][name]
            assert _same(value, wanted), (device, name, value, wanted)


def _same(value: Any, wanted: Any) -> bool:
    if value is None or wanted is None or isinstance(wanted, str):
        return value == wanted
    return math.isclose(float(value), float(wanted), rel_tol=1e-9, abs_tol=1e-12)


def test_rules_distinguish_devices(built: Built) -> None:
    """Otherwise the comparison would prove little."""
    for rule in oracle.RULES:
        rows = built.read(f"rules.{rule}")
        metrics = {json.dumps({**row, "mac_address": ""}, default=str) for row in rows}
        assert len(metrics) > len(rows) // 3, rule
    assert any(row["shared_share"] for row in built.read("rules.device__co_paired"))
    assert any(row["space_name"] for row in built.read("rules.group__dominant_room"))


def _features(built: Built) -> list[str]:
    models = built.manifest["nodes"].values()
    return [n["name"] for n in models if n["config"].get("meta", {}).get("kind") == "feature"]


def test_features(built: Built) -> None:
    names = _features(built)
    assert len(names) == 12
    for name in names:
        rows = built.read(f"features.{name}")
        assert {row["mac_address"] for row in rows} == built.devices(INDEX[name.split("__")[0]])
        assert all(value is not None for row in rows for value in row.values())
    own = [s for s in built.sessions if s.device == campus.DEVICES[0]]
    statistics = _row(built, "device__session_statistics", own[0].device)
    assert statistics["sessions"] == len(own)
    assert statistics["mean_session_seconds"] == pytest.approx(
        sum(s.seconds for s in own) / len(own)
    )
    assert statistics["dates"] == len({s.day for s in own})
    assert (statistics["first_time"], statistics["last_time"]) == (
        min(s.start for s in own),
        max(s.end for s in own),
    )
    rhythm = _row(built, "device__daily_rhythm", own[0].device)
    parts = [rhythm[f"{part}_share"] for part in ("night", "morning", "afternoon", "evening")]
    assert sum(parts) == pytest.approx(1)
    assert rhythm["night_share"] == pytest.approx(sum(s.start.hour < 6 for s in own) / len(own))
    profile = _row(built, "device__room_profile", own[0].device)
    shares = oracle.by(lambda s: s.space, own)
    total = sum(s.seconds for s in own)
    parts = [sum(s.seconds for s in group) / total for group in shares.values()]
    entropy = -sum(part * math.log2(part) for part in parts)
    assert profile["space_entropy"] == pytest.approx(entropy)
    assert profile["main_space_share"] == pytest.approx(max(parts))
    offices = sum(s.seconds for s in own if s.type == "office") / total
    assert profile["office_share"] == pytest.approx(offices)


def _row(built: Built, feature: str, device: str) -> dict[str, Any]:
    rows = built.read(f"features.{feature}")
    return next(row for row in rows if row["mac_address"] == device)


def test_every_definition_describes_itself(built: Built) -> None:
    """With grain, columns, key tests, tags and meta."""
    models = [
        n
        for n in built.manifest["nodes"].values()
        if n["resource_type"] == "model" and "kind" in n["config"]["meta"]
    ]
    assert len(models) == 52
    for model in models:
        meta, tags = model["config"]["meta"], model["config"]["tags"]
        assert model["name"] == f"{meta['concept']}__{meta['name']}"
        assert model["schema"] == SCHEMAS[meta["kind"]]
        assert model["description"].startswith("One row per ")
        assert {f"concept_{meta['concept']}", meta["kind"]} <= set(tags)
        assert meta["key"] == "mac_address"
        columns = built.read(f"{model['schema']}.{model['name']}")
        assert all(row.keys() == model["columns"].keys() for row in columns), model["name"]
        assert all(column["description"] for column in model["columns"].values())


def test_a_bad_rule_fails_its_tests_by_name(changeable: tuple[Settings, Path, Built]) -> None:
    settings, target, built = changeable
    with psycopg2.connect(built.url) as link, link.cursor() as cursor:
        cursor.execute(
            "INSERT INTO rules.people__connected_days "
            "SELECT * FROM rules.people__connected_days LIMIT 1"
        )
        cursor.execute(
            "INSERT INTO rules.people__connected_days VALUES (%s, 1), (NULL, 1)", [STATIC]
        )
    done = _dbt(settings, target, "test", "--select", "people__connected_days")
    assert done.returncode == 1
    results = json.loads((target / "run_results.json").read_text())["results"]
    assert {r["status"] for r in results} == {"fail"}
    assert [r["failures"] for r in results] == [1, 1, 1]


SELECTIONS = {
    ("--select", "tag:rule"): ("device__always_on", 33),
    ("--selector", "level_3"): ("resident__lab_days", 13),
    ("--selector", "derived_indexes"): ("student__students", 6),
    ("--select", "tag:concept_group"): ("group__dominant_room", 3),
}
"""A model of each selection, and how many it has."""

_LIST = """
import json, sys
from dbt.cli.main import dbtRunner
for words in json.loads(sys.argv[1]):
    done = dbtRunner().invoke(["--quiet", "ls", *words, *sys.argv[2:]])
    print(json.dumps(done.result), file=sys.stderr)
"""
"""dbt is imported once for all selections."""


@pytest.fixture(scope="module")
def listed(
    deployment: tuple[Settings, str, Path], built: Built
) -> dict[tuple[str, ...], list[str]]:
    """What dbt lists for each selection."""
    settings, _, target = deployment
    words = json.dumps(list(SELECTIONS))
    form = ["--resource-type", "model", "--output", "name"]
    command = [sys.executable, "-c", _LIST, words, *form]
    done = _run(settings, target, command)
    assert done.returncode == 0, done.stderr
    lists = [json.loads(line) for line in done.stderr.splitlines()]
    return dict(zip(SELECTIONS, lists, strict=True))


@pytest.mark.parametrize("words", SELECTIONS)
def test_selectors(listed: dict[tuple[str, ...], list[str]], words: tuple[str, ...]) -> None:
    some, number = SELECTIONS[words]
    assert some in listed[words]
    assert len(listed[words]) == number


def test_optional_source_tables(changeable: tuple[Settings, Path, Built]) -> None:
    """Without room types, faculty or coverage, rules still run."""
    settings, target, built = changeable
    tables = loaded_tables(settings)
    with psycopg2.connect(built.url) as link, link.cursor() as cursor:
        for kind in (SPACE_METADATA, FACULTY_DATA, REGION_TO_COVERAGE):
            cursor.execute(f"DROP TABLE {tables[kind].sql} CASCADE")
    done = _dbt(settings, target, "run", "--select", "tag:staging", "device__work_rooms")
    assert done.returncode == 0, done.stdout[-3000:]
    assert {row["work_room_share"] for row in built.read("rules.device__work_rooms")} == {0}
    assert built.read("staging.int_regions") == []
