"""Numbers and times as text, shared by several pages."""

from __future__ import annotations

import datetime as dt

from streamlit_app.services.occupancy.window import Window
from tippers_dagster.platform.text import counted


def percent(share: float) -> str:
    """A share from 0 to 1 in whole percent; a share above 0 never becomes ``0 %``."""
    if 0 < share < 0.01:
        return "under 1 %"
    return f"{share:.0%}".replace("%", " %")


def bin_width(seconds: int) -> str:
    """A bin width: ``15 min``, ``4 h``, ``1 day``."""
    if seconds % 86400 == 0:
        return counted(seconds // 86400, "day")
    return f"{seconds // 3600} h" if seconds % 3600 == 0 else f"{seconds // 60} min"


def duration(seconds: float) -> str:
    """An estimated duration: ``45 s``, ``12 min``, ``2.5 h``."""
    if seconds < 1:
        return "1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def moment(when: dt.datetime) -> str:
    """A local time: ``Mon 6 Jan 2025, 09:15``."""
    return f"{when:%a} {when.day} {when:%b %Y, %H:%M}"


def day(when: dt.date) -> str:
    """A date: ``Mon 6 Jan 2025``."""
    return f"{when:%a} {when.day} {when:%b %Y}"


def span(window: Window) -> str:
    """A window; one of whole days names its last day."""
    last = window.end - dt.timedelta(microseconds=1)
    if window.start.time() == dt.time() == window.end.time():
        if window.start.date() == last.date():
            return day(window.start)
        return f"{day(window.start)} to {day(last)}"
    return f"{moment(window.start)} to {moment(window.end)}"
