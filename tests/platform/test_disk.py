"""Full disks, with a real disk of some kilobytes: the message, and that nothing is left behind."""

from __future__ import annotations

import datetime as dt
import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg2.errors
import pyarrow as pa
import pytest
import sqlalchemy as sa

from tests.occupancy import campus
from tests.occupancy.campus import Seen, compute_level, stale
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.errors import DiskFull, EnvironmentFault, LakeError, LakeFull
from tippers_dagster.occupancy.state import SESSIONS
from tippers_dagster.platform.disk import environment_fault, reporting_full
from tippers_dagster.platform.lake import Lake, open_lake
from tippers_dagster.platform.warehouse.engine import copy_rows, warehouse_engine
from tippers_dagster.settings import Settings, get_settings

LARGE = pa.table({"noise": pa.array([f"{i * 7919 % 99991:x}{i:o}" for i in range(60_000)])})


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 KB."""
    place = tmp_path / "tiny"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k,mode=700", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def write_in_pieces(lake: Lake, key: str) -> None:
    with lake.open_writer(key, LARGE.schema) as out:
        for _ in range(8):
            out.write(LARGE)


def test_a_full_lake(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIPPERS_LAKE_URL", str(tiny / "lake"))
    get_settings.cache_clear()
    lake = open_lake(get_settings())
    lake.write_table("a/small.parquet", LARGE.slice(0, 10))
    message = rf"The disk of {tiny}/lake is full: 0 MB free"
    with pytest.raises(LakeFull, match=message) as caught:
        lake.write_table("a/small.parquet", LARGE)
    with pytest.raises(LakeFull, match=message):
        write_in_pieces(lake, "a/pieces.parquet")
    assert "TIPPERS_LAKE_URL" in (caught.value.hint or "")
    assert isinstance(caught.value, LakeError)
    assert files(tiny / "lake") == ["a/small.parquet"], "nothing half written"
    assert lake.read_table("a/small.parquet").num_rows == 10, "as it was"


def test_no_space_for_spill_files(
    stack: Settings, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = dt.datetime(2025, 1, 7, 9)
    campus.fill(
        stack,
        {"r1": None},
        [Seen(f"m{i}", "r1", day, day + dt.timedelta(minutes=i % 60)) for i in range(9000)],
    )
    track(stack, space="r1", start=day.date(), end=day.date() + dt.timedelta(7))
    monkeypatch.setenv("TIPPERS_HOME", str(tiny))
    get_settings.cache_clear()
    with pytest.raises(DiskFull, match=rf"The disk of {tiny}/tmp/sessions is full") as caught:
        compute_level(get_settings(), SESSIONS)
    assert "TIPPERS_HOME" in (caught.value.hint or "")
    assert files(tiny) == []
    assert SESSIONS in stale(stack)


def test_a_full_database_disk(stack: Settings) -> None:
    """The error that PostgreSQL raises then, raised by a function."""
    engine = warehouse_engine(stack)
    full = (
        "CREATE FUNCTION public.no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE "
        "'could not extend file \"base/1/2\": No space left on device' USING ERRCODE = '53100'; "
        "END $$"
    )
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE public.there (n bigint)"))
        connection.execute(sa.text(full))
        connection.execute(
            sa.text(
                "CREATE TRIGGER no_room BEFORE INSERT ON public.there "
                "FOR EACH STATEMENT EXECUTE FUNCTION public.no_room()"
            )
        )
    message = "The disk of the database is full: could not extend file"
    with pytest.raises(DiskFull, match=message), engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO public.there VALUES (1)"))
    with pytest.raises(DiskFull, match=message), engine.begin() as connection:
        copy_rows(connection, "public.there", pa.table({"n": [1]}))


def test_other_errors_are_not_full_disks(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), reporting_full(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(DiskFull, match=str(tmp_path)), reporting_full(tmp_path / "not" / "there"):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")


def test_the_fault_behind_an_error(tmp_path: Path) -> None:
    assert environment_fault(ValueError("no")) is None
    assert environment_fault(OSError(errno.EACCES, "no", str(tmp_path))) is None
    full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "file"))
    try:
        raise RuntimeError("could not log") from full
    except RuntimeError as error:
        found = environment_fault(error)
    assert isinstance(found, DiskFull)
    assert str(tmp_path) in found.message
    fault = EnvironmentFault("it burns")
    assert environment_fault(fault) is fault
    assert isinstance(environment_fault(psycopg2.errors.DiskFull("full")), DiskFull)
