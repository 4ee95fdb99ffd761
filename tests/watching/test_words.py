"""Times and sizes in a few characters."""

from __future__ import annotations

import pytest

from tippers_dagster.watching.words import lasting, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (5399, "90 min"),
        (5400, "2 h"),
        (172_800, "2 days"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert lasting(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (45e6, "45 MB"),
        (1.25e9, "1.2 GB"),
        (7e16, "70000.0 TB"),
    ],
)
def test_sizes(number: float, text: str) -> None:
    assert size(number) == text
