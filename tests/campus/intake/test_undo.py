"""Ingests are undone and repeated exactly, whatever was ingested before or after them."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tippers_dagster.campus.intake.entries import list_ingests
from tippers_dagster.campus.intake.ingest import FileOptions, ingest_file, remove_spaces
from tippers_dagster.campus.intake.observations import OBSERVATIONS, ingest_observations
from tippers_dagster.campus.intake.repeat import Changes, ingest_again
from tippers_dagster.campus.intake.undo import undo_ingests
from tippers_dagster.campus.source.load import clear_source, load_transaction, read_source
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings

SESSIONS = ["mac_address", "sensor_id", "start_time", "end_time", "space_id"]
SPACES = ["space_id", "space_name", "parent_space_id", "building_room"]
METADATA = ["roomid", "typeid", "type", "building_room"]
CAMPUS = [["campus", "Campus", "", ""], ["hall", "Hall", "campus", ""]]
TABLES = {
    "sessions": ("user_ap_trajectory", SESSIONS),
    "spaces": ("space", SPACES),
    "space_metadata": ("space_metadata", METADATA),
}


def write(path: Path, header: list[str], rows: list[list[str]]) -> Path:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    path.write_text(text.getvalue())
    return path


def content(settings: Settings) -> dict[str, list[tuple]]:
    """The rows of all source tables, without the numbers of ingests."""
    found = {}
    for kind, (table, columns) in TABLES.items():
        rows = read_source(settings, f"SELECT {', '.join(columns)} FROM source.{table}")
        found[kind] = sorted(map(tuple, zip(*rows.to_pydict().values(), strict=True)), key=str)
    return found


def rejects(settings: Settings) -> list[tuple]:
    rows = read_source(settings, "SELECT ingest_id, reason FROM tippers.reject ORDER BY 1, 2")
    return list(zip(*rows.to_pydict().values(), strict=True))


def clear(settings: Settings) -> None:
    with load_transaction(settings) as load:
        clear_source(load, settings)


def session(device: int, minute: int, space: str = "hall") -> list[str]:
    start = f"2025-01-06 10:{minute:02}:00"
    return [f"d{device}", "ap", start, f"2025-01-06 11:{minute:02}:00", space]


# --- one ingest undone among others ---------------------------------------------------------------
def random_file(chance: random.Random, folder: Path, number: int) -> tuple[str, Path]:
    """A small file whose keys and rows often occur in other files, too."""
    kind = chance.choice(["sessions", "sessions", "spaces", "space_metadata"])
    path = folder / f"{number}.csv"
    if kind == "sessions":
        rows = [session(chance.randrange(4), chance.randrange(3)) for _ in range(6)]
        rows.append(["", "ap", "2025-01-06 10:00", "", "hall"])
    elif kind == "spaces":
        ids = chance.sample(["r1", "r2", "r3", "r4"], 2)
        rows = [[i, f"name {chance.randrange(3)}", "hall", f"B {number}"] for i in ids]
    else:
        ids = [chance.choice(["1", "2", "3"]) for _ in range(3)]
        rows = [[i, str(chance.randrange(3)), "office", f"B {i} {number}"] for i in ids]
    return kind, write(path, TABLES[kind][1], rows)


@pytest.mark.parametrize("seed", range(6))
def test_undone_ingests_leave_no_trace(stack: Settings, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    base = write(tmp_path / "campus.csv", SPACES, CAMPUS)
    files = [random_file(chance, tmp_path, n) for n in range(5)]
    undone = set(chance.sample(range(5), 2))

    ingest_file(stack, "spaces", base)
    for n, (kind, path) in enumerate(files):
        if n not in undone:
            ingest_file(stack, kind, path)
    expected, wanted_rejects = content(stack), [reason for _, reason in rejects(stack)]

    clear(stack)
    ingest_file(stack, "spaces", base)
    before = content(stack)
    ids = [ingest_file(stack, kind, path).ingest_id for kind, path in files]
    complete = content(stack)
    assert None not in ids
    for n in chance.sample(sorted(undone), len(undone)):
        undo_ingests(stack, [ids[n] or 0])
    assert content(stack) == expected
    assert [reason for _, reason in rejects(stack)] == wanted_rejects

    # Repeated, each takes its place among the others, and all rows are the same as before.
    for n in undone:
        ingest_again(stack, ids[n] or 0)
    assert content(stack) == complete
    for n in chance.sample(range(5), 5):
        undo_ingests(stack, [ids[n] or 0])
    assert content(stack) == before
    assert rejects(stack) == []
    found = read_source(stack, "SELECT count(*) FROM tippers.ingest_layer WHERE ingest_id = 0")
    assert found.column(0)[0].as_py() == 0


def test_undoing_keeps_the_same_rows_of_another_ingest(stack: Settings, tmp_path: Path) -> None:
    both = [session(1, 0), session(2, 0)]
    first = ingest_file(stack, "sessions", write(tmp_path / "a.csv", SESSIONS, both))
    more = [*both, session(3, 0)]
    second = ingest_file(stack, "sessions", write(tmp_path / "b.csv", SESSIONS, more))
    assert len(content(stack)["sessions"]) == 5
    undone = undo_ingests(stack, [first.ingest_id or 0])
    assert undone.changed["sessions"] == 2
    assert {str(day) for day in undone.dates} == {"2025-01-06"}
    assert [row[0] for row in content(stack)["sessions"]] == ["d1", "d2", "d3"]
    undo_ingests(stack, [second.ingest_id or 0])
    assert content(stack)["sessions"] == []


def test_rows_from_before_any_ingest_are_restored(stack: Settings, tmp_path: Path) -> None:
    ingest_file(stack, "spaces", write(tmp_path / "campus.csv", SPACES, CAMPUS))
    with load_transaction(stack) as load:
        load.execute("ALTER TABLE source.space ADD COLUMN capacity integer")
        load.execute("INSERT INTO source.space VALUES ('old', 'Old', 'hall', NULL, 12)")
        load.execute("UPDATE source.space SET capacity = 400 WHERE space_id = 'hall'")
    new = write(tmp_path / "new.csv", SPACES, [["old", "New", "hall", "B"], ["x", "", "hall", ""]])
    report = ingest_file(stack, "spaces", new)
    assert report.details == {"new": "1", "changed": "1", "unchanged": "0"}
    undo_ingests(stack, [report.ingest_id or 0])
    rows = read_source(stack, "SELECT space_id, space_name, capacity FROM source.space ORDER BY 1")
    assert [tuple(row.values()) for row in rows.to_pylist()] == [
        ("campus", "Campus", None),
        ("hall", "Hall", 400),
        ("old", "Old", 12),
    ]


def test_an_undone_file_can_be_ingested_as_new(stack: Settings, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", SESSIONS, [session(1, 0)])
    number = ingest_file(stack, "sessions", path).ingest_id or 0
    undo_ingests(stack, [number])
    with pytest.raises(BadInput, match=f"Ingest {number} was already undone on"):
        undo_ingests(stack, [number])
    assert not ingest_file(stack, "sessions", path).already
    with pytest.raises(BadInput, match="already loaded by ingest 2"):
        ingest_again(stack, number)
    assert len(content(stack)["sessions"]) == 1


def test_spaces_with_other_spaces_below_are_not_undone(stack: Settings, tmp_path: Path) -> None:
    campus = ingest_file(stack, "spaces", write(tmp_path / "campus.csv", SPACES, CAMPUS))
    rooms = write(tmp_path / "rooms.csv", SPACES, [["r1", "", "hall", ""]])
    ingest_file(stack, "spaces", rooms)
    before = content(stack)
    with pytest.raises(BadInput, match=r"Undoing ingest 1: .* r1 \(parent hall\)"):
        undo_ingests(stack, [campus.ingest_id or 0])
    assert content(stack) == before
    assert [one.undone_at for one in list_ingests(stack, ("spaces",))] == [None, None]


def test_a_removal_of_spaces_is_undone_like_an_ingest(stack: Settings, tmp_path: Path) -> None:
    ingest_file(stack, "spaces", write(tmp_path / "campus.csv", SPACES, CAMPUS))
    before = content(stack)
    number = remove_spaces(stack, "hall", ["hall"])
    assert [row[0] for row in content(stack)["spaces"]] == ["campus"]
    with pytest.raises(BadInput, match="is a removal of hall, not a file"):
        ingest_again(stack, number)
    undo_ingests(stack, [number])
    assert content(stack) == before


# --- repeated -------------------------------------------------------------------------------------
def test_other_columns_and_another_zone(stack: Settings, tmp_path: Path) -> None:
    header = ["MAC", "sensor_id", "end_time", "start_time", "space_id"]
    row = ["d1", "ap", "2025-01-06 13:00:00", "2025-01-06 14:00:00", "hall"]
    path = write(tmp_path / "swapped.csv", header, [row])
    swapped = {"mac_address": "MAC", "start_time": "end_time", "end_time": "start_time"}
    report = ingest_file(stack, "sessions", path, options=FileOptions(swapped))
    number = report.ingest_id or 0
    (found,) = content(stack)["sessions"]
    assert [f"{time:%H:%M}" for time in found[2:4]] == ["13:00", "14:00"]

    again = ingest_again(stack, number, Changes(timezone="America/New_York"))
    assert again.ingest_id == number
    (found,) = content(stack)["sessions"]
    assert [f"{time:%H:%M}" for time in found[2:4]] == ["10:00", "11:00"]
    (one,) = list_ingests(stack, ("sessions",))
    assert one.options == {"columns": swapped, "timezone": "America/New_York"}
    assert one.redone_at is not None
    with pytest.raises(BadInput, match=r"with other options: columns .*mac_address=MAC"):
        ingest_file(stack, "sessions", path, options=FileOptions(swapped))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (Changes(timezone="Mars/Olympus"), "Mars/Olympus is no time zone"),
        (Changes(columns={"mac": "MAC"}), "no column mac"),
        (Changes(columns={"mac_address": "MAC"}), "has no column"),
        (Changes(gap_seconds=5), "--gap does not apply"),
    ],
)
def test_invalid_options_change_nothing(
    stack: Settings, tmp_path: Path, changes: Changes, says: str
) -> None:
    path = write(tmp_path / "a.csv", ["device_name", *SESSIONS[1:]], [session(1, 0)])
    options = FileOptions({"mac_address": "device_name"})
    number = ingest_file(stack, "sessions", path, options=options).ingest_id or 0
    before = content(stack)
    with pytest.raises(BadInput, match=says):
        ingest_again(stack, number, changes)
    assert content(stack) == before


def test_observations_with_another_gap(stack: Settings, tmp_path: Path) -> None:
    ingest_file(stack, "spaces", write(tmp_path / "campus.csv", SPACES, CAMPUS))
    rows = [["d1", f"2025-01-06 10:{minute:02}:00", "hall"] for minute in (0, 10, 20)]
    path = write(tmp_path / "seen.csv", ["mac_address", "time", "sensor_id"], rows)
    number = ingest_observations(stack, path, gap_seconds=900).ingest_id or 0
    assert len(content(stack)["sessions"]) == 1
    with pytest.raises(BadInput, match="gap_seconds 900"):
        ingest_observations(stack, path, gap_seconds=60)
    ingest_again(stack, number, Changes(gap_seconds=60))
    assert len(content(stack)["sessions"]) == 3
    (one,) = list_ingests(stack, (OBSERVATIONS,))
    assert one.options == {"gap_seconds": 60}


def _remove(path: Path) -> None:
    path.unlink()


def _change(path: Path) -> None:
    path.write_text(path.read_text() + ",".join(session(9, 9)) + "\n")


@pytest.mark.parametrize(
    ("happened", "says"),
    [(_remove, "no longer exists"), (_change, "has changed since ingest 1")],
)
def test_a_missing_or_changed_file(
    stack: Settings, tmp_path: Path, happened: Callable[[Path], None], says: str
) -> None:
    path = write(tmp_path / "a.csv", SESSIONS, [session(1, 0)])
    kept = write(tmp_path / "kept.csv", SESSIONS, [session(1, 0)])
    ingest_file(stack, "sessions", path)
    happened(path)
    before = content(stack)
    with pytest.raises(BadInput, match=says):
        ingest_again(stack, 1)
    assert content(stack) == before
    ingest_again(stack, 1, file=kept)
    assert content(stack) == before
    if path.exists():
        ingest_again(stack, 1, file=path, accept_changes=True)
        assert [row[0] for row in content(stack)["sessions"]] == ["d1", "d9"]


# --- ingests of an earlier version ----------------------------------------------------------------
def as_of_an_earlier_version(settings: Settings) -> None:
    """Like a migrated journal: no options, and rows without a number."""
    with load_transaction(settings) as load:
        load.execute("UPDATE tippers.ingested_file SET traced = false, options = NULL, "
                     "first_start = NULL, last_start = NULL")  # fmt: skip
        load.execute("UPDATE source.user_ap_trajectory SET ingest_id = NULL")
        load.execute("DELETE FROM tippers.ingest_layer")


def test_the_only_sessions_of_an_earlier_version_can_be_undone(
    stack: Settings, tmp_path: Path
) -> None:
    first = write(tmp_path / "a.csv", SESSIONS, [session(1, 0), session(2, 0)])
    ingest_file(stack, "sessions", first)
    as_of_an_earlier_version(stack)
    ingest_file(stack, "sessions", write(tmp_path / "b.csv", SESSIONS, [session(3, 0)]))
    assert ingest_file(stack, "sessions", first).already
    undo_ingests(stack, [1])
    assert [row[0] for row in content(stack)["sessions"]] == ["d3"]
    ingest_again(stack, 1)
    assert len(content(stack)["sessions"]) == 3


def test_ingests_with_too_few_records_are_not_undone(stack: Settings, tmp_path: Path) -> None:
    ingest_file(stack, "spaces", write(tmp_path / "campus.csv", SPACES, CAMPUS))
    for n in range(2):
        ingest_file(stack, "sessions", write(tmp_path / f"{n}.csv", SESSIONS, [session(n, 0)]))
    as_of_an_earlier_version(stack)
    before = content(stack)
    for number in (1, 2, 3):
        with pytest.raises(BadInput, match=r"cannot be undone.*earlier version"):
            undo_ingests(stack, [number])
        with pytest.raises(BadInput, match=r"cannot be undone.*earlier version"):
            ingest_again(stack, number)
    assert content(stack) == before

    # All of its sessions together can be undone.
    undo_ingests(stack, [2, 3])
    assert content(stack) == {**before, "sessions": []}
    ingest_again(stack, 3)
    assert [row[0] for row in content(stack)["sessions"]] == ["d1"]
