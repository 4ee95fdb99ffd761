"""A deployment with a small set of saved definitions that are all computed, copied per test.

Six devices with sessions of one to six hours; the concept ``device`` with the labels A and B; the
rule ``long`` with the columns hours and sessions; three labelling functions, a label model, a
derived index, a second rule on it, and a feature. Import the fixtures that a test asks for.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import streamlit as st

from streamlit_app.services.app import App
from tests.conftest import SessionServer, _forget_settings, enter, environment_of
from tests.graph.small import ALL
from tests.sql.definitions import bare_project, fill_source
from tippers_dagster.access.model import Person, Role
from tippers_dagster.catalog import store
from tippers_dagster.platform.lake.keys import definition_key
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.export import export_table


@dataclass(frozen=True)
class Computed:
    """What was computed once: a folder with project, home and lake, and its databases."""

    folder: Path
    warehouse: str
    dagster: str

    def enter(self, monkeypatch: pytest.MonkeyPatch, project: Path) -> Settings:
        """The settings of this deployment, in the environment too."""
        environment = environment_of(self.folder, self.warehouse, self.dagster) | {
            "TIPPERS_DBT_PROJECT": str(project),
            "TIPPERS_MLFLOW_URL": f"sqlite:///{self.folder / 'mlflow.db'}",
        }
        return enter(monkeypatch, environment)


@pytest.fixture(scope="session")
def computed(
    session_server: SessionServer,
    warehouse_template: str,
    dagster_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Computed]:
    """The deployment that copies are made of; not to be changed."""
    folder = tmp_path_factory.mktemp("defined")
    project = bare_project(folder / "project")
    made = Computed(
        folder, session_server.create(warehouse_template), session_server.create(dagster_template)
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(Settings.model_config, "env_file", None)
        settings = made.enter(monkeypatch, project)
        fill_source(settings)
        store.save_all(settings, ALL, by="ada")
        _compute(settings)
    _forget_settings()
    for url in (made.warehouse, made.dagster):
        session_server.disconnect(url)
    yield made
    session_server.drop(made.warehouse)
    session_server.drop(made.dagster)


@pytest.fixture
def defined_app(
    computed: Computed,
    session_server: SessionServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[App]:
    """A copy of it, with an analyst; the test may change it."""
    for name in ("home", "lake"):
        shutil.copytree(computed.folder / name, tmp_path / name, symlinks=True)
    project = tmp_path / "project"
    shutil.copytree(computed.folder / "project", project)
    copies = [
        session_server.create(template=session_server.name_of(url))
        for url in (computed.warehouse, computed.dagster)
    ]
    settings = Computed(tmp_path, *copies).enter(monkeypatch, project)
    st.cache_data.clear()
    yield App(settings, Person("ada", Role.ANALYST))
    _forget_settings()
    st.cache_data.clear()
    for url in copies:
        session_server.drop(url)


def by(app: App, role: Role, name: str = "bea") -> App:
    """The same deployment, asked by somebody else."""
    return App(app.settings, Person(name, role))


def insert_by_hand(app: App, kind: str, name: str, body: object) -> None:
    """A row in the table of definitions that nobody checked."""
    from tests.graph.small import Small

    Small.insert_by_hand(_Hand(app.settings), kind, name, body)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Hand:
    settings: Settings

    def execute(self, query: str, **parameters: object) -> None:
        import sqlalchemy as sa

        with warehouse_engine(self.settings).begin() as connection:
            connection.execute(sa.text(query), parameters)


# --- computing it without dbt and Snorkel, which take half a minute ------------------------------
LABELS = """
    CREATE TABLE labels.device__type AS
    SELECT *, CASE label WHEN 'A' THEN confidence ELSE 1 - confidence END AS p_a,
        CASE label WHEN 'B' THEN confidence ELSE 1 - confidence END AS p_b
    FROM (SELECT mac_address, CASE WHEN hours > 3 THEN 'A' ELSE 'B' END AS label,
        'label' AS outcome,
        CASE WHEN hours > 5 THEN 0.95 ELSE 0.8 END::float8 AS confidence,
        'B' AS majority_label
    FROM rules.device__long) made
"""


def _compute(settings: Settings) -> None:
    from tippers_dagster.labelling.expressions.values import Columns
    from tippers_dagster.labelling.work import read_rule, write_votes
    from tippers_dagster.sql.check import translated
    from tippers_dagster.sql.render import SCHEMAS

    catalog = store.load_catalog(settings)
    _execute(
        settings,
        *(f"CREATE SCHEMA IF NOT EXISTS {s}" for s in ("staging", "labels", *SCHEMAS.values())),
        "CREATE VIEW staging.int_sessions AS SELECT *, "
        "extract(epoch FROM end_time - start_time)::float8 AS seconds "
        "FROM source.user_ap_trajectory",
    )

    def made(name: str, select: str | None = None) -> None:
        definition = catalog.get("device", name)
        schema = SCHEMAS[definition.ref.kind]
        query = select or translated(settings, definition, catalog).sql_plain
        _execute(settings, f"CREATE TABLE {schema}.device__{name} AS {query}")
        key = definition_key(schema, "device", name)
        export_table(settings, schema, f"device__{name}", key)

    made("devices")
    made("long")
    rows = Columns(read_rule(settings, catalog.get("device", "long").ref))
    for name in ("is_a", "is_b", "also_b"):
        write_votes(settings, catalog, catalog.get("device", name), rows)
    _execute(settings, LABELS)
    made("chosen", "SELECT mac_address FROM labels.device__type WHERE label = 'A'")
    made("days")
    made("numbers")
    for draft in ALL:
        if draft.ref.concept:
            name = draft.ref.asset_name
            _execute(
                settings,
                "INSERT INTO tippers.asset_state (asset, version, materialized_at, details, tries) "
                f"VALUES ('{name}', 'made', now(), '{{}}', 0)",
            )


def make_fresh(app: App) -> None:
    """Record all assets as computed from what they are now."""
    from tippers_dagster.automation.snapshot import Snapshot
    from tippers_dagster.graph.load import load_pipeline

    pipeline = load_pipeline(app.settings)
    snapshot = Snapshot.take(app.settings, app.instance, pipeline.nodes, check_sources_now=True)
    for node in pipeline.nodes:
        details = json.dumps({"made_from": {"content": node.content}})
        if node.source is None:
            _execute(
                app.settings,
                f"DELETE FROM tippers.asset_state WHERE asset = '{node.name}'",
                "INSERT INTO tippers.asset_state (asset, version, materialized_at, details, tries) "
                f"VALUES ('{node.name}', '{snapshot.wanted[node.name]}', now(), '{details}', 0)",
            )


def _execute(settings: Settings, *statements: str) -> None:
    with warehouse_engine(settings).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
