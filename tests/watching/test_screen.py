"""A reading as a screen."""

from __future__ import annotations

from tests.watching.readings import definitions, nothing_read, occupancy, queue, reading
from tippers_dagster.occupancy.status import LevelStatus
from tippers_dagster.settings import Settings
from tippers_dagster.watching.concerns import Concern, concerns
from tippers_dagster.watching.figures import Occupancy, Reading
from tippers_dagster.watching.screen import screen

SETTINGS = Settings()


def shown(of: Reading, width: int = 80, height: int | None = 23) -> list[str]:
    lines = screen(of, concerns(of, SETTINGS), SETTINGS, width, height)
    return [text for text, _ in lines]


def test_a_deployment_in_which_all_is_well_fits_on_a_terminal() -> None:
    lines = shown(reading())
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    assert lines[0].endswith("Wed 4 Mar 2026 09:30"), "in the deployment's zone"
    assert "services    up: code server, daemon, web server, app" in lines
    assert "counts      newest computed 12 s ago, source checked 5 s ago" in lines
    (row,) = [line.split() for line in lines if line.startswith("source_occupancy")]
    assert row == ["source_occupancy", "104,000", "104,000", "0", "0", "0"]
    assert "runs        2 running (1 of occupancy); failed: 0 in an hour, 2 in a day" in lines
    assert "storage     databases 4.3 GB; lake 5.4 GB in 104 files; disk 85.9 GB free" in lines
    assert "retention   last done 2 h ago; 12 sealed chunks, 3 late rows not counted" in lines
    assert lines[-1] == "All is well."


def test_it_fits_however_much_is_wrong() -> None:
    busy = reading(
        services=dict.fromkeys("abcdefg", "It does not answer, for a reason that is long."),
        occupancy=occupancy(stale=100_000, failed=3),
        definitions=definitions(1, stale=3, failed=12),
        queue=queue(queued=1234, oldest_wait=90_000, failed_hour=10_000),
    )
    for height in (23, 24, 40):
        lines = shown(busy, height=height)
        assert len(lines) <= height
        assert max(map(len, lines)) <= 80
    assert any(line.startswith("  ... and ") for line in shown(busy))
    whole = shown(busy, width=200, height=None)
    assert not any(line.startswith("  ... and ") for line in whole)
    assert "queue       1,234 runs waiting, the first for 25 h" in whole
    assert "            down: a, b, c, d, e, f, g" in whole


def test_what_fits_is_wrapped_and_not_cut() -> None:
    long = Concern("word " * 25, "fix " * 10)
    lines = [text for text, _ in screen(reading(), [long], SETTINGS, 80, 23)]
    assert sum(line.count("word") for line in lines) == 25


def test_an_empty_home_and_one_without_a_database() -> None:
    zero = LevelStatus("sessions", 0, 0, 0, 0, 0, [])
    lines = shown(reading(services={}, occupancy=Occupancy((zero,)), definitions=definitions()))
    assert "counts      nothing is tracked; `tippers track` chooses spaces and dates" in lines
    assert "definitions none" in lines
    assert "services    the stack is not running; `tippers up` starts it" in lines
    lines = shown(nothing_read(), height=None)
    assert "counts      not known" in lines
    assert "- No figures of occupancy: connection refused" in lines
