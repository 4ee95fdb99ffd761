"""From counts in UTC to days by wall-clock time."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from tests.forecasting.small import BODY, MONDAY, PARENTS, World
from tests.occupancy.campus import change, compute_all, look_again
from tippers_dagster.campus.local_time import LocalClock
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.catalog.kinds import Forecaster
from tippers_dagster.errors import BadInput
from tippers_dagster.forecasting.series import (
    bin_begins,
    chosen_spaces,
    history_days,
    load_history,
    places,
    regular,
)
from tippers_dagster.occupancy.reading import SpaceCounts

CLOCK = LocalClock("America/Los_Angeles")
ONE_DAY = dt.timedelta(days=1)


def counts_of(first: dt.date, days: int, width: int) -> tuple[SpaceCounts, np.ndarray]:
    edges = CLOCK.bin_edges(first, first + days * ONE_DAY, width)
    counts = np.arange(1, len(edges), dtype=np.int32)[None]
    known, nobody = np.ones_like(counts, bool), np.zeros_like(counts)
    return SpaceCounts(["1"], edges, counts, nobody, known, [[]]), counts[0]


def test_a_plain_day_is_its_bins_in_order() -> None:
    found, counts = counts_of(MONDAY, 2, 3600)
    values = regular(found, CLOCK, MONDAY, 2, 3600)
    np.testing.assert_array_equal(values[0].reshape(-1), counts)


def test_a_skipped_hour_is_unknown_and_a_repeated_one_has_its_larger_count() -> None:
    spring = dt.date(2025, 3, 9)
    found, counts = counts_of(spring, 1, 3600)
    values = regular(found, CLOCK, spring, 1, 3600)[0, 0]
    assert len(counts) == 23
    assert np.isnan(values[2])
    assert values[3] == counts[2]
    autumn = dt.date(2025, 11, 2)
    found, counts = counts_of(autumn, 1, 3600)
    values = regular(found, CLOCK, autumn, 1, 3600)[0, 0]
    assert len(counts) == 25
    assert values[1] == counts[2]
    assert values[23] == counts[24]
    begins = bin_begins(CLOCK, autumn, 1, 3600)
    day, slot = places(CLOCK, begins, autumn, 3600)
    assert (day == 0).all()
    assert slot.tolist() == [0, 1, 1, *range(2, 24)]


@pytest.mark.parametrize("width", [900, 7200, 28800, 86400])
def test_every_bin_has_a_place_at_any_width(width: int) -> None:
    first = dt.date(2025, 3, 7)
    found, _ = counts_of(first, 5, width)
    day, slot = places(CLOCK, found.edges[:-1], first, width)
    assert set(day.tolist()) == set(range(5))
    assert slot.max() < 86400 // width
    known = np.isfinite(regular(found, CLOCK, first, 5, width))
    assert known.sum() == len(np.unique(day * 1000 + slot))


def test_uncomputed_bins_are_unknown() -> None:
    found, _ = counts_of(MONDAY, 2, 3600)
    found.computed[0, 24:] = False
    values = regular(found, CLOCK, MONDAY, 2, 3600)
    assert np.isfinite(values[0, 0]).all()
    assert np.isnan(values[0, 1]).all()


def test_the_spaces_of_a_forecaster(world: World) -> None:
    tree = load_tree(world.settings)
    tracked = np.array([space != "r3" for space in tree.ids])

    def chosen(**body: object) -> list[str]:
        return chosen_spaces(tree, tracked, Forecaster(**body))

    assert chosen() == ["campus", "hall"]
    assert chosen(below=True) == [space for space in tree.ids if space != "r3"]
    assert chosen(spaces=("r2", "r1")) == ["r1", "r2"]
    assert chosen(spaces=("hall",), below=True) == ["hall", "r1", "r2"]
    with pytest.raises(BadInput, match="'r3' is not tracked"):
        chosen(spaces=("r3",))
    assert set(PARENTS) == set(tree.ids)


def test_the_history_ends_with_the_last_complete_day(world: World) -> None:
    settings = world.settings
    end = MONDAY + dt.timedelta(weeks=5)
    assert history_days(settings, BODY) == (MONDAY, end)
    few = BODY.model_copy(update={"history_days": 21})
    assert history_days(settings, few) == (end - 21 * ONE_DAY, end)
    history = load_history(settings, BODY)
    assert history.panel.spaces == ("hall", "r1", "r2", "r3")
    assert history.panel.origin == end
    assert history.without == ()
    assert history.panel.values[1, 0, 8:10].tolist() == [1, 6]
    # The last day ends at noon: it is incomplete, so it is not learned from.
    noon = dt.datetime.combine(end - ONE_DAY, dt.time(12))
    change(
        settings,
        "UPDATE source.user_ap_trajectory SET end_time = %s WHERE end_time > %s",
        noon,
        noon,
    )
    look_again(settings)
    compute_all(settings)
    assert history_days(settings, BODY) == (MONDAY, end - ONE_DAY)


def test_people_are_those_known_and_the_devices_of_others(world: World) -> None:
    settings = world.settings
    before = load_history(settings, BODY).panel.values
    people = BODY.model_copy(update={"counts": "people"})
    np.testing.assert_array_equal(load_history(settings, people).panel.values, before)
    # Everybody in the first room is one person.
    change(settings, "UPDATE source.user_ap_trajectory SET person = 5 WHERE space_id = 'r1'")
    look_again(settings)
    compute_all(settings)
    history = load_history(settings, people).panel
    first, others = (history.spaces.index(space) for space in ("r1", "r2"))
    np.testing.assert_array_equal(history.values[first], np.minimum(before[first], 1))
    np.testing.assert_array_equal(history.values[others], before[others])
    np.testing.assert_array_equal(load_history(settings, BODY).panel.values, before)
