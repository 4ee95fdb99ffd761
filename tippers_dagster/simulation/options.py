"""The options of a simulated campus."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from tippers_dagster.errors import BadInput

DEFAULT_START = dt.date(2025, 1, 20)
"""A Monday; the eight weeks from it include the spring clock change (2025-03-09 in the USA)."""


@dataclass(frozen=True)
class CampusOptions:
    """Size, days and seed. The same options give the same rows.

    Parameters
    ----------
    buildings, people, days
        Their numbers; ``days`` are local calendar days from ``start``.
    start
        First local day.
    seed
        Seed of all random draws.
    timezone
        IANA name; all times in the session table are local times of this zone.
    open_session_seconds
        How long a session without an end counts as present in the true device counts.
    logins
        Share of people whose devices log in to the network with a user name.

    Raises
    ------
    BadInput
        Naming the option that is out of range.
    """

    buildings: int = 3
    people: int = 2000
    days: int = 56
    start: dt.date = DEFAULT_START
    seed: int = 1
    timezone: str = "America/Los_Angeles"
    open_session_seconds: int = 12 * 3600
    logins: float = 0.75

    def __post_init__(self) -> None:
        _within("buildings", self.buildings, 1, 200)
        _within("people", self.people, 20, 1_000_000)
        _within("days", self.days, 1, 3660)
        _within("seed", self.seed, 0, 2**63 - 1)
        _within("start: year", self.start.year, 1990, 2100)
        _within("logins", self.logins, 0, 1)
        if self.people < 10 * self.buildings:
            raise BadInput(
                f"--people {self.people} is too few for --buildings {self.buildings}.",
                "Use at least 10 people per building.",
            )


def _within(name: str, value: float, low: int, high: int) -> None:
    if not low <= value <= high:
        raise BadInput(f"--{name} is {value}.", f"It must be from {low} to {high}.")
