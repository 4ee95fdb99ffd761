"""Every asset: a run that succeeds, and one that fails."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from tests.occupancy import campus
from tests.occupancy.campus import Seen, change, stale
from tests.occupancy.lake import counts_of, lose_presence
from tippers_dagster.automation.runs import STALE_ONLY_TAG
from tippers_dagster.occupancy import counting
from tippers_dagster.occupancy.assets import DEFINED
from tippers_dagster.occupancy.chunk_tables import DEVICE_DAYS, MET, PLACE_DAYS
from tippers_dagster.occupancy.definitions import occupancy_definitions
from tippers_dagster.occupancy.runs import RANGE_END_TAG, RANGE_START_TAG
from tippers_dagster.occupancy.state import DAYS, DERIVED, SESSIONS, SOURCE
from tippers_dagster.occupancy.tracking import track_space
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import chunk_file, sessions_key
from tippers_dagster.settings import Settings, get_settings

W1, W2 = "2025-01-06", "2025-01-13"
NINE = dt.datetime(2025, 1, 7, 9)
ROWS = [
    Seen("m1", "r1", NINE, NINE + dt.timedelta(hours=2)),
    Seen("m2", "r1", NINE, NINE + dt.timedelta(hours=1)),
    Seen("m1", "r2", NINE + dt.timedelta(hours=2), NINE + dt.timedelta(hours=3)),
    Seen("m2", "r1", NINE + dt.timedelta(hours=3), NINE + dt.timedelta(hours=4)),
    Seen("m3", "nowhere", NINE, NINE + dt.timedelta(hours=1)),
    Seen("m1", "r2", NINE + dt.timedelta(days=7), NINE + dt.timedelta(days=7, hours=1)),
]
Run = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def settings(stack: Settings) -> Settings:
    campus.fill(stack, {"hall": None, "r1": "hall", "r2": "hall"}, ROWS)
    track_space(stack, space="hall", start=dt.date(2025, 1, 6), end=dt.date(2025, 1, 20))
    return stack


@pytest.fixture
def run(settings: Settings) -> Iterator[Run]:
    """Materializes an asset's range of keys."""
    graph = occupancy_definitions(get_settings()).resolve_asset_graph()
    with dagster_instance(settings) as instance:

        def materialize(
            asset: str, first: str, last: str | None = None, **tags: str
        ) -> dg.ExecuteInProcessResult:
            chosen = [a for a in graph.assets_defs if a.key.to_user_string() == asset]
            return dg.materialize(
                chosen,
                instance=instance,
                tags={RANGE_START_TAG: first, RANGE_END_TAG: last or first, **tags},
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                raise_on_error=False,
            )

        yield materialize


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
    """What the run says of itself."""
    (event,) = result.asset_observations_for_node(asset)
    return {name: value.value for name, value in event.metadata.items()}


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {
        e.asset_check_evaluation_data.check_name.split("__")[
            1
        ]: e.asset_check_evaluation_data.passed
        for e in result.all_events
        if e.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
    }


def reason(result: dg.ExecuteInProcessResult) -> str:
    failure = next(e for e in result.all_events if e.is_step_failure).step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    return str(failure.error.cause.message if failure.error.cause else failure.error.message)


def everything(run: Run) -> None:
    assert run(SESSIONS, W1, W2).success
    assert run(SOURCE, f"r1|{W1}", f"r2|{W2}").success
    assert run(DERIVED, f"hall|{W1}", f"hall|{W2}").success
    assert run(DAYS, W1, W2).success


def test_sessions(run: Run, settings: Settings) -> None:
    result = run(SESSIONS, W1, W2)
    assert result.success
    told = metadata(result, SESSIONS)
    assert told["run/partitions_computed"] == 2
    assert told["run/rows"] == 5
    assert told["run/rows_rejected"] == 1
    assert told["dagster/uri"] == f"{settings.lake_url}/sessions"
    preview = str(told[f"run/preview of {W1}"])
    assert preview.startswith("| space | sensor | start |")
    assert "| device |" not in preview, "Dagster keeps it longer than sessions are kept"
    assert checks(result) == {"rejected_share": True}


def test_sessions_with_too_many_rejects_are_stored_and_reported(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIPPERS_MAX_REJECTED_SHARE", "0.1")
    get_settings.cache_clear()
    result = run(SESSIONS, W1, W2)
    assert result.success
    assert checks(result) == {"rejected_share": False}
    assert SESSIONS not in stale(get_settings())
    evaluation = next(
        e.asset_check_evaluation_data
        for e in result.all_events
        if e.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
    )
    assert evaluation.metadata["chunks_over_the_limit"].value == {W1: 0.2}


def test_sessions_of_a_source_with_a_missing_column(run: Run, settings: Settings) -> None:
    change(settings, "ALTER TABLE source.user_ap_trajectory DROP COLUMN space_id")
    result = run(SESSIONS, W1, W2)
    assert not result.success
    assert "space_id" in reason(result)
    assert not open_lake(settings).list()
    assert len(stale(settings)[SESSIONS]) == 2


def test_source_occupancy(run: Run, settings: Settings) -> None:
    run(SESSIONS, W1, W2)
    result = run(SOURCE, f"r1|{W1}", f"r2|{W2}")
    assert result.success
    told = metadata(result, SOURCE)
    assert told["run/partitions_computed"] == 4
    assert told["run/rows"] == 5
    assert told["run/peak"] == f"2 devices in r1, chunk {W1}"
    assert any("data:image/png;base64," in str(value) for value in told.values())
    assert checks(result) == {"within_devices": True, "wider_bins_hold_narrower": True}
    by_partition = {
        m.partition: {k: v.value for k, v in m.metadata.items()}
        for m in result.asset_materializations_for_node(SOURCE)
    }
    assert set(by_partition) == {f"{r}|{w}" for r in ("r1", "r2") for w in (W1, W2)}
    assert by_partition[f"r1|{W1}"]["peak"] == 2
    assert (
        by_partition[f"r1|{W1}"]["peak_time"] == NINE.replace(tzinfo=dt.UTC).timestamp() + 8 * 3600
    )
    assert by_partition[f"r1|{W2}"]["devices"] == 0


def test_source_occupancy_without_its_sessions(run: Run, settings: Settings) -> None:
    run(SESSIONS, W1)
    result = run(SOURCE, f"r1|{W1}", f"r2|{W2}")
    assert not result.success
    assert f"r1 in {W2}" in reason(result)
    assert "Materialize sessions" in reason(result)
    assert not open_lake(settings).list("presence/")


def test_source_occupancy_of_damaged_sessions_keeps_the_other_chunks(
    run: Run, settings: Settings
) -> None:
    run(SESSIONS, W1, W2)
    open_lake(settings).write_bytes(sessions_key(W1), b"damaged")
    result = run(SOURCE, f"r1|{W1}", f"r2|{W2}")
    assert not result.success
    assert reason(result).startswith(
        f"Failed chunks: 1 of 2; the others are recorded. First failure, {SOURCE} in {W1}"
    )
    assert stale(settings)[SOURCE] == {("r1", W1), ("r2", W1)}
    assert checks(result) == {"within_devices": True, "wider_bins_hold_narrower": True}


def test_derived_occupancy(run: Run, settings: Settings) -> None:
    everything(run)
    assert stale(settings) == {}
    table = counts_of(open_lake(settings), "hall", W1)
    widest = table.filter(pa.compute.equal(table["interval_seconds"], 86400))
    assert widest["number_connections"].to_pylist() == [2]


def test_days_and_encounters(run: Run, settings: Settings) -> None:
    everything(run)
    told = metadata(run(DAYS, W1, W2), DAYS)
    assert told["run/partitions_computed"] == 2
    assert told["run/rows"] == 5
    assert "place_days" in str(told["dagster/uri"])
    assert str(told[f"run/preview of {W1}"]).startswith("| local_date |")
    lake = open_lake(settings)
    sessions = {
        prefix: sum(lake.read_table(chunk_file(prefix, chunk))["sessions"].to_pylist())
        for prefix in (PLACE_DAYS, DEVICE_DAYS, MET)
        for chunk in (W1,)
    }
    assert set(sessions.values()) == {4}


def test_days_and_encounters_without_sessions(run: Run) -> None:
    result = run(DAYS, W1, W2)
    assert not result.success
    assert "sessions is missing or incomplete for: 2025-01-06, 2025-01-13" in reason(result)


def test_derived_occupancy_without_presence(run: Run, settings: Settings) -> None:
    run(SESSIONS, W1, W2)
    run(SOURCE, f"r1|{W1}", f"r1|{W2}")
    result = run(DERIVED, f"hall|{W1}", f"hall|{W2}")
    assert not result.success
    assert "source_occupancy is missing or incomplete" in reason(result)


def test_derived_occupancy_of_lost_presence(run: Run, settings: Settings) -> None:
    everything(run)
    lose_presence(open_lake(settings), "r2", W2)
    result = run(DERIVED, f"hall|{W1}", f"hall|{W2}")
    assert not result.success
    assert "r2 is missing in" in reason(result)
    assert f"presence/chunk={W2}.parquet" in reason(result)


@pytest.mark.parametrize(
    ("asset", "check", "wrong"),
    [
        (SOURCE, "within_devices", lambda grid: grid + 100 * (grid > 0)),
        (SOURCE, "wider_bins_hold_narrower", lambda grid: np.minimum(grid, 1)),
        (DERIVED, "within_devices", lambda grid: grid + 100 * (grid > 0)),
        (DERIVED, "wider_bins_hold_narrower", lambda grid: np.minimum(grid, 1)),
        (DERIVED, "between_children", None),
    ],
)
def test_wrong_numbers_fail_their_check_and_are_not_published(
    run: Run,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    asset: str,
    check: str,
    wrong: Callable[[np.ndarray], np.ndarray] | None,
) -> None:
    run(SESSIONS, W1, W2)
    if asset == DERIVED:
        run(SOURCE, f"r1|{W1}", f"r2|{W2}")
    count_many = counting.sweep.count_many

    def miscounted(presence: object, n: int, edges: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        grids = count_many(presence, n, edges)  # type: ignore[arg-type]
        if 86400 not in grids:
            return grids
        if wrong is None:
            return {width: np.zeros_like(grid) for width, grid in grids.items()}
        return {**grids, 86400: wrong(grids[86400])}

    monkeypatch.setattr(counting.sweep, "count_many", miscounted)
    first, last = ("hall", "hall") if asset == DERIVED else ("r1", "r2")
    result = run(asset, f"{first}|{W1}", f"{last}|{W1}")
    assert not result.success
    assert [name for name, passed in checks(result).items() if not passed] == [check]
    assert counts_of(open_lake(settings), first, W1) is None
    assert (first, W1) in stale(settings)[asset]


def test_only_stale_partitions_are_computed_on_request(run: Run, settings: Settings) -> None:
    everything(run)
    change(
        settings,
        "DELETE FROM tippers.partition_figures WHERE space = 'r1' AND chunk = %s",
        W1,
    )
    result = run(SOURCE, f"r1|{W1}", f"r2|{W2}", **{STALE_ONLY_TAG: "true"})
    told = metadata(result, SOURCE)
    assert (told["run/partitions_computed"], told["run/partitions_fresh_already"]) == (1, 3)
    reported = result.asset_materializations_for_node(SOURCE)
    assert [m.partition for m in reported] == [f"r1|{W1}"], "only what was computed"
    again = metadata(run(SOURCE, f"r1|{W1}", f"r2|{W2}"), SOURCE)
    assert again["run/partitions_computed"] == 4


def test_partitions_that_are_no_longer_tracked(run: Run, settings: Settings) -> None:
    everything(run)
    change(settings, "DELETE FROM tippers.tracking")
    result = run(SOURCE, f"r1|{W1}", f"r2|{W2}")
    assert not result.success
    assert "Not tracked" in reason(result)


def test_durations_are_kept_for_deadlines(run: Run, settings: Settings) -> None:
    everything(run)
    with campus.source(settings) as cursor:
        cursor.execute("SELECT asset, partitions FROM tippers.run_duration ORDER BY 2, 1")
        assert cursor.fetchall() == [(DAYS, 2), (DERIVED, 2), (SESSIONS, 2), (SOURCE, 4)]


def test_session_source_is_observed(settings: Settings) -> None:
    with dagster_instance(settings) as instance:
        look = dg.define_asset_job("look", dg.AssetSelection.assets("session_source"))
        job = dg.Definitions(assets=DEFINED, jobs=[look]).resolve_job_def("look")
        result = job.execute_in_process(instance=instance, partition_key=W1)
        (event,) = result.asset_observations_for_node("session_source")
    assert event.partition == W1
    with campus.source(settings) as cursor:
        cursor.execute("SELECT chunk, rows, fingerprint FROM tippers.source_chunk")
        ((chunk, rows, fingerprint),) = cursor.fetchall()
    assert (chunk, rows) == (W1, 5)
    assert event.tags["dagster/data_version"] == f"{fingerprint % 2**64:016x}"
