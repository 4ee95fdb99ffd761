"""The source tables: creating and checking them, and not writing to a campus's own."""

import datetime as dt

import pyarrow as pa
import pytest

from tippers_dagster.campus.source.checks import check_source
from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.campus.source.load import (
    clear_source,
    create_session_indexes,
    load_transaction,
    prepare_bulk_load,
    read_source,
)
from tippers_dagster.campus.source.read import source_snapshot
from tippers_dagster.campus.source.schema import SESSIONS, SPACES, source_tables
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.errors import SettingsError, SourceError
from tippers_dagster.settings import Settings, get_settings


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


@pytest.mark.parametrize(
    ("change", "columns", "says"),
    [
        (
            "ALTER TABLE source.user_ap_trajectory ALTER start_time TYPE text",
            {},
            "TIPPERS_SESSION_COLUMNS: column start_time of source.user_ap_trajectory has the type "
            "text; expected: local times, or timestamp with time zone",
        ),
        (
            "ALTER TABLE source.user_ap_trajectory RENAME end_time TO ended",
            {"session_columns": {"end_time": "start_of"}},
            "TIPPERS_SESSION_COLUMNS: the source table source.user_ap_trajectory has no column "
            "start_of; its columns are: mac_address, sensor_id, start_time, ended, space_id, "
            "ingest_id, started_at, ended_at, last_seen, session_id, person, kept",
        ),
        (
            "ALTER TABLE source.user_ap_trajectory RENAME end_time TO ended",
            {"session_columns": {"end_time": "ended", "mac_address": "start_time"}},
            "TIPPERS_SESSION_COLUMNS: column start_time (used as mac_address) of "
            "source.user_ap_trajectory has the type timestamp without time zone; expected: text or "
            "whole numbers",
        ),
        (
            "ALTER TABLE source.space ADD COLUMN area double precision",
            {"space_columns": {"space_id": "area"}},
            "TIPPERS_SPACE_COLUMNS: column area (used as space_id) of source.space has the type "
            "double precision; expected: text or whole numbers",
        ),
        (
            "ALTER TABLE source.region_to_coverage DROP COLUMN sensor, "
            "ALTER intersection_percentage TYPE text",
            {},
            "TIPPERS_COVERAGE_TABLE: column intersection_percentage of source.region_to_coverage "
            "has the type text; expected: numbers",
        ),
    ],
)
def test_columns_of_a_wrong_type_are_named_with_their_setting(
    stack: Settings, change: str, columns: dict[str, dict[str, str]], says: str
) -> None:
    create_source_schema(stack)
    with load_transaction(stack) as load:
        load.execute(change)
    assert says in [problem.text for problem in check_source(stack.model_copy(update=columns))]


def test_the_first_use_of_a_wrong_column_names_its_setting(stack: Settings) -> None:
    create_source_schema(stack)
    wrong = stack.model_copy(
        update={
            "session_columns": {"start_time": "began"},
            "space_columns": {"space_name": "called"},
        }
    )
    with pytest.raises(SourceError, match=r"TIPPERS_SPACE_COLUMNS: .* no column called"):
        load_tree(wrong)
    with (
        pytest.raises(SourceError, match=r"TIPPERS_SESSION_COLUMNS: .* no column began"),
        source_snapshot(wrong),
    ):
        pass
    # Counting needs no access points.
    with load_transaction(stack) as load:
        load.execute("ALTER TABLE source.user_ap_trajectory DROP COLUMN sensor_id")
    with source_snapshot(stack) as source:
        assert list(source.sessions((dt.date(2025, 1, 6), dt.date(2025, 1, 13)))) is not None
    named = stack.model_copy(update={"session_columns": {"sensor_id": "antenna"}})
    with (
        pytest.raises(SourceError, match=r"TIPPERS_SESSION_COLUMNS: .* no column antenna"),
        source_snapshot(named),
    ):
        pass


def test_a_materialized_view_and_domains_are_tables_too(stack: Settings) -> None:
    create_source_schema(stack)
    with load_transaction(stack) as load:
        load.execute("CREATE DOMAIN source.wall AS timestamp")
        load.execute("ALTER TABLE source.user_ap_trajectory ALTER start_time TYPE source.wall")
        load.execute("CREATE MATERIALIZED VIEW source.log AS SELECT * FROM "
                     "source.user_ap_trajectory")  # fmt: skip
    assert check_source(stack.model_copy(update={"session_table": "log"})) == []


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("TIPPERS_SESSION_COLUMNS", '{"MAC": "mac_address"}', "unknown column MAC"),
        ("TIPPERS_SESSION_COLUMNS", '{"space_name": "x"}', "columns: mac_address, sensor_id"),
        ("TIPPERS_SPACE_COLUMNS", '{"space_id": ""}', "a name in the source is empty"),
    ],
)
def test_settings_with_unknown_columns_are_rejected(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    monkeypatch.setenv(variable, value)
    get_settings.cache_clear()
    with pytest.raises(SettingsError, match=f"(?s){variable}.*{says}"):
        get_settings()


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


def test_indexes_are_rebuilt_only_after_a_large_load(stack: Settings) -> None:
    create_source_schema(stack)
    table = source_tables(stack)[SESSIONS]
    every = {f"user_ap_trajectory_{c}_idx" for c in ("start_time", "space_id", "mac_address")}
    with load_transaction(stack) as load:
        prepare_bulk_load(load, stack, 1)
        load.copy_in(table, _session())
        create_session_indexes(load, stack)
    assert _indexes(stack) == every
    with load_transaction(stack) as load:
        prepare_bulk_load(load, stack, 0)
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
    with pytest.raises(SourceError, match="is read only"):
        create_source_schema(foreign)
    with pytest.raises(SourceError, match="is read only"), load_transaction(foreign):
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
