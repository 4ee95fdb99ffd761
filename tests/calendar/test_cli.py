from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tippers_dagster.calendar.store import list_periods
from tippers_dagster.cli import calendar
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings

CSV = """kind,name,first_day,last_day,space
quarter,Fall,2025-09-25,2025-12-12,
finals,Fall finals,2025-12-06,2025-12-12,
"""


def run(*arguments: str) -> str:
    app = typer.Typer()
    calendar.register(app)
    done = CliRunner().invoke(app, ["calendar", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_calendar_is_imported_listed_and_exported(
    stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert "calendar is empty" in run("list")
    file = tmp_path / "calendar.csv"
    file.write_text(CSV)
    assert "2 added" in run("import", str(file), "--by", "ada")
    assert "2 unchanged" in run("import", str(file), "--by", "bob")
    assert "11 added" in run("holidays", "--years", "2025", "--country", "US")
    assert "12 added, 0 changed, 0 removed, 11 unchanged" in run("holidays", "2025", "2026")
    listed = run("list")
    assert "2025-12-12" in listed
    assert "Thanksgiving Day" in listed
    assert {kept.updated_by for kept in list_periods(stack) if kept.period.days > 1} == {"ada"}
    assert "23 removed" in run("import", str(file), "--replace")
    out = tmp_path / "again.csv"
    assert "2 periods written" in run("export", str(out))
    assert out.read_text() == CSV
    number = str(list_periods(stack)[0].id)
    assert "1 removed" in run("remove", number)
    with pytest.raises(BadInput, match="no period"):
        run("remove", number)
    with pytest.raises(BadInput, match="No year"):
        run("holidays")
