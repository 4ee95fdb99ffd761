"""The source tables: making them, checking them, and leaving a deployment's own alone."""

import datetime as dt

import pyarrow as pa
import pytest

from tippers_dagster.errors import SourceError
from tippers_dagster.settings import Settings
from tippers_dagster.source.load import (
    clear_source,
    create_session_indexes,
    load_transaction,
    prepare_bulk_load,
    read_source,
)
from tippers_dagster.source.schema import (
    SESSIONS,
    SPACES,
    check_source,
    create_source_schema,
    source_tables,
)


def _session(name: str = "a") -> pa.Table:
    moment = dt.datetime(2025, 1, 6, 10)
    return pa.table(
        {
            "mac_address": [name],
            "sensor_id": ["ap"],
            "start_time": [moment],
            "end_time": [None],
            "space_id": ["room"],
        },
        schema=source_tables(Settings())[SESSIONS].arrow_schema(),
    )


def _count(settings: Settings) -> int:
    sql = source_tables(settings)[SESSIONS].sql
    return read_source(settings, f"SELECT count(*) FROM {sql}").column(0)[0].as_py()


def _indexes(settings: Settings) -> set[str]:
    found = read_source(
        settings,
        "SELECT indexname::text FROM pg_indexes WHERE tablename = $1",
        (settings.session_table,),
    )
    return set(found.column(0).to_pylist())


def test_created_twice_and_then_complete(stack: Settings) -> None:
    lacking = [(problem.text, problem.missing) for problem in check_source(stack)]
    assert ("TIPPERS_SPACE_TABLE: the source has no table source.space (spaces)", True) in lacking
    create_source_schema(stack)
    create_source_schema(stack)
    assert check_source(stack) == []


def test_missing_columns_are_named(stack: Settings) -> None:
    create_source_schema(stack)
    with load_transaction(stack) as load:
        load.execute("ALTER TABLE source.space DROP COLUMN building_room, DROP COLUMN space_name")
        load.execute("DROP TABLE source.faculty_data")
    (problem,) = check_source(stack)
    assert problem.text == (
        "TIPPERS_SPACE_COLUMNS: the source table source.space has no column space_name, "
        "building_room; its columns are: space_id, parent_space_id"
    )


def test_names_are_settings(stack: Settings) -> None:
    named = stack.model_copy(
        update={
            "source_schema": 'the "campus"',
            "session_table": "Trajectory of devices",
            "session_columns": {"mac_address": "MAC", "start_time": "from"},
        }
    )
    create_source_schema(named)
    assert check_source(named) == []
    table = source_tables(named)[SESSIONS]
    with load_transaction(named) as load:
        assert load.copy_in(table, _session()) == 1
        assert load.copy_in(table, _session().to_reader()) == 1
        create_session_indexes(load, named)
    assert read_source(named, f'SELECT "MAC", "from" FROM {table.sql}').num_rows == 2
    assert "Trajectory of devices_from_idx" in _indexes(named)


def test_a_failed_transaction_leaves_nothing(stack: Settings) -> None:
    create_source_schema(stack)
    table = source_tables(stack)[SESSIONS]
    with pytest.raises(KeyboardInterrupt), load_transaction(stack) as load:  # noqa: PT012
        load.copy_in(table, _session())
        load.stage("staged", _session())
        raise KeyboardInterrupt
    assert _count(stack) == 0


def test_indexes_are_rebuilt_after_a_large_load_only(stack: Settings) -> None:
    create_source_schema(stack)
    table = source_tables(stack)[SESSIONS]
    every = {f"user_ap_trajectory_{c}_idx" for c in ("start_time", "space_id", "mac_address")}
    with load_transaction(stack) as load:
        prepare_bulk_load(load, stack, 1)
        load.copy_in(table, _session())
        create_session_indexes(load, stack)
    assert _indexes(stack) == every
    with load_transaction(stack) as load:
        prepare_bulk_load(load, stack, 1)
        kept = load.execute("SELECT count(*) FROM pg_indexes WHERE tablename = $1", (table.name,))
        prepare_bulk_load(load, stack, 1_000)
        gone = load.execute("SELECT count(*) FROM pg_indexes WHERE tablename = $1", (table.name,))
        create_session_indexes(load, stack)
    assert kept.column(0)[0].as_py() == 3
    assert gone.column(0)[0].as_py() == 0
    assert _indexes(stack) == every


def test_clear_source(stack: Settings) -> None:
    create_source_schema(stack)
    with load_transaction(stack) as load:
        load.copy_in(source_tables(stack)[SESSIONS], _session())
        clear_source(load, stack)
        assert load.is_empty(source_tables(stack)[SESSIONS])
        assert load.is_empty(source_tables(stack)[SPACES])


def test_a_deployments_own_database_is_never_written(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stack.database_url is not None
    monkeypatch.setenv("TIPPERS_SOURCE_URL", stack.database_url.get_secret_value())
    foreign = Settings()
    with pytest.raises(SourceError, match="never written"):
        create_source_schema(foreign)
    with pytest.raises(SourceError, match="never written"), load_transaction(foreign):
        pass
    assert check_source(foreign)


def test_refused_queries_are_source_errors(stack: Settings) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        read_source(stack, "SELECT * FROM nowhere")


def test_refused_writes_are_source_errors_and_change_nothing(stack: Settings) -> None:
    create_source_schema(stack)
    table = source_tables(stack)[SESSIONS]
    with load_transaction(stack) as load:
        load.execute("ALTER TABLE source.user_ap_trajectory ALTER COLUMN space_id SET NOT NULL")
    bad = _session().set_column(4, "space_id", pa.array([None], pa.string()))
    with pytest.raises(SourceError, match="nothing was changed"), load_transaction(stack) as load:  # noqa: PT012
        load.copy_in(table, _session())
        load.copy_in(table, bad)
    assert _count(stack) == 0
