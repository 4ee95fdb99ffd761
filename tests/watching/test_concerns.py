"""What needs attention."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.watching.readings import (
    NEWEST,
    database,
    definitions,
    nothing_read,
    occupancy,
    queue,
    reading,
)
from tippers_dagster.settings import Settings
from tippers_dagster.watching.concerns import concerns
from tippers_dagster.watching.figures import Disk, Problem, Retention

SETTINGS = Settings()


def whats(**changes: Any) -> list[str]:
    return [concern.what for concern in concerns(reading(**changes), SETTINGS)]


def test_nothing_if_all_is_well() -> None:
    assert whats() == []
    assert whats(definitions=definitions(fresh=3, waiting=2, running=1)) == []
    assert whats(occupancy=occupancy(stale=5)) == [], "it is being computed"
    assert whats(services={}) == [], "no stack, but nothing to compute either"


def test_failed_partitions_with_their_reason() -> None:
    failed = reading(occupancy=occupancy(failed=1200))
    (found,) = concerns(failed, SETTINGS, "source_occupancy: The disk is broken.\nmore")
    assert found.what == (
        "source_occupancy: 1,200 failed partitions (12|2026-03-02): source_occupancy: The disk is "
        "broken."
    )
    assert "`tippers occupancy retry`" in found.fix


def test_late_counts_only_where_they_should_be_new() -> None:
    late = replace(NEWEST, counts_age=7000.0, unfinished=4, behind=700.0)
    assert whats(occupancy=occupancy(late)) == [
        "The counts of now are late: 4 partitions out of date for 12 min."
    ]
    assert whats(occupancy=occupancy(replace(late, live=False))) == []
    assert whats(occupancy=occupancy(replace(late, behind=3.0))) == [], "after a quiet night"
    (found,) = whats(occupancy=occupancy(replace(NEWEST, observed_age=1800.0)))
    assert found == "The source was last checked for new rows 30 min ago."


def test_a_stack_that_is_down_while_there_is_work() -> None:
    (found,) = whats(services={}, occupancy=occupancy(stale=1), definitions=definitions(2, stale=5))
    assert found == (
        "Nothing is computed, as the stack is not running: 1 stale partition, 2 stale definitions."
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"services": {"app": "It does not answer."}},
            "The app does not work. It does not answer.",
        ),
        (
            {
                "definitions": definitions(
                    0, Problem("a.b", "failed", "No.\nx"), Problem("c", "broken", "")
                )
            },
            "failed: a.b and 1 more: No.",
        ),
        ({"queue": queue(queued=1, oldest_wait=4000)}, "A run has waited for a slot for 67 min."),
        ({"queue": queue(failed_hour=5)}, "5 runs failed in the last hour."),
        ({"queue": queue(ticks={"a": 1.0, "b": 3600.0})}, "The sensor b last ticked 60 min ago."),
        ({"database": database(longest_wait=7200)}, "Something has waited for a lock for 2 h."),
        ({"database": database(connections=180)}, "The database has 180 of 200 connections."),
        ({"disk": Disk(10**9, 10**12)}, "The disk of the home has 1.0 GB free."),
        (
            {"occupancy": occupancy(replace(NEWEST, rejected_share=0.5))},
            "50% of the newest rows of the source were rejected.",
        ),
        (
            {"retention": Retention(True, 60.0, 2, 1, 0)},
            "The presence of 2 old chunks could not be deleted.",
        ),
        (
            {"retention": Retention(True, 200_000.0, 0, 1, 0)},
            "Old presence was last deleted 2 days ago.",
        ),
    ],
)
def test_each_of_the_others(changes: dict[str, Any], text: str) -> None:
    assert whats(**changes) == [text]


def test_figures_that_could_not_be_read() -> None:
    found = concerns(nothing_read(), SETTINGS)
    assert found[0].what == "No figures of occupancy: connection refused"
    assert all("`tippers doctor`" in concern.fix for concern in found)
