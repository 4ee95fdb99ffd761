"""SmartSPEC scenarios: a published one, and broken ones."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tippers_dagster.campus.intake.repeat import Changes, ingest_again
from tippers_dagster.campus.intake.smartspec import ingest_smartspec, pseudo_mac
from tippers_dagster.campus.intake.undo import undo_ingests
from tippers_dagster.campus.source.load import load_transaction, read_source
from tippers_dagster.campus.source.schema import SESSIONS, source_tables
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings


@pytest.fixture
def folder(shared_data: Path) -> Path:
    return shared_data / "smartspec"


def _plain_sessions(folder: Path, gap: int) -> pd.DataFrame:
    """The sessions, computed the simple way: one observation after another."""
    seen = pd.read_csv(folder / "wifi_observations.csv")
    seen["at"] = pd.to_datetime(seen.DateTime)
    seen["name"] = seen.WiFiAP.astype(str)
    seen = seen[seen["at"].dt.year == 2020].drop_duplicates()
    seen = seen.sort_values(["PersonID", "at", "name"])
    rows: list[list] = []
    limit = pd.Timedelta(seconds=gap)
    last = None
    for person, at, ap in zip(seen.PersonID, seen["at"], seen.WiFiAP, strict=True):
        near = last is not None and person == last[0] and at - last[1] <= limit
        if near:
            rows[-1][3] = at
        if not (near and ap == last[2]):
            rows.append([person, ap, at, at])
        last = (person, at, ap)
    return pd.DataFrame(rows, columns=["person", "ap", "start", "end"])


def test_the_published_week(stack: Settings, folder: Path) -> None:
    report = ingest_smartspec(stack, folder)
    assert report.rows == 138_621
    assert list(report.rejected.values()) == [6]
    (reason,) = report.rejected
    assert reason.startswith("DateTime is outside the plausible range 2019-07-")

    rejects = read_source(
        stack, "SELECT row_number, row->>'DateTime' AS t FROM tippers.reject ORDER BY 1"
    ).to_pydict()
    lines = (folder / "wifi_observations.csv").read_text().splitlines()
    assert [lines[n].split(",")[1] for n in rejects["row_number"]] == rejects["t"]
    assert sorted(int(t[:4]) for t in rejects["t"]) == [1963, 1969, 1998, 2007, 2027, 2031]

    found = read_source(
        stack, "SELECT * FROM source.user_ap_trajectory ORDER BY mac_address, start_time, sensor_id"
    ).to_pandas()
    expected = _plain_sessions(folder, stack.observation_gap_seconds)
    assert report.loaded == len(found) == len(expected)
    expected["mac_address"] = expected.person.map(pseudo_mac)
    expected["sensor_id"] = expected.ap.astype(str)
    expected = expected.sort_values(["mac_address", "start", "sensor_id"])
    assert found.mac_address.tolist() == expected.mac_address.tolist()
    assert found.sensor_id.tolist() == expected.sensor_id.tolist()
    assert found.start_time.tolist() == expected.start.tolist()
    assert found.end_time.tolist() == expected.end.tolist()
    assert (found.space_id == "dbh-ap-" + found.sensor_id).all()
    assert ingest_smartspec(stack, folder).already


def test_places_and_people(stack: Settings, folder: Path) -> None:
    ingest_smartspec(stack, folder)
    tree = load_tree(stack)
    assert tree.roots == ["uci"]
    assert tree.children("dbh") == ["dbh-floor-1", "dbh-floor-2"]
    assert len(tree.children("dbh-floor-1")) == 8
    assert len(tree.children("dbh-floor-2")) == 7
    regions = read_source(
        stack,
        "SELECT region_id, space_name FROM source.region_to_coverage WHERE sensor = '3' "
        "ORDER BY intersection_percentage DESC, region_id",
    ).to_pydict()
    assert regions["region_id"][0] == "dbh-ap-3"
    assert regions["space_name"][1:] == [
        "hallway-elevator2a", "main-lobby2", "hallway-kitchen2", "hallway-2011",
    ]  # fmt: skip
    types = read_source(
        stack,
        "SELECT person_type, count(*) AS n FROM source.truth_person "
        "JOIN source.truth_device USING (person_id) GROUP BY 1",
    ).to_pydict()
    assert dict(zip(types["person_type"], types["n"], strict=True))["professor"] == 16
    assert sum(types["n"]) == 1_000


def _break(folder: Path, name: str, content: str | None) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("People.json", None, "There is no file .*People.json"),
        ("Spaces.json", "{", "Spaces.json is not JSON"),
        ("Spaces.json", "{}", "Spaces.json is not a list"),
        ("Sensors.json", '[{"id": 1}]', "Sensors.json, object 1 has no description"),
        ("People.json", '[{"id": 1, "description": "phd"}]', "not in People.json: "),
        ("People.json", "[" * 100_000, "People.json is not JSON"),
        ("People.json", '[{"id": ' + "9" * 5000 + "}]", "People.json is not JSON"),
        ("People.json", '[{"id": 1e3, "description": "a"}]', "id 1000.0 is not a whole number"),
        ("People.json", '[{"id": 1, "description": "a\\u0000"}]', "description 'a.x00' is not"),
        (
            "Spaces.json",
            '[{"id": 1, "description": "a", "coordinates": [1, 2, "x"]}]',
            "is not three numbers",
        ),
        (
            "Sensors.json",
            '[{"id": 1, "description": "a", "coordinates": [1, 2, 3], "metasensor-id": 1, '
            '"coverage": [[1]]}]',
            "is not a list of whole numbers",
        ),
        ("wifi_observations.csv", "PersonID,DateTime\n1,2020-01-06\n", "has no column WiFiAP"),
    ],
)
def test_broken_scenarios_change_nothing(
    stack: Settings, folder: Path, tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    copy = tmp_path / "scenario"
    copy.mkdir()
    for path in folder.iterdir():
        shutil.copyfile(path, copy / path.name)
    _break(copy, name, content)
    with pytest.raises(BadInput, match=message):
        ingest_smartspec(stack, copy)
    assert read_source(stack, "SELECT to_regclass('source.space')::text AS t").num_rows == 1
    assert (
        read_source(stack, "SELECT count(*) FROM tippers.ingested_file").column(0)[0].as_py() == 0
    )


def test_a_small_scenario(stack: Settings, tmp_path: Path) -> None:
    place = {"description": "lobby (WiFi AP)", "coordinates": [0, 0, 3]}
    sensor = {"id": 1, "metasensor-id": 1, "coverage": [9, 10], **place}
    (tmp_path / "Spaces.json").write_text(json.dumps([{"id": 9, **place}]))
    (tmp_path / "Sensors.json").write_text(json.dumps([sensor]))
    (tmp_path / "People.json").write_text(json.dumps([{"id": 1, "description": "phd"}]))
    lines = ["PersonID,DateTime,WiFiAP", "1,2020-01-06 10:00:00,1", "1,2020-01-06 10:00:00,2"]
    (tmp_path / "wifi_observations.csv").write_text("\n".join(lines))
    report = ingest_smartspec(stack, tmp_path)
    assert dict(report.rejected) == {"access point 2 covers no space": 1}
    assert report.details["covered rooms missing in Spaces.json"] == "10"
    assert load_tree(stack).subtree("dbh") == ["dbh", "dbh-floor-1", "dbh-ap-1"]


def test_a_scenario_is_undone_completely(stack: Settings, folder: Path) -> None:
    report = ingest_smartspec(stack, folder)
    undone = undo_ingests(stack, [report.ingest_id or 0])
    assert undone.changed[SESSIONS] == report.loaded
    # Sessions of Friday evening could complete open ones that reach Saturday.
    assert [day.isoweekday() for day in sorted(undone.dates)] == [1, 2, 3, 4, 5, 6]
    with load_transaction(stack) as load:
        assert all(load.is_empty(table) for table in source_tables(stack).values())
    again = ingest_again(stack, report.ingest_id or 0, Changes(gap_seconds=600))
    assert again.loaded > report.loaded
