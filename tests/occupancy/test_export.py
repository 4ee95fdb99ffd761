from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from tests.occupancy.test_reading import MONDAY, WEEK, lake, publish, spaces
from tippers_dagster.cli import export as export_command
from tippers_dagster.errors import BadInput, MissingPartitions
from tippers_dagster.platform.lake import Lake

__all__ = ["lake", "spaces"]


def export(*options: str, space: str = "a,b") -> str:
    app = typer.Typer()
    app.callback()(lambda: None)
    export_command.register(app)
    done = CliRunner().invoke(app, ["export", "--space", space, *options])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_csv(lake: Lake, tmp_path: Path) -> None:
    publish(lake, "é 1", "2025-10-27", [])
    out = tmp_path / "x.csv"
    span = ("--start", "2025-11-02", "--end", "2025-11-02T04:00", "--interval", "3600")
    assert "5 rows" in export(*span, "--out", str(out), space="é 1")
    assert out.read_text() == (
        "space_id,interval_begin_time,number_connections\n"
        "é 1,2025-11-02T00:00:00-07:00,0\n"
        "é 1,2025-11-02T01:00:00-07:00,0\n"
        "é 1,2025-11-02T01:00:00-08:00,0\n"
        "é 1,2025-11-02T02:00:00-08:00,0\n"
        "é 1,2025-11-02T03:00:00-08:00,0\n"
    )
    assert list(tmp_path.glob(".x*")) == []
    assert out.stat().st_mode & 0o777 == 0o600


def test_formula_ids_are_escaped_in_csv_and_unchanged_in_parquet(
    lake: Lake, tmp_path: Path
) -> None:
    publish(lake, "=1+1", WEEK, MONDAY)
    span = ("--start", "2025-01-06", "--end", "2025-01-07", "--interval", "86400")
    for name in ("x.csv", "x.parquet"):
        export(*span, "--out", str(tmp_path / name), space="=1+1")
    assert (tmp_path / "x.csv").read_text().splitlines()[1] == "'=1+1,2025-01-06T00:00:00-08:00,2"
    assert pq.read_table(tmp_path / "x.parquet")["space_id"].to_pylist() == ["=1+1"]


def test_sparse_parquet(lake: Lake, tmp_path: Path) -> None:
    publish(lake, "a,b", WEEK, MONDAY)
    out = tmp_path / "x.parquet"
    span = ("--start", "2025-01-06", "--end", "2025-01-13", "--interval", "86400")
    export(*span, "--out", str(out), "--sparse")
    table = pq.read_table(out)
    assert table.column_names == ["space_id", "interval_begin_time", "number_connections"]
    assert table["number_connections"].to_pylist() == [2, 1, 1]
    assert table["space_id"].to_pylist() == ["a,b"] * 3
    assert table.schema.field(1).type == pa.timestamp("ms", "America/Los_Angeles")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_no_rows(lake: Lake, tmp_path: Path, kind: str) -> None:
    publish(lake, "a,b", WEEK, [])
    out = tmp_path / f"x.{kind}"
    span = ("--start", "2025-01-06", "--end", "2025-01-13", "--interval", "900")
    assert "0 rows" in export(*span, "--out", str(out), "--sparse")
    if kind == "csv":
        assert out.read_text() == "space_id,interval_begin_time,number_connections\n"


def test_missing_chunks_change_nothing(lake: Lake, tmp_path: Path) -> None:
    publish(lake, "a,b", WEEK, MONDAY)
    out = tmp_path / "x.csv"
    out.write_text("old")
    span = (
        "--start",
        "2025-01-12",
        "--end",
        "2025-01-14",
        "--interval",
        "86400",
        "--out",
        str(out),
    )
    with pytest.raises(MissingPartitions, match="2025-01-13"):
        export(*span)
    assert out.read_text() == "old"
    assert "2025-01-13" in export(*span, "--missing-ok")
    assert out.read_text().splitlines()[1:] == [
        '"a,b","2025-01-12T00:00:00-08:00",0',
        '"a,b","2025-01-13T00:00:00-08:00",',
    ]


@pytest.mark.parametrize("name", ["x.txt", "x", "x.CSV", "none/x.csv"])
def test_unusable_files_are_refused_before_any_work(tmp_path: Path, name: str) -> None:
    span = ("--start", "2025-01-06", "--end", "2025-01-13", "--interval", "900")
    with pytest.raises(BadInput, match="x"):
        export(*span, "--out", str(tmp_path / name))


def test_a_folder_with_the_name_of_the_file(lake: Lake, tmp_path: Path) -> None:
    publish(lake, "a,b", WEEK, MONDAY)
    (tmp_path / "x.csv").mkdir()
    span = ("--start", "2025-01-06", "--end", "2025-01-13", "--interval", "900")
    with pytest.raises(BadInput, match="could not be written"):
        export(*span, "--out", str(tmp_path / "x.csv"))
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".x")] == []
