"""Periods of the academic calendar, and checks of them. Pure functions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from tippers_dagster.errors import BadInput

MAX_NAME_LENGTH = 100
MAX_DAYS = 366
EARLIEST, LATEST = dt.date(1970, 1, 1), dt.date(2200, 1, 1)
_DAY = dt.timedelta(days=1)


class PeriodKind(StrEnum):
    """The kind of a period."""

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
    """A period of local days [start, end) of a kind.

    Parameters
    ----------
    start, end
        The first day, and the day after the last one.
    kind, name
        Its kind, and its name.
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
        """The last day, which is part of the period."""
        return self.end - _DAY

    @property
    def days(self) -> int:
        """Number of days."""
        return (self.end - self.start).days

    @property
    def identity(self) -> tuple[str, str, dt.date, str]:
        """The values that must be unique together."""
        return self.kind.value, self.name, self.start, self.space

    def overlaps(self, other: Period) -> bool:
        """Whether any day is in both periods."""
        return self.start < other.end and other.start < self.end

    def __str__(self) -> str:
        return f"{self.kind.value} {self.name!r} ({self.start} to {self.last_day})"


def period(kind: str, name: str, first_day: dt.date, last_day: dt.date, space: str = "") -> Period:
    """A checked period from values as people write them: ``last_day`` is included.

    Raises
    ------
    BadInput
        When the values are invalid.
    """
    if kind not in list(PeriodKind):
        raise BadInput(
            f"{kind!r:.60} is not a kind of period.", f"Use one of {', '.join(PeriodKind)}."
        )
    if last_day < first_day:
        raise BadInput(
            f"{kind} {name.strip()!r:.60} ends on {last_day}, before it begins on {first_day}.",
            "The last day is included: equal dates are a period of one day.",
        )
    if last_day >= LATEST:
        raise BadInput(
            f"{kind} {name.strip()!r:.60} ends on {last_day}.",
            f"The last day must be before {LATEST}.",
        )
    candidate = Period(first_day, last_day + _DAY, PeriodKind(kind), name.strip(), space.strip())
    check_period(candidate)
    return candidate


def check_period(candidate: Period) -> None:
    """Refuse an invalid period.

    Raises
    ------
    BadInput
        When the name is empty or too long, it has no day or more than a year, a date is
        implausible, or it names a space but is not an event.
    """
    if (
        not candidate.name
        or len(candidate.name) > MAX_NAME_LENGTH
        or not candidate.name.isprintable()
    ):
        raise BadInput(
            f"{candidate.name[:MAX_NAME_LENGTH]!r} is not a valid name of a period.",
            f"A name is one line of up to {MAX_NAME_LENGTH} characters.",
        )
    if not candidate.start < candidate.end:
        raise BadInput(
            f"{candidate.kind} {candidate.name!r} begins on {candidate.start} and ends before "
            f"{candidate.end}: it contains no day."
        )
    if candidate.start < EARLIEST or candidate.end > LATEST:
        raise BadInput(f"{candidate} is out of range.", f"Dates are from {EARLIEST} to {LATEST}.")
    if candidate.days > MAX_DAYS:
        raise BadInput(
            f"{candidate} has {candidate.days} days.",
            f"A period has up to {MAX_DAYS} days; is the year of one of the dates wrong?",
        )
    if candidate.space and candidate.kind != PeriodKind.EVENT:
        raise BadInput(
            f"{candidate} names the space {candidate.space!r:.60}.",
            "Only events can have a space; other periods apply to the whole campus.",
        )


def check_together(periods: Iterable[Period]) -> None:
    """Refuse a calendar that contradicts itself.

    Raises
    ------
    BadInput
        When a period occurs twice, or two quarters, two breaks or two finals overlap.
    """
    last: dict[PeriodKind, Period] = {}
    seen: dict[tuple[str, str, dt.date, str], Period] = {}
    for now in sorted(periods):
        if now.identity in seen:
            raise BadInput(f"{now} occurs twice.", "Remove one, or change its name or first day.")
        seen[now.identity] = now
        if now.kind not in _ONE_AT_A_TIME:
            continue
        before = last.get(now.kind)
        if before is not None and now.overlaps(before):
            raise BadInput(
                f"{before} and {now} overlap.",
                f"A day can be in only one {now.kind.value}: change their first or last days.",
            )
        last[now.kind] = now
