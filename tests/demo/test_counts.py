"""The demo's recount of people and other devices, against rows by hand and what is published."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.occupancy.campus import Seen, change, compute_all, fill
from tippers_dagster.campus.local_time import chunk_bounds
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.demo.counts import WrongCounts, check_equal, lake_counts, recount
from tippers_dagster.occupancy.persons import CONNECTIONS, OTHERS, PEOPLE
from tippers_dagster.settings import Settings
from tippers_dagster.simulation import CampusOptions, simulate_campus, write_campus

pytestmark = pytest.mark.slow

WEEK = "2025-03-03"
"""The clocks change on its Sunday."""
WIDTHS = (900, 3600)


def check_week(settings: Settings) -> int:
    tree = load_tree(settings)
    first, after = chunk_bounds(WEEK, "week")
    expected = recount(settings, tree, first, (after - first).days, WIDTHS)
    found = lake_counts(settings, tree.ids, [WEEK], WIDTHS)
    return check_equal(found, expected, tree, "recount")


def test_published_people_and_other_devices_equal_the_recount(stack: Settings) -> None:
    options = CampusOptions(people=60, buildings=1, days=5, start=dt.date(2025, 3, 6))
    write_campus(stack, simulate_campus(options))
    (root,) = load_tree(stack).roots
    track(stack, space=root, start=options.start, end=dt.date(2025, 3, 11))
    compute_all(stack)
    assert check_week(stack) > 1000
    rows = lake_counts(stack, [root], [WEEK], WIDTHS).to_pandas()
    assert (rows[PEOPLE] + rows[OTHERS] != rows[CONNECTIONS]).any()
    hidden = (
        "UPDATE source.user_ap_trajectory SET person = NULL WHERE person = "
        "(SELECT max(person) FROM source.user_ap_trajectory)"
    )
    assert change(stack, hidden) > 0
    with pytest.raises(WrongCounts, match=r"\d+ people, \d+ other devices; recount: \d+ devices"):
        check_week(stack)


def test_a_session_counts_once_and_a_device_is_known_while_one_of_its_sessions_is(
    stack: Settings,
) -> None:
    day, phone, laptop = dt.date(2025, 3, 4), "00:00:00:00:00:01", "00:00:00:00:00:02"

    def at(hour: int, minute: int = 0) -> dt.datetime:
        return dt.datetime.combine(day, dt.time()) + dt.timedelta(hours=hour, minutes=minute)

    # Its open row alone would reach into the day.
    yesterday = at(-4)
    log = [
        Seen(phone, "r1", yesterday, None, 7),
        Seen(phone, "r1", yesterday, at(-3), 7),
        Seen(phone, "r1", at(9), None, 7),
        Seen(phone, "r1", at(9), at(9, 30), None),
        Seen(phone, "r2", at(9, 30), at(10, 30), None),
        Seen(laptop, "r2", at(9), at(11), 7),
        Seen(laptop, "r2", at(9), at(11), 7),
        Seen(laptop, "nowhere", at(20), at(21), 7),
    ]
    fill(stack, {"hall": None, "r1": "hall", "r2": "hall"}, log)
    rows = recount(stack, load_tree(stack), day, 1, (3600,)).to_pylist()
    midnight = int(dt.datetime(2025, 3, 4, 8, tzinfo=dt.UTC).timestamp())
    found = {
        (row["space_id"], (row["begin"] - midnight) / 3600): tuple(
            row[name] for name in (CONNECTIONS, PEOPLE, OTHERS)
        )
        for row in rows
    }
    assert found == {
        ("r1", 9): (1, 1, 0),
        ("r2", 9): (2, 1, 1),
        ("hall", 9): (2, 1, 0),
        ("r2", 10): (2, 1, 1),
        ("hall", 10): (2, 1, 1),
    }
