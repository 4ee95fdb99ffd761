"""Which part of the log definitions read: the window of a concept or of SQL, as people write it.

A window is one line, the same in YAML and in the app::

    everything
    last 8 weeks
    term

Pure: which time chunks a window has follows from the chunks of the log and the terms of the
calendar. Chunks are never cut.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tippers_dagster.errors import BadInput

MAX_WEEKS = 520

FORMS = "everything, last 8 weeks, term"
"""An example of each form."""

_WEEKS = re.compile(r"last (?:week|(\d{1,9}) weeks?)")

Dates = tuple[dt.date, dt.date]
"""The first date, and the one after the last."""


@dataclass(frozen=True)
class Window:
    """A part of the log. Set at most one attribute; without any, it is everything.

    Attributes
    ----------
    weeks
        The last weeks, up to the end of the last time chunk with sessions.
    term
        The term of the calendar that contains the last date of that chunk, or else the last one
        before it.
    """

    weeks: int | None = None
    term: bool = False

    @property
    def is_everything(self) -> bool:
        """Whether it has no bounds."""
        return self.weeks is None and not self.term

    def __str__(self) -> str:
        if self.term:
            return "term"
        if self.weeks is None:
            return "everything"
        return "last week" if self.weeks == 1 else f"last {self.weeks} weeks"

    @property
    def tag(self) -> str:
        """The window as part of a name: ``last_8_weeks``."""
        return str(self).replace(" ", "_")


EVERYTHING = Window()

LOG_READ = "log"
"""The recorded detail of an asset: what it read of the log, or what its labels are about."""


def parse_window(text: str) -> Window:
    """A window from its text; upper and lower case and further spaces make no difference.

    Raises
    ------
    BadInput
        When the text has none of the forms.
    """
    line = " ".join(text.lower().split())
    if line == "everything":
        return EVERYTHING
    if line == "term":
        return Window(term=True)
    if found := _WEEKS.fullmatch(line):
        weeks = int(found[1] or 1)
        if not 1 <= weeks <= MAX_WEEKS:
            raise BadInput(f"A window has 1 to {MAX_WEEKS} weeks, not {text!r:.60}.")
        return Window(weeks=weeks)
    raise BadInput(f"{text!r:.60} is not a window. Examples: {FORMS}.")


def window_of_tag(tag: str) -> Window:
    """The window whose ``tag`` is part of a name.

    Raises
    ------
    BadInput
        When it is no window's.
    """
    return parse_window(tag.replace("_", " "))


@dataclass(frozen=True)
class Span:
    """A time chunk of the log: its key, its local dates [start, end), and whether it is empty."""

    chunk: str
    start: dt.date
    end: dt.date
    empty: bool = False


@dataclass(frozen=True)
class Read:
    """What was read of the log: a window, and the local dates [start, end) of its chunks."""

    window: Window
    start: dt.date
    end: dt.date

    @classmethod
    def of(cls, window: Window, spans: Sequence[Span]) -> Read | None:
        """From the chunks that were read, in order; None without any."""
        return cls(window, spans[0].start, spans[-1].end) if spans else None

    @classmethod
    def from_json(cls, values: Mapping[str, str]) -> Read:
        """From ``to_json``."""
        start, end = (dt.date.fromisoformat(values[name]) for name in ("start", "end"))
        return cls(parse_window(values["window"]), start, end)

    @classmethod
    def in_details(cls, details: Mapping[str, Any]) -> Read | None:
        """What the recorded details of an asset say; None if they do not."""
        return cls.from_json(details[LOG_READ]) if LOG_READ in details else None

    def to_json(self) -> dict[str, str]:
        """As recorded with what was computed from it."""
        return {
            "window": str(self.window),
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
        }

    def __str__(self) -> str:
        return f"{self.window}: {self.start} to {self.end - dt.timedelta(days=1)}"


def with_read(details: Mapping[str, Any], read: Read | None) -> dict[str, Any]:
    """The details of an asset with what it read; ``Read.in_details`` finds it."""
    return {**details} if read is None else {**details, LOG_READ: read.to_json()}


def window_spans(
    window: Window, log: Sequence[Span], terms: Iterable[Dates], until: dt.date | None = None
) -> list[Span]:
    """The chunks of a window, in order.

    The window ends with the last chunk that has sessions: ranges are tracked ahead of time, too.

    Parameters
    ----------
    log
        The chunks of the log, in order of time.
    terms
        The terms of the calendar.
    until
        For a past window: as if there were only the chunks that end by this date.
    """
    log = [span for span in log if until is None or span.end <= until]
    if window.is_everything or not log:
        return list(log)
    last = next((span for span in reversed(log) if not span.empty), log[-1])
    start, end = _dates(window, last, terms) or (last.end, last.end)
    return [span for span in log if span.start < end and start < span.end]


def _dates(window: Window, last: Span, terms: Iterable[Dates]) -> Dates | None:
    """The dates of a window before chunks are chosen; None without such a term."""
    if window.weeks is not None:
        return last.end - dt.timedelta(weeks=window.weeks), last.end
    return max((term for term in terms if term[0] < last.end), default=None)
