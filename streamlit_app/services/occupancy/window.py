"""The window and the bin width that a page shows, read from its address or from typed text."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from tippers_dagster.campus.local_time import PUBLISHED_WIDTHS, check_width
from tippers_dagster.errors import BadInput

SCREEN_POINTS = 1200
"""A screen cannot show more points than this apart from each other."""

MAX_WINDOW_DAYS = 20 * 366


@dataclass(frozen=True)
class Window:
    """Local times [start, end)."""

    start: dt.datetime
    end: dt.datetime

    @property
    def length(self) -> dt.timedelta:
        """By the wall clock."""
        return self.end - self.start

    def moved(self, by: dt.timedelta) -> Window:
        """A window of the same length, earlier or later."""
        return Window(self.start + by, self.end + by)

    def wider(self, by: dt.timedelta) -> Window:
        """The window extended by a duration on both sides."""
        return Window(self.start - by, self.end + by)


def parse_window(start: str, end: str) -> Window | None:
    """A window from two ISO texts of an address; None when they are not a valid window."""
    try:
        window = Window(dt.datetime.fromisoformat(start), dt.datetime.fromisoformat(end))
    except ValueError:
        return None
    zoned = window.start.tzinfo or window.end.tzinfo
    if zoned or not dt.timedelta(0) < window.length <= dt.timedelta(MAX_WINDOW_DAYS):
        return None
    return window if window.start.year > 1900 and window.end.year < 2100 else None


def choose_width(window: Window, max_bins: int = SCREEN_POINTS // 2) -> int:
    """The finest published width with no more bins in the window than a screen shows."""
    seconds = window.length.total_seconds()
    return next((w for w in PUBLISHED_WIDTHS if seconds / w <= max_bins), PUBLISHED_WIDTHS[-1])


def parse_width(text: str) -> int | None:
    """A bin width in seconds from an address; None when it is not a valid width."""
    try:
        width = int(text)
        check_width(width)
    except (ValueError, BadInput):
        return None
    return width


_UNITS = {"": 60, "s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "hour": 3600, "day": 86400}


def parse_typed_width(text: str) -> int:
    """A bin width in seconds from text such as ``10 min``, ``2 h``, ``1 day`` or ``600 s``.

    Raises
    ------
    BadInput
        When the text is not a width, or bins cannot have this width.
    """
    number = text.strip().rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ").strip()
    unit = text.strip()[len(number) :].strip().lower()
    unit = unit if unit in _UNITS else unit.removesuffix("s").removesuffix("ute")
    try:
        seconds = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        raise _not_a_width(text) from None
    if not 0 < seconds < 1e9 or seconds != int(seconds):
        raise _not_a_width(text)
    check_width(int(seconds))
    return int(seconds)


def _not_a_width(text: str) -> BadInput:
    return BadInput(f"{text!r} is not a bin width.", "Write for example 10 min, 2 h or 1 day.")
