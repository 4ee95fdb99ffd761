"""The migrations create the tables that the code declares."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.command import upgrade
from alembic.config import Config
from alembic.migration import MigrationContext

from tests.conftest import REPOSITORY
from tippers_dagster.errors import TippersError
from tippers_dagster.platform.warehouse.engine import sqlalchemy_url
from tippers_dagster.platform.warehouse.metadata import SCHEMA, metadata
from tippers_dagster.platform.warehouse.migrate import (
    MIGRATIONS,
    current_revision,
    migrate,
    newest_revision,
)


@pytest.fixture
def engine(database: str) -> sa.Engine:
    for file in (REPOSITORY / "tippers_dagster").rglob("tables.py"):
        import_module(".".join(file.relative_to(REPOSITORY).with_suffix("").parts))
    return sa.create_engine(sqlalchemy_url(database), poolclass=sa.NullPool)


def test_the_migrated_tables_are_the_declared_ones(engine: sa.Engine) -> None:
    migrate(engine)
    options = {
        "include_schemas": True,
        "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
        "version_table_schema": SCHEMA,
    }
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_many_processes_may_migrate_at_once(engine: sa.Engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, [engine] * 4))
    with engine.connect() as connection:
        assert current_revision(connection) == newest_revision()


def test_a_warehouse_of_a_newer_version_is_refused(engine: sa.Engine) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {SCHEMA}.alembic_version SET version_num = '9999'"))
    with pytest.raises(TippersError, match="9999"):
        migrate(engine)


def upgrade_to(connection: sa.Connection, revision: str) -> None:
    """Make the tables of an earlier version."""
    connection.execute(sa.text(f"CREATE SCHEMA {SCHEMA}"))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    upgrade(config, revision)


def test_datasets_become_definitions(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        upgrade_to(connection, "0001")
        connection.execute(
            sa.text(
                f"INSERT INTO {SCHEMA}.dataset VALUES ('floor', '12', '2025-01-06', '2025-01-20', "
                "900, 'ada', 'about', '2025-02-01 00:00+00')"
            )
        )
    migrate(engine)
    with engine.connect() as connection:
        now = connection.execute(
            sa.text(f"SELECT kind, namespace, name, version, body FROM {SCHEMA}.definition")
        ).one()
        past = connection.execute(
            sa.text(f"SELECT name, action, changed_by, body FROM {SCHEMA}.definition_version")
        ).one()
    body = {"space": "12", "start": "2025-01-06", "end": "2025-01-20", "interval_seconds": 900}
    assert tuple(now) == ("dataset", "dataset.", "floor", 1, body)
    assert tuple(past) == ("floor", "create", "ada", body)


def test_registered_models_are_entered_without_a_digest(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        upgrade_to(connection, "0008")
        result = (
            f"INSERT INTO {SCHEMA}.classifier_result VALUES ('device', 'kind', :version, :run, "
        )
        result += "now(), 'ridge', 'accuracy', 0.7, 1, 1, 0, 1.0, null, :number)"
        for version, run, number in (("a", "1", 1), ("a", "2", 1), ("b", "3", None)):
            values = {"version": version, "run": run, "number": number}
            connection.execute(sa.text(result), values)
        decision = f"INSERT INTO {SCHEMA}.model_decision (model, version, decision, automatic, by, "
        decision += (
            "at, reason) VALUES ('device.kind', :number, 'promoted', false, 'ada', now(), '')"
        )
        for number in (1, 2):
            connection.execute(sa.text(decision), {"number": number})
    migrate(engine)
    with engine.connect() as connection:
        found = connection.execute(
            sa.text(
                f"SELECT version, asset_version, format, sha256 FROM {SCHEMA}.model_file ORDER BY 1"
            )
        )
        assert list(map(tuple, found)) == [(1, "a", "skops", None), (2, "", "skops", None)]


def test_spellings_of_an_address_keep_the_newest_gold_label(engine: sa.Engine) -> None:
    gold = [
        ("device", "00:1A:2B:3C:4D:5E", "OLD", "2025-01-01"),
        ("device", "001a.2b3c.4d5e", "NEW", "2025-03-01"),
        ("device", "00:1a:2b:3c:4d:5e", "OLDER", "2024-01-01"),
        ("people", " 00-1a-2b-3c-4d-5e", "VISITOR", "2024-01-01"),
        ("room", "001122334455", "BIG", "2024-01-01"),
        ("room", " AB", "BIG", "2024-01-01"),
    ]
    with engine.begin() as connection:
        upgrade_to(connection, "0014")
        insert = sa.text(
            f"INSERT INTO {SCHEMA}.gold_label (concept, entity, label, labelled_by, labelled_at) "
            "VALUES (:concept, :entity, :label, 'ada', CAST(:at AS timestamptz))"
        )
        for row in gold:
            names = ("concept", "entity", "label", "at")
            connection.execute(insert, dict(zip(names, row, strict=True)))
    migrate(engine)
    with engine.connect() as connection:
        found = connection.execute(
            sa.text(f"SELECT concept, entity, label FROM {SCHEMA}.gold_label ORDER BY 1, 2")
        ).all()
    assert list(map(tuple, found)) == [
        ("device", "00:1a:2b:3c:4d:5e", "NEW"),
        ("people", "00:1a:2b:3c:4d:5e", "VISITOR"),
        ("room", " AB", "BIG"),
        ("room", "001122334455", "BIG"),
    ]


def test_chunks_sealed_earlier_are_marked(engine: sa.Engine) -> None:
    insert = sa.text(
        f"INSERT INTO {SCHEMA}.sealed_chunk (chunk, fingerprint, rows, sealed_at) "
        "VALUES (:chunk, 1, 2, now())"
    )
    with engine.begin() as connection:
        upgrade_to(connection, "0014")
        connection.execute(insert, {"chunk": "2025-01-06"})
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(insert, {"chunk": "2025-01-13"})
        marked = connection.execute(
            sa.text(f"SELECT chunk, before_normalising FROM {SCHEMA}.sealed_chunk ORDER BY 1")
        ).all()
    assert list(map(tuple, marked)) == [("2025-01-06", True), ("2025-01-13", False)]


def test_ingests_of_an_earlier_version_are_numbered(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        upgrade_to(connection, "0008")
        connection.execute(
            sa.text(
                f"INSERT INTO {SCHEMA}.ingested_file "
                "(sha256, kind, name, rows, loaded, rejected, ingested_at) VALUES "
                "('b', 'sessions', '/in/b.csv', 3, 2, 1, '2025-02-02 00:00+00'), "
                "('a', 'sessions', '/in/a.csv', 9, 9, 0, '2025-02-01 00:00+00'), "
                "('b', 'observations', '/in/b.csv', 4, 1, 0, '2025-02-03 00:00+00')"
            )
        )
        connection.execute(
            sa.text(
                f"INSERT INTO {SCHEMA}.reject (file_sha256, kind, row_number, reason) "
                "VALUES ('b', 'sessions', 3, 'no device'), ('gone', 'sessions', 1, 'no device')"
            )
        )
    migrate(engine)
    with engine.begin() as connection:
        ingests = connection.execute(
            sa.text(
                f"SELECT ingest_id, sha256, kind, traced, options FROM {SCHEMA}.ingested_file "
                "ORDER BY 1"
            )
        ).all()
        rejects = connection.execute(
            sa.text(f"SELECT ingest_id, row_number FROM {SCHEMA}.reject ORDER BY reject_id")
        ).all()
        following = connection.scalar(
            sa.text(
                f"INSERT INTO {SCHEMA}.ingested_file (kind, name, rows, loaded, rejected) "
                "VALUES ('spaces', 'x', 0, 0, 0) RETURNING ingest_id"
            )
        )
    assert [tuple(row) for row in ingests] == [
        (1, "a", "sessions", False, None),
        (2, "b", "sessions", False, None),
        (3, "b", "observations", False, None),
    ]
    assert [tuple(row) for row in rejects] == [(2, 3), (None, 1)]
    assert following == 4
