"""Periods of the academic calendar, and what is wrong with them. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from tippers_dagster.errors import BadInput

LONGEST_NAME = 100
LONGEST_DAYS = 366
EARLIEST, LATEST = dt.date(1970, 1, 1), dt.date(2200, 1, 1)
_DAY = dt.timedelta(days=1)


class PeriodKind(StrEnum):
    """What a period is."""

    QUARTER = "quarter"
    """A term: classes are held, except in breaks and on holidays."""
    BREAK = "break"
    FINALS = "finals"
    HOLIDAY = "holiday"
    EVENT = "event"
    """Something that draws people, on the whole campus or in one place."""


_ONE_AT_A_TIME = (PeriodKind.QUARTER, PeriodKind.BREAK, PeriodKind.FINALS)


@dataclass(frozen=True, order=True)
class Period:
    """Local days [start, end) that are something, and where.

    Parameters
    ----------
    start, end
        The first day, and the day after the last.
    kind, name
        What it is, and what people call it.
    space
        Id of the space where an event takes place; empty: the whole campus.
    """

    start: dt.date
    end: dt.date
    kind: PeriodKind
    name: str
    space: str = ""

    @property
    def last_day(self) -> dt.date:
        """The last day of it, which is in it."""
        return self.end - _DAY

    @property
    def days(self) -> int:
        """How many days it has."""
        return (self.end - self.start).days

    @property
    def identity(self) -> tuple[str, str, dt.date, str]:
        """What two periods may not have in common."""
        return self.kind.value, self.name, self.start, self.space

    def overlaps(self, other: Period) -> bool:
        """Whether a day is in both."""
        return self.start < other.end and other.start < self.end

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name!r} ({self.start} to {self.last_day})"


def period(kind: str, name: str, first_day: dt.date, last_day: dt.date, space: str = "") -> Period:
    """A checked period, as people write it: ``last_day`` is in it.

    Raises
    ------
    BadInput
        When it cannot be one.
    """
    if kind not in list(PeriodKind):
        raise BadInput(
            f"{kind!r:.60} is not a kind of period.", f"Use one of {', '.join(PeriodKind)}."
        )
    if last_day < first_day:
        raise BadInput(
            f"{kind} {name.strip()!r:.60} ends on {last_day}, before it begins on {first_day}.",
            "The last day is a day of the period: equal dates are a period of one day.",
        )
    if last_day >= LATEST:
        raise BadInput(f"{kind} {name.strip()!r:.60} ends on {last_day}.", f"Stay before {LATEST}.")
    made = Period(first_day, last_day + _DAY, PeriodKind(kind), name.strip(), space.strip())
    check_period(made)
    return made


def check_period(made: Period) -> None:
    """Refuse a period that is wrong by itself.

    Raises
    ------
    BadInput
        An empty or long name, no day, more than a year, a date that cannot be meant, or a space
        for what concerns everybody.
    """
    if not made.name or len(made.name) > LONGEST_NAME or not made.name.isprintable():
        raise BadInput(
            f"{made.name[:LONGEST_NAME]!r} is not a name for a period.",
            f"Write one line of up to {LONGEST_NAME} characters.",
        )
    if not made.start < made.end:
        raise BadInput(
            f"{made.kind} {made.name!r} begins on {made.start} and ends before {made.end}: "
            "it holds no day."
        )
    if made.start < EARLIEST or made.end > LATEST:
        raise BadInput(f"{made} is out of range.", f"Take days from {EARLIEST} to {LATEST}.")
    if made.days > LONGEST_DAYS:
        raise BadInput(
            f"{made} has {made.days} days.",
            f"A period has up to {LONGEST_DAYS}; is the year of one of the dates right?",
        )
    if made.space and made.kind != PeriodKind.EVENT:
        raise BadInput(
            f"{made} names the space {made.space!r:.60}.",
            "Only events take place somewhere; everything else holds for the whole campus.",
        )


def check_together(periods: Iterable[Period]) -> None:
    """Refuse a calendar that contradicts itself.

    Raises
    ------
    BadInput
        The same period twice; or two quarters, two breaks or two finals that share a day.
    """
    last: dict[PeriodKind, Period] = {}
    seen: dict[tuple[str, str, dt.date, str], Period] = {}
    for now in sorted(periods):
        if now.identity in seen:
            raise BadInput(
                f"{now} is there twice.", "Give it another name or another first day, or once."
            )
        seen[now.identity] = now
        if now.kind not in _ONE_AT_A_TIME:
            continue
        before = last.get(now.kind)
        if before is not None and now.overlaps(before):
            raise BadInput(
                f"{before} and {now} overlap.",
                f"A day is in one {now.kind.value} at most: change their first or last days.",
            )
        last[now.kind] = now
