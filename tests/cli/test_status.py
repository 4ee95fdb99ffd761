"""`tippers status` and `tippers metrics` from a shell."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner, Result

from tests.occupancy import campus
from tests.occupancy.campus import Seen
from tests.sql.definitions import use_bare_project
from tippers_dagster.cli import build_app
from tippers_dagster.errors import BadInput, TippersError
from tippers_dagster.occupancy.records import record_attempts
from tippers_dagster.occupancy.tracking import recompute, track_space
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import sessions_key
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings, get_settings

MONDAY = dt.date(2025, 1, 6)
SUNDAY = MONDAY + dt.timedelta(7)
NINE = dt.datetime(2025, 1, 6, 9)


def tippers(*arguments: str) -> Result:
    return CliRunner().invoke(build_app(), arguments, catch_exceptions=False)


@pytest.fixture
def bare(stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A deployment with no definitions but staging models."""
    return use_bare_project(monkeypatch, tmp_path / "project")


@pytest.fixture
def tracked(bare: Settings) -> Settings:
    parents = {"campus": None, "r1": "campus", "r2": "campus"}
    campus.fill(bare, parents, [Seen("m1", "r1", NINE, NINE + dt.timedelta(hours=1))])
    track_space(bare, space="campus", start=MONDAY, end=SUNDAY)
    return bare


def test_a_fresh_home(bare: Settings) -> None:
    shown = tippers("status")
    assert "services    the stack is not running; `tippers up` starts it" in shown.stdout
    assert "nothing is tracked; `tippers track` chooses spaces and dates" in shown.stdout
    assert shown.stdout.splitlines()[-1] == "All is well."
    assert shown.exit_code == 0


def test_before_and_after_everything_is_computed(tracked: Settings) -> None:
    before = tippers("status")
    assert before.exit_code == 1
    assert "- Nothing is computed, as the stack is not running: 5 stale partitions" in before.stdout
    assert [line.split()[1:] for line in before.stdout.splitlines() if "source_occ" in line] == [
        ["2", "0", "0", "2", "0"]
    ]
    assert tippers("occupancy", "materialize").exit_code == 0
    assert tippers("pipeline", "materialize").exit_code == 0
    after = tippers("status")
    assert after.stdout.splitlines()[-1] == "All is well."
    assert after.exit_code == 0
    assert "today is not tracked; the last tracked chunk is 2025-01-06" in after.stdout


def test_failed_partitions_are_shown_with_their_reason(tracked: Settings) -> None:
    assert tippers("occupancy", "materialize").exit_code == 0
    open_lake(tracked).write_bytes(sessions_key("2025-01-06"), b"no Parquet file")
    recompute(tracked, space="campus", start=MONDAY, end=SUNDAY, sessions=False)
    with pytest.raises(TippersError):
        tippers("occupancy", "materialize")
    engine = warehouse_engine(tracked)
    for _ in range(tracked.max_tries):
        level = campus.state(tracked).source
        record_attempts(engine, level, level.stale, dt.datetime.now(dt.UTC))
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE tippers.attempt SET requested_at = now() - interval '1 day'")
        )
    shown = tippers("status")
    assert shown.exit_code == 1
    assert (
        "- source_occupancy: 2 failed partitions (r1|2025-01-06): source_occupancy: "
        in shown.stdout
    )
    assert "is not a readable Parquet file" in shown.stdout
    assert "`tippers occupancy retry`" in shown.stdout


def test_figures_as_json(tracked: Settings) -> None:
    shown = tippers("status", "--json")
    found = json.loads(shown.stdout)
    assert shown.exit_code == 1
    assert [concern["what"][:19] for concern in found["attention"]] == ["Nothing is computed"]
    assert found["failures"] == {}
    assert found["occupancy"]["levels"][1]["wanted"] == 2
    assert found["occupancy"]["newest"]["chunk"] == "2025-01-06"
    assert dt.datetime.fromisoformat(found["at"]).tzinfo is not None


def test_without_a_database(bare: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TIPPERS_DATABASE_URL", "TIPPERS_DAGSTER_URL"):
        monkeypatch.setenv(name, "postgresql://nobody:hunter2@127.0.0.1:1/nothing")
    get_settings.cache_clear()
    shown = tippers("status")
    assert shown.exit_code == 1
    assert "counts      not known" in shown.stdout
    assert "- No figures of occupancy: " in shown.stdout
    assert "`tippers doctor`" in shown.stdout
    assert "hunter2" not in shown.stdout + shown.stderr


def test_metrics_are_printed_once(tracked: Settings) -> None:
    shown = tippers("metrics", "--once")
    assert shown.exit_code == 0
    families = {f.name: f for f in text_string_to_metric_families(shown.stdout)}
    assert families["tippers_up"].samples[0].value == 1
    stale = {"asset": "source_occupancy", "state": "stale"}
    (sample,) = [s for s in families["tippers_partitions"].samples if s.labels == stale]
    assert sample.value == 2
    with pytest.raises(BadInput, match="exclude each other"):
        tippers("metrics", "--once", "--push", "http://127.0.0.1:4318")
