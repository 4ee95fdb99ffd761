"""What the page of the academic calendar does: changes, files, public holidays, a year of days."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from streamlit_app.services.app import App
from tippers_dagster.access.model import Role
from tippers_dagster.calendar import files, store
from tippers_dagster.calendar.periods import Period, PeriodKind, period
from tippers_dagster.calendar.public import countries, public_holidays
from tippers_dagster.calendar.store import CalendarConflict, Change, Clash, Kept, Outcome
from tippers_dagster.errors import BadInput

__all__ = ["CalendarConflict", "Clash", "Kept", "Outcome", "PeriodKind", "countries"]


def may_write(app: App) -> bool:
    """Whether the person may change the calendar."""
    return app.person.may(Role.ANALYST)


def periods(app: App) -> list[Kept]:
    """All periods, in order of their first days."""
    return store.list_periods(app.settings)


# --- one period ----------------------------------------------------------------------------------
@dataclass
class Draft:
    """A period while somebody writes it, as people say it: ``last_day`` is a day of it.

    ``seen`` is what it was when it was opened; none for a new one.
    """

    kind: str = PeriodKind.HOLIDAY.value
    name: str = ""
    first_day: dt.date | None = None
    last_day: dt.date | None = None
    space: str = ""
    seen: Kept | None = None

    @classmethod
    def of(cls, kept: Kept) -> Draft:
        """A period that is there."""
        p = kept.period
        return cls(p.kind.value, p.name, p.start, p.last_day, p.space, kept)

    @property
    def dirty(self) -> bool:
        """Whether it says something else than what was opened."""
        before = Draft.of(self.seen) if self.seen is not None else Draft(self.kind)
        return self != before

    def period(self) -> Period:
        """What it says.

        Raises
        ------
        BadInput
            When it is no period.
        """
        if self.first_day is None:
            raise BadInput("It has no day.", "Choose the first and the last.")
        # Only events take place somewhere: what was chosen before the kind was changed is let go.
        space = self.space if self.kind == PeriodKind.EVENT else ""
        return period(self.kind, self.name, self.first_day, self.last_day or self.first_day, space)


def save(app: App, draft: Draft, over: Clash | None = None) -> Outcome:
    """Add or change a period.

    Parameters
    ----------
    over
        What somebody else did and was shown: it is replaced; what they removed is made anew.

    Raises
    ------
    NotAllowed
        Who is no analyst.
    CalendarConflict
        When somebody else changed or removed it since it was opened, or since ``over`` was shown.
    BadInput
        When it is no period, or contradicts others.
    """
    app.person.require(Role.ANALYST, "change the academic calendar")
    seen = draft.seen if over is None else over.now
    return store.change(app.settings, [Change(draft.period(), seen)], by=app.person.name)


def remove(app: App, seen: Kept) -> Outcome:
    """Remove a period.

    Raises
    ------
    NotAllowed
        Who is no analyst.
    CalendarConflict
        When somebody else changed it since it was opened.
    """
    app.person.require(Role.ANALYST, "change the academic calendar")
    return store.change(app.settings, [Change(None, seen)], by=app.person.name)


# --- files, and holidays -------------------------------------------------------------------------
def as_csv(app: App) -> str:
    """The calendar as a file that can be imported again."""
    return files.as_csv(kept.period for kept in periods(app))


def import_file(app: App, content: bytes, name: str, *, replace: bool) -> Outcome:
    """Take periods from a CSV or YAML file: all of it, or nothing.

    Parameters
    ----------
    replace
        Remove all that the file does not hold.

    Raises
    ------
    NotAllowed
        Who is no analyst.
    BadInput
        Naming the lines that are wrong.
    """
    app.person.require(Role.ANALYST, "change the academic calendar")
    found = files.read_bytes(content, name)
    return store.put(app.settings, found, by=app.person.name, replace=replace)


def add_holidays(app: App, year: int, country: str, part: str | None) -> Outcome:
    """Add the public holidays of a year.

    Raises
    ------
    NotAllowed
        Who is no analyst.
    BadInput
        When the country or the year is not known.
    """
    app.person.require(Role.ANALYST, "change the academic calendar")
    return store.put(app.settings, public_holidays([year], country, part), by=app.person.name)


# --- a year --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Day:
    """One day of a year, as it is drawn. ``kind``: the most telling of its periods, else empty."""

    day: dt.date
    kind: str
    names: str


_TELLING = (
    PeriodKind.HOLIDAY,
    PeriodKind.BREAK,
    PeriodKind.FINALS,
    PeriodKind.EVENT,
    PeriodKind.QUARTER,
)


def year_of(found: Sequence[Kept], year: int) -> list[Day]:
    """All days of a year with their periods."""
    first, after = dt.date(year, 1, 1), dt.date(year + 1, 1, 1)
    on: dict[dt.date, list[Period]] = {}
    for kept in found:
        at = max(kept.period.start, first)
        while at < min(kept.period.end, after):
            on.setdefault(at, []).append(kept.period)
            at += dt.timedelta(1)
    days = (first + dt.timedelta(n) for n in range((after - first).days))
    return [_drawn(day, on.get(day, [])) for day in days]


def _drawn(day: dt.date, there: Sequence[Period]) -> Day:
    kinds = {p.kind for p in there}
    kind = next((k.value for k in _TELLING if k in kinds), "")
    return Day(day, kind, ", ".join(f"{p.name} ({p.kind.value})" for p in there))


def years(found: Sequence[Kept], today: dt.date) -> list[int]:
    """The years that the calendar touches, the present one and the next among them."""
    touched = {today.year, today.year + 1}
    for kept in found:
        touched.update(range(kept.period.start.year, kept.period.last_day.year + 1))
    return sorted(touched)


def in_words(days: Sequence[Day]) -> str:
    """How many days of a year are what."""
    counts: dict[str, int] = {}
    for day in days:
        counts[day.kind] = counts.get(day.kind, 0) + 1
    words = {
        "quarter": "in session",
        "finals": "of finals",
        "break": "on a break",
        "holiday": "holidays",
        "event": "with an event",
    }
    told = [f"{counts[kind]:,} {word}" for kind, word in words.items() if counts.get(kind)]
    return ", ".join(told) if told else "nothing is entered"
