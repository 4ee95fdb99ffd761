"""Backtests on files of counts, and the commands."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.forecasting.signals import weekly
from tests.forecasting.small import World
from tippers_dagster.cli import build_app
from tippers_dagster.errors import BadInput
from tippers_dagster.forecasting.files import evaluate_files, read_panel
from tippers_dagster.settings import Settings

MIDNIGHT = dt.datetime(2025, 1, 6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two rooms: one is always empty, the other has a missing hour."""
    values = weekly(spaces=1, weeks=5).values[0].reshape(-1)
    for name, factor in (("lab", 1), ("attic", 0)):
        lines = ["spaceid,starttime,endtime,occupancy"]
        for i, value in enumerate(values):
            if name == "lab" and i == 30:
                continue
            begin = MIDNIGHT + i * dt.timedelta(hours=1)
            lines.append(f"1,{begin},{begin + dt.timedelta(hours=1)},{int(value * factor)}")
        (tmp_path / f"{name}.csv").write_text("\n".join(lines))
    return tmp_path


def test_models_are_tried_on_files(folder: Path) -> None:
    found = evaluate_files(Settings(threads=1), folder, ["past_weeks"], windows=2)
    assert (found.spaces, found.empty, found.missing, found.windows) == (2, 1, 1, 2)
    assert found.panel.spaces == ("attic", "lab")
    assert [record["model"] for record in found.records][-1] == "zero"
    assert sum(record["champion of"] for record in found.records) == 2
    assert found.troubles == {}


def test_unreadable_files_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no \.csv file"):
        read_panel(folder / "nowhere", 7)
    (folder / "odd.csv").write_text(
        "spaceid,starttime,endtime,occupancy\n1,2025-01-06 00:00:00,2025-01-06 00:25:00,1\n"
    )
    with pytest.raises(BadInput, match="same width"):
        read_panel(folder, 7)
    (folder / "odd.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match=r"odd\.csv has no column"):
        read_panel(folder, 7)


def test_the_command_line_lists_shows_exports_and_evaluates(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tippers_dagster.forecasting import reading

    monkeypatch.setattr(reading, "forecaster_names", lambda _: ["hall"])

    def tippers(*words: str) -> str:
        found = CliRunner().invoke(build_app(["forecast"]), ["forecast", *words])
        assert found.exception is None, found.output
        return found.output

    assert "none yet" in tippers("list")
    assert world.run().success
    assert "2025-01-06 to" in tippers("list")
    assert "seasonal_naive" in tippers("show", "hall")
    assert "lightgbm" in tippers("show", "hall", "--space", "r1")
    out = folder / "r1.csv"
    assert "168 rows" in tippers("export", "hall", "--space", "r1", "--out", str(out))
    assert out.read_text().startswith("space_id,interval_begin_time,q025,q10,q50,q90,q975\n")
    out.unlink()
    told = tippers("evaluate", str(folder), "--model", "past_weeks", "--windows", "1")
    assert "Spaces: 2, 1 of them always empty" in told
