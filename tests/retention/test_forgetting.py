"""A device or a person is removed from everything, and does not come back."""

from __future__ import annotations

import datetime as dt
import logging
import struct
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

from tests.graph.conftest import bare, small
from tests.graph.small import ALL, Small
from tests.leaks import Wanted, database_leaks, folder_leaks
from tests.occupancy.campus import Seen, add_sessions, change
from tests.sql.definitions import MACS
from tippers_dagster.campus.addresses import device_addresses
from tippers_dagster.campus.log.people import UserNames, persons
from tippers_dagster.cli import build_app
from tippers_dagster.errors import BadInput, TippersError
from tippers_dagster.labelling.gold import give
from tippers_dagster.occupancy.launch import materialize
from tippers_dagster.occupancy.reading import read_occupancy
from tippers_dagster.occupancy.sessions import FORGOTTEN
from tippers_dagster.occupancy.tracking import track_space
from tippers_dagster.platform.keys import device_key
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.postgres.embedded import ADMINISTRATOR
from tippers_dagster.platform.postgres.owner import OWNER
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.retention import forgetting
from tippers_dagster.retention.forgetting import Entity, NotForgotten, device_named, persons_named
from tippers_dagster.settings import Settings, get_settings

__all__ = ["bare", "small"]

ADDRESS = MACS[0]
START = dt.datetime(2025, 1, 7, 9)
SPELLINGS = ("AA-BB-CC-DD-EE-00", "aabb.ccdd.ee00", " aabbccddee00 ")


def places(settings: Settings, folder: Path, entities: Iterable[Entity]) -> set[str]:
    """Every place in which one of them is named."""
    values = {}
    for n, entity in enumerate(entities):
        values |= {f"{n} signed": str(entity.signed), f"{n} unsigned": str(entity.hash)}
        if entity.name:
            values[f"{n} name"] = entity.name
    wanted = Wanted(values)
    for n, entity in enumerate(entities):
        wanted._forms[struct.pack("<Q", entity.hash)] = f"{n} binary"
    urls = databases(settings)
    found = {
        f"{name} {leak.place}"
        for name, url in (("warehouse", urls.warehouse), ("dagster", urls.dagster))
        for leak in database_leaks(url.replace(f"//{OWNER}@", f"//{ADMINISTRATOR}@"), wanted)
    }
    return found | {leak.place for leak in folder_leaks(folder, wanted, skipped=("project",))}


def run(small: Small, named: list[Entity], *, really: bool = True) -> forgetting.Forgetting:
    log = logging.getLogger("test")
    return forgetting.forget(small.settings, small.instance, named, "ada", log, really=really)


def devices_at(settings: Settings) -> int:
    """The number of devices in the hall in the first hour of the second day."""
    table = read_occupancy("hall", "2025-01-07", "2025-01-08", 3600)
    return int(table["number_connections"][9].as_py())


@pytest.fixture
def computed(small: Small, own_mlflow: str) -> Small:
    """Everything of some devices, one of them in several spellings and places."""
    settings = small.settings
    add_sessions(
        settings,
        [Seen(s, "r1", START, START + dt.timedelta(hours=1)) for s in SPELLINGS]
        + [Seen(ADDRESS, "r1", START, START - dt.timedelta(hours=1))]  # rejected
        + [Seen(ADDRESS, "nowhere", START, START + dt.timedelta(hours=1))],
    )
    track_space(settings, space="hall", start=dt.date(2025, 1, 6), end=dt.date(2025, 1, 13))
    materialize(settings, small.instance)
    small.save(*ALL)
    small.computed()
    give(settings, "device", ADDRESS, "A", by="ada")
    return small


@pytest.mark.slow
def test_nothing_of_a_device_is_left_and_it_stays_away(computed: Small, tmp_path: Path) -> None:
    settings = computed.settings
    device = device_named(settings, "AABB.CCDD.EE00")
    before = places(settings, tmp_path, [device])
    assert {
        "warehouse source.user_ap_trajectory",
        "warehouse tippers.gold_label",
        "warehouse tippers.session_reject",
        "warehouse tippers.device_address",
        "warehouse labels.device__type",
        "lake/votes/device/is_a/data.parquet",
        "lake/presence/chunk=2025-01-06.parquet",
    } <= before
    count = devices_at(settings)

    looked = run(computed, [device], really=False)
    assert places(settings, tmp_path, [device]) == before
    done = run(computed, [device])
    assert places(settings, tmp_path, [device]) == set()
    assert done.removed["source"] == looked.removed["source"] == 8
    assert done.removed["gold labels"] == 1
    assert set(looked.removed) <= set(done.removed)
    assert "counts" in done.remains
    assert devices_at(settings) == count - 1

    # It comes back in a file, and is left out and counted.
    add_sessions(settings, [Seen(SPELLINGS[0], "r1", START, START + dt.timedelta(hours=1))])
    materialize(settings, computed.instance)
    assert devices_at(settings) == count - 1
    assert device.name not in device_addresses(settings)["mac_address"].to_pylist()
    with warehouse_engine(settings).connect() as connection:
        query = sa.text(
            "SELECT chunk, mac_address, space_id, row FROM tippers.session_reject WHERE reason = :r"
        )
        assert connection.execute(query, {"r": FORGOTTEN}).all() == [
            ("2025-01-06", None, None, None)
        ]
        listed = connection.execute(
            sa.text("SELECT kind, by, removed FROM tippers.forgotten")
        ).all()
    assert [(kind, by) for kind, by, _ in listed] == [("device", "ada")]
    assert listed[0].removed["gold labels"] == 1
    again = run(computed, [device])
    assert again.removed == {"source": 1}
    assert places(settings, tmp_path, [device]) == set()

    # Results are computed again without it.
    computed.computed()
    assert places(settings, tmp_path, [device]) == set()


@pytest.mark.slow
def test_a_person_goes_with_devices_that_nobody_else_used(
    small: Small, own_mlflow: str, tmp_path: Path
) -> None:
    settings = small.settings
    key = device_key(settings)
    ada, bob = persons(pa.array(["ada", "bob"]), UserNames(), key).to_pylist()

    change(settings, "TRUNCATE source.user_ap_trajectory")
    hour = dt.timedelta(hours=1)
    add_sessions(
        settings,
        [
            Seen(MACS[0], "r1", START, START + hour, ada),
            Seen(MACS[0], "r1", START + 2 * hour, START + 3 * hour),
            Seen(MACS[1], "r1", START, START + hour, ada),
            Seen(MACS[1], "r1", START + 2 * hour, START + 3 * hour, bob),
        ],
    )
    track_space(settings, space="hall", start=dt.date(2025, 1, 6), end=dt.date(2025, 1, 13))
    materialize(settings, small.instance)
    assert devices_at(settings) == 2
    named = persons_named(settings, "ADA")
    assert [entity.hash for entity in named] == [ada]
    own = device_named(settings, MACS[0])
    assert places(settings, tmp_path, [*named, own])
    done = run(small, named)
    assert (done.persons, done.devices, done.shared) == (1, 1, 1)
    assert places(settings, tmp_path, [*named, own]) == set()
    assert devices_at(settings) == 0
    assert places(settings, tmp_path, [device_named(settings, MACS[1])])
    with pytest.raises(BadInput, match="not the user name"):
        persons_named(settings, "host/pc-1")
    with pytest.raises(BadInput, match="not the address"):
        device_named(settings, "00:00:00:00:00:00")


@pytest.mark.slow
def test_a_person_s_devices_are_found_again_after_a_failure(
    small: Small, own_mlflow: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then nothing but the list says that they were the person's."""
    settings = small.settings
    (ada,) = persons(pa.array(["ada"]), UserNames(), device_key(settings)).to_pylist()
    change(settings, "TRUNCATE source.user_ap_trajectory")
    hour = dt.timedelta(hours=1)
    log = [Seen(MACS[0], "r1", START, START + hour, ada)]
    add_sessions(settings, [*log, Seen(MACS[0], "r1", START + 2 * hour, START + 3 * hour)])
    track_space(settings, space="hall", start=dt.date(2025, 1, 6), end=dt.date(2025, 1, 13))
    materialize(settings, small.instance)
    named, own = persons_named(settings, "ada"), device_named(settings, MACS[0])

    def fails(*given: object, **options: object) -> None:
        raise TippersError("a partition of another building failed")

    with monkeypatch.context() as patch:
        patch.setattr(forgetting, "materialize", fails)
        with pytest.raises(TippersError, match="another building"):
            run(small, named)
    assert own.name in device_addresses(settings)["mac_address"].to_pylist()
    materialize(settings, small.instance)
    run(small, named)
    assert places(settings, tmp_path, [*named, own]) == set()


def test_a_device_that_is_only_in_the_log_goes_with_its_person(
    small: Small, own_mlflow: str, tmp_path: Path
) -> None:
    """No table of ours leads from its hash to its address yet."""
    settings = small.settings
    (ada,) = persons(pa.array(["ada"]), UserNames(), device_key(settings)).to_pylist()
    new = "02:00:00:00:77:01"
    hour = dt.timedelta(hours=1)
    add_sessions(
        settings,
        [Seen(new, "r1", START, START + hour, ada), Seen(new, "r1", START + 2 * hour, START)],
    )
    run(small, persons_named(settings, "ada"))
    assert places(settings, tmp_path, [device_named(settings, new)]) == set()


def test_an_id_of_the_log_s_own_is_refused(small: Small) -> None:
    """It may be that of a room as well, and everything with it would go."""
    for text in ("r1", "101", "laptop-7"):
        with pytest.raises(BadInput, match="id of the log's own"):
            device_named(small.settings, text)


@pytest.mark.slow
def test_what_is_known_of_others_in_untracked_chunks_stays(computed: Small, tmp_path: Path) -> None:
    settings, device = computed.settings, device_named(computed.settings, ADDRESS)
    change(settings, "DELETE FROM tippers.tracking")
    before = places(settings, tmp_path, [device])
    assert "chunks that are no longer tracked" in run(computed, [device], really=False).remains
    with pytest.raises(TippersError, match="Nothing was removed"):
        run(computed, [device])
    assert places(settings, tmp_path, [device]) == before


def test_what_cannot_be_removed_is_an_error(small: Small, own_mlflow: str) -> None:
    settings = small.settings
    change(settings, "CREATE TABLE public.notes (said text)")
    change(settings, "INSERT INTO public.notes VALUES ('seen: AABB.CCDD.EE00')")
    with pytest.raises(NotForgotten, match=r"public\.notes"):
        run(small, [device_named(settings, ADDRESS)])


def test_the_command_says_what_it_would_remove(small: Small, own_mlflow: str) -> None:
    from typer.testing import CliRunner

    result = CliRunner().invoke(build_app(["forget"]), ["forget", "--device", ADDRESS.upper()])
    assert result.exit_code == 0, result.output
    assert "3 rows" in result.output
    assert "Nothing was changed" in result.output
    assert ADDRESS not in result.output


def test_a_campuss_own_log_is_only_read(
    small: Small, own_mlflow: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIPPERS_SOURCE_URL", databases(small.settings).warehouse)
    get_settings.cache_clear()
    campus = Small(get_settings(), small.instance)
    device = device_named(campus.settings, ADDRESS)
    done = run(campus, [device])
    assert "the campus's own log" in done.remains
    assert done.removed["sessions"] == 3
    left = {p for p in places(campus.settings, tmp_path, [device]) if "pg_statistic" not in p}
    assert left == {"warehouse source.user_ap_trajectory"}
    lake = open_lake(campus.settings)
    assert ADDRESS not in device_addresses(campus.settings)["mac_address"].to_pylist()
    table = lake.read_table("sessions/chunk=2025-01-06.parquet")
    assert table.num_rows == 3 * (len(MACS) - 1)


@pytest.mark.slow
def test_an_interrupted_call_is_finished_by_the_next(
    computed: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = device_named(computed.settings, ADDRESS)
    for step in ("_recompute", "_clean_results", "_vacuum"):
        with monkeypatch.context() as patch:
            patch.setattr(forgetting, step, _killed)
            with pytest.raises(KeyboardInterrupt):
                run(computed, [device])
    run(computed, [device])
    assert places(computed.settings, tmp_path, [device]) == set()


def _killed(*_: object) -> None:
    raise KeyboardInterrupt
