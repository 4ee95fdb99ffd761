"""A simulated campus in the source tables of a real database."""

import datetime as dt
import sys

import pyarrow as pa
import pytest

from tippers_dagster.campus.log.people import UserNames, persons
from tippers_dagster.campus.source.load import read_source
from tippers_dagster.campus.source.schema import (
    SESSIONS,
    TRUTH_DEVICE,
    TRUTH_HEADCOUNT,
    TRUTH_OCCUPANCY,
    source_tables,
)
from tippers_dagster.cli import main
from tippers_dagster.errors import BadInput, SourceError
from tippers_dagster.platform.keys import device_key
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.simulation import CampusOptions, simulate_campus, write_campus
from tippers_dagster.simulation.identities import name_of

SMALL = CampusOptions(people=60, buildings=1, days=8, start=dt.date(2025, 3, 5))


def _count(settings: Settings, kind: str) -> int:
    table = source_tables(settings)[kind]
    return int(read_source(settings, f"SELECT count(*) AS n FROM {table.sql}")["n"][0].as_py())


def test_everything_is_written_and_reported(stack: Settings) -> None:
    done: list[float] = []
    report = write_campus(stack, simulate_campus(SMALL), progress=done.append)
    assert {kind: _count(stack, kind) for kind in source_tables(stack)} == dict(report.rows)
    assert min(report.rows.values()) > 0
    assert sum(report.people.values()) == 60
    assert sum(report.devices.values()) < report.rows["truth_device"]
    assert sum(report.addresses.values()) == report.rows["truth_device"]
    assert set(report.addresses) == {"universal", "randomised"}
    assert report.repeated > 0
    assert done == sorted(done)
    assert done[-1] == 1.0
    campus = simulate_campus(SMALL)
    expected = sum(b.rows.num_rows for b in campus.batches() if b.kind == TRUTH_HEADCOUNT)
    assert report.rows[TRUTH_HEADCOUNT] == expected


def test_persons_are_stored_and_their_names_are_not(stack: Settings) -> None:
    write_campus(stack, simulate_campus(SMALL))
    tables = source_tables(stack)
    rows = read_source(
        stack,
        f"SELECT DISTINCT s.person, d.person_id FROM {tables[SESSIONS].sql} s "
        f"JOIN {tables[TRUTH_DEVICE].sql} d USING (mac_address) WHERE s.person IS NOT NULL",
    )
    names = name_of(rows["person_id"].combine_chunks())
    expected = persons(names, UserNames(), device_key(stack)).view(pa.int64())
    assert rows["person"].combine_chunks().equals(expected)
    assert 20 < rows.num_rows < 60
    stored = read_source(
        stack,
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'source' AND column_name LIKE '%user%'",
    )
    assert stored.num_rows == 0


def test_local_times_do_not_follow_the_database_session(stack: Settings) -> None:
    write_campus(stack, simulate_campus(SMALL))
    table = source_tables(stack)[SESSIONS]
    first = read_source(stack, f"SELECT min(start_time)::text AS t FROM {table.sql}")
    assert first["t"][0].as_py().startswith("2025-03-05 0")
    truth = source_tables(stack)[TRUTH_OCCUPANCY]
    begins = read_source(
        stack, f"SELECT min(interval_begin_time AT TIME ZONE 'UTC')::text AS t FROM {truth.sql}"
    )
    assert begins["t"][0].as_py() == "2025-03-05 08:00:00"


def test_a_second_campus_needs_replace(stack: Settings) -> None:
    write_campus(stack, simulate_campus(SMALL))
    before = _count(stack, SESSIONS)
    other = simulate_campus(CampusOptions(people=40, buildings=1, days=7, seed=9))
    with pytest.raises(BadInput, match=r"already data in source\.user_ap_trajectory") as refused:
        write_campus(stack, other)
    assert "--replace" in str(refused.value)
    assert _count(stack, SESSIONS) == before
    report = write_campus(stack, other, replace=True)
    assert _count(stack, SESSIONS) == report.rows[SESSIONS] != before
    assert write_campus(stack, other, replace=True).rows == report.rows


def test_a_failing_campus_leaves_the_tables_unchanged(
    stack: Settings,
) -> None:
    write_campus(stack, simulate_campus(SMALL))
    before = _count(stack, SESSIONS)

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_campus(stack, simulate_campus(SMALL), replace=True, progress=stop)
    assert _count(stack, SESSIONS) == before


def test_a_deployments_own_database_is_never_written(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stack.database_url is not None
    monkeypatch.setenv("TIPPERS_SOURCE_URL", stack.database_url.get_secret_value())
    get_settings.cache_clear()
    with pytest.raises(SourceError, match="is read only"):
        write_campus(get_settings(), simulate_campus(SMALL), replace=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"timezone": "Europe/Berlin"}, "TIPPERS_TIMEZONE"),
        ({"open_session_seconds": 60}, "TIPPERS_OPEN_SESSION_SECONDS"),
        ({"start": dt.date(2090, 1, 1)}, "implausible"),
        ({"start": dt.date(2001, 1, 1)}, "implausible"),
    ],
)
def test_a_campus_that_does_not_match_the_settings_is_refused(
    settings: Settings, change: dict[str, object], message: str
) -> None:
    options = CampusOptions(**{"people": 20, "buildings": 1, "days": 2, **change})  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=message):
        write_campus(settings, simulate_campus(options))
    assert not settings.home_path.joinpath("postgres").exists()


def test_the_command_line(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--people", "40", "--buildings", "1", "--days", "3", "--start", "2025-03-07"]
    monkeypatch.setattr(sys, "argv", ["tippers", "simulate", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr().out
    assert ended.value.code in (0, None), shown
    assert "2025-03-07 to 2025-03-09" in shown
    assert "UNDERGRAD" in shown
    assert "STATIC" in shown
    assert "unusable" in shown
    assert "randomised" in shown
    assert "of them repeated" in shown
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 1
    assert "--replace" in capsys.readouterr().err


def test_weeks_and_days_together_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["tippers", "simulate", "--weeks", "1", "--days", "3"])
    with pytest.raises(SystemExit) as refused:
        main()
    assert refused.value.code == 1
    assert "--weeks and --days" in capsys.readouterr().err
