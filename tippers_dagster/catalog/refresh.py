"""When changed data is computed: the refresh policy of a concept, as people write it.

A policy is one line, the same in YAML, in the app and in ``TIPPERS_REFRESH_DEFAULT``::

    on change
    every 2 hours
    cron 0 4 * * mon-fri
    by hand
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tippers_dagster.errors import BadInput

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
"""Seconds of each unit of an interval."""

MAX_INTERVAL_SECONDS = 366 * UNITS["day"]

FORMS = "on change, every 2 hours, cron 0 4 * * *, by hand"
"""An example of each form."""

_EVERY = re.compile(r"every (?:(\d{1,9}) )?(second|minute|hour|day)s?")
_NAMES = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat"
_FIELD = rf"(?:[\d*/,#-]|l|{_NAMES})+"  # croniter's random fields (r, h) differ in each process
_CRON = re.compile(rf"cron ({_FIELD}(?: {_FIELD}){{4}})")


@dataclass(frozen=True)
class Refresh:
    """When assets are computed after their data changed.

    Set at most one attribute.

    Attributes
    ----------
    seconds
        At most once in each slot of this length; the first slot begins at a local midnight.
    cron
        At these local times: minute, hour, day of the month, month, day of the week.
    by_hand
        Only in runs that a person starts. A changed definition then waits, too.
    """

    seconds: int | None = None
    cron: str | None = None
    by_hand: bool = False

    @property
    def on_change(self) -> bool:
        """Whether nothing waits."""
        return self.seconds is None and self.cron is None and not self.by_hand

    def __str__(self) -> str:
        if self.by_hand:
            return "by hand"
        if self.cron is not None:
            return f"cron {self.cron}"
        if self.seconds is None:
            return "on change"
        number, unit = in_units(self.seconds)
        return f"every {unit}" if number == 1 else f"every {number} {unit}s"


ON_CHANGE = Refresh()
BY_HAND = Refresh(by_hand=True)


def in_units(seconds: int) -> tuple[int, str]:
    """An interval as a number of its largest whole unit."""
    unit = max((u for u in UNITS if seconds % UNITS[u] == 0), key=lambda u: UNITS[u])
    return seconds // UNITS[unit], unit


def parse_refresh(text: str) -> Refresh:
    """A policy from its text; upper and lower case and further spaces make no difference.

    Whether a cron expression has a meaning is checked by :func:`check_cron`.

    Raises
    ------
    BadInput
        When the text has none of the forms.
    """
    line = " ".join(text.lower().split())
    if line == "on change":
        return ON_CHANGE
    if line == "by hand":
        return BY_HAND
    if found := _EVERY.fullmatch(line):
        seconds = int(found[1] or 1) * UNITS[found[2]]
        if not 1 <= seconds <= MAX_INTERVAL_SECONDS:
            raise BadInput(
                f"A refresh interval is between a second and 366 days, not {text!r:.60}."
            )
        return Refresh(seconds=seconds)
    if found := _CRON.fullmatch(line):
        return Refresh(cron=found[1])
    if line.startswith("cron"):
        raise BadInput(
            f"{text!r:.60} needs five fields: minute, hour, day of the month, month, day of the "
            "week. Example: cron 0 4 * * *"
        )
    raise BadInput(f"{text!r:.60} is not a refresh policy. Examples: {FORMS}.")


def check_cron(refresh: Refresh) -> None:
    """Refuse a cron expression that is not valid, or names no day that exists.

    Raises
    ------
    BadInput
        With the expression.
    """
    if refresh.cron is None:
        return
    from tippers_dagster.platform.dagster.internals import valid_cron

    if not valid_cron(refresh.cron):
        raise BadInput(
            f"{refresh.cron!r} is not a cron schedule, or its time never comes. Fields: minute "
            "(0-59), hour (0-23), day of the month (1-31), month (1-12), day of the week (0-6 or "
            "sun-sat)."
        )
