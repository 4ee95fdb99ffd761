"""The academic calendar: changes, files, public holidays, and the days of a year."""

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
from tippers_dagster.platform.text import counted

__all__ = ["CalendarConflict", "Clash", "Kept", "Outcome", "PeriodKind", "countries"]


def may_write(app: App) -> bool:
    """Whether the person may change the calendar."""
    return app.person.may(Role.ANALYST)


def periods(app: App) -> list[Kept]:
    """All periods, ordered by first day."""
    return store.list_periods(app.settings)


# --- one period ----------------------------------------------------------------------------------
@dataclass
class Draft:
    """A period being edited; unlike ``Period.end``, ``last_day`` is included.

    ``seen`` is the period as it was opened; None for a new one.
    """

    kind: str = PeriodKind.HOLIDAY.value
    name: str = ""
    first_day: dt.date | None = None
    last_day: dt.date | None = None
    space: str = ""
    seen: Kept | None = None

    @classmethod
    def of(cls, kept: Kept) -> Draft:
        """A draft of an existing period."""
        p = kept.period
        return cls(p.kind.value, p.name, p.start, p.last_day, p.space, kept)

    @property
    def dirty(self) -> bool:
        """Whether it differs from the period as it was opened."""
        before = Draft.of(self.seen) if self.seen is not None else Draft(self.kind)
        return self != before

    def period(self) -> Period:
        """The period that the draft describes.

        Raises
        ------
        BadInput
            The draft is incomplete or not valid.
        """
        if self.first_day is None:
            raise BadInput("The first day is missing.", "Choose the first and the last day.")
        # Only events have a space: one chosen before the kind was changed is dropped.
        space = self.space if self.kind == PeriodKind.EVENT else ""
        return period(self.kind, self.name, self.first_day, self.last_day or self.first_day, space)


def save(app: App, draft: Draft, over: Clash | None = None) -> Outcome:
    """Add or change a period.

    Parameters
    ----------
    over
        Somebody else's change, already shown to the person: overwrite it. A period that they
        removed is created again.

    Raises
    ------
    NotAllowed
        The person is not an analyst.
    CalendarConflict
        Somebody else changed or removed it since it was opened, or since ``over`` was shown.
    BadInput
        The period is not valid, or contradicts others.
    """
    app.person.require(Role.ANALYST, "change the academic calendar")
    seen = draft.seen if over is None else over.now
    return store.change(app.settings, [Change(draft.period(), seen)], by=app.person.name)


def remove(app: App, seen: Kept) -> Outcome:
    """Remove a period.

    Raises
    ------
    NotAllowed
        The person is not an analyst.
    CalendarConflict
        Somebody else changed it since it was opened.
    """
    app.person.require(Role.ANALYST, "change the academic calendar")
    return store.change(app.settings, [Change(None, seen)], by=app.person.name)


# --- files, and holidays -------------------------------------------------------------------------
def as_csv(app: App) -> str:
    """The calendar as a CSV file that can be imported again."""
    return files.as_csv(kept.period for kept in periods(app))


def import_file(app: App, content: bytes, name: str, *, replace: bool) -> Outcome:
    """Import periods from a CSV or YAML file: either all of them or none.

    Parameters
    ----------
    replace
        Remove all periods that the file does not contain.

    Raises
    ------
    NotAllowed
        The person is not an analyst.
    BadInput
        The file is not valid; the message names the lines.
    """
    app.person.require(Role.ANALYST, "change the academic calendar")
    found = files.read_bytes(content, name)
    return store.put(app.settings, found, by=app.person.name, replace=replace)


def add_holidays(app: App, year: int, country: str, part: str | None) -> Outcome:
    """Add the public holidays of a year.

    Raises
    ------
    NotAllowed
        The person is not an analyst.
    BadInput
        The country or the year is not known.
    """
    app.person.require(Role.ANALYST, "change the academic calendar")
    return store.put(app.settings, public_holidays([year], country, part), by=app.person.name)


# --- a year --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Day:
    """One day of a year's chart. ``kind``: of its highest-ranking period; empty without one."""

    day: dt.date
    kind: str
    names: str


_RANKED_KINDS = (
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
    return [_day(day, on.get(day, [])) for day in days]


def _day(day: dt.date, on_it: Sequence[Period]) -> Day:
    kinds = {p.kind for p in on_it}
    kind = next((k.value for k in _RANKED_KINDS if k in kinds), "")
    return Day(day, kind, ", ".join(f"{p.name} ({p.kind.value})" for p in on_it))


def years(found: Sequence[Kept], today: dt.date) -> list[int]:
    """The years that have periods, and always this year and the next."""
    touched = {today.year, today.year + 1}
    for kept in found:
        touched.update(range(kept.period.start.year, kept.period.last_day.year + 1))
    return sorted(touched)


def in_words(days: Sequence[Day]) -> str:
    """The number of days of each kind in a year."""
    counts: dict[str, int] = {}
    for day in days:
        counts[day.kind] = counts.get(day.kind, 0) + 1
    nouns = {
        "quarter": ("day in session", "days in session"),
        "finals": ("day of finals", "days of finals"),
        "break": ("break day", "break days"),
        "holiday": ("holiday", "holidays"),
        "event": ("event day", "event days"),
    }
    parts = [counted(counts[kind], *nouns[kind]) for kind in nouns if counts.get(kind)]
    return ", ".join(parts) or "no periods"
