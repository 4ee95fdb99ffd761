"""The written forms of times, as shapes (:mod:`tippers_dagster.campus.log.shapes`).

ISO 8601 with and without separators, dates of numbers in any order, dates with English names of
months, the output of ``date``, of JavaScript, of Oracle and of web servers' logs, and epochs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import count

from tippers_dagster.campus.log.not_ended import WORDS
from tippers_dagster.campus.log.shapes import Span

LOCAL, EXACT, NUMBER, NEVER, BLANK = "local", "exact", "number", "never", "blank"
"""A time of the wall clock; one with an offset; an epoch; a word for "not ended"; nothing."""


@dataclass(frozen=True)
class TimeForm:
    """What a shape means.

    ``spans`` says where the numbers are: year, month, day, hour, minute, seconds, fraction,
    zone_hours, zone_minutes; first and other for day and month in either order; whole for epochs.
    """

    spans: tuple[tuple[str, Span], ...]
    kind: str
    zone: str = ""
    """The name of a zone, in lower case, if one is written."""
    month: int = 0
    """The month, if its name is written."""
    half: int = -1
    """0 before noon, 1 after it, -1: hours count to 24."""
    sign: int = 1
    """Of the offset or the epoch."""


_NAMES = (
    *(("january", "jan"), ("february", "feb"), ("march", "mar"), ("april", "apr"), ("may",)),
    *(("june", "jun"), ("july", "jul"), ("august", "aug"), ("september", "sept", "sep")),
    *(("october", "oct"), ("november", "nov"), ("december", "dec")),
)
MONTHS = {name: number for number, names in enumerate(_NAMES, start=1) for name in names}

_MONTH = f"(?P<name>{'|'.join(MONTHS)})"
_WEEKDAY = r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?[.]?,? *)?"
_YEAR = "(?P<year>0000)"
_NTH = "(?P<day>00?)(?:st|nd|rd|th)?"

_ISO = rf"{_WEEKDAY}{_YEAR}(?P<dash>[-/.])(?P<month>00?)(?P=dash)(?P<day>00?)"
_BASIC = f"{_YEAR}(?P<month>00)(?P<day>00)"
_OTHERS = (
    f"{_WEEKDAY}(?P<first>00?)(?P<dash>[-/.])(?P<other>00?)(?P=dash){_YEAR}",
    # Not with dashes: 25-01-07 rather begins with its year.
    f"{_WEEKDAY}(?P<first>00?)(?P<dash>[/.])(?P<other>00?)(?P=dash)(?P<year>00)",
    rf"{_WEEKDAY}{_NTH}[-/. ]*{_MONTH}[.]?[-/ ,]*(?P<year>0000|00)",
    rf"{_WEEKDAY}{_MONTH}[.]? *{_NTH}(?:,| ) *{_YEAR}",
    rf"{_YEAR}[-/ ]{_MONTH}[-/ ](?P<day>00?)",
)

_FRACTION = "(?:[.,](?P<fraction>0+))?"
_HALF = "(?: ?(?P<half>[ap])[.]?m[.]?(?![a-z]))"
_ZONE = (
    r"(?: ?(?:(?P<zulu>z|utc?|gmt|uct)"
    r"|(?:utc|gmt)?(?P<sign>[+-])(?P<zone_hours>00?)(?::?(?P<zone_minutes>00))?"
    # JavaScript and Java add the name of the zone that the offset is of.
    r"(?: ?\([a-z .]+\)|\[[a-z_/]+\])?"
    r"|(?P<zone>[a-z]{2,5}|[a-z_]+(?:/[a-z_]+)+)))?"
)
_CLOCK = f"(?P<hour>00?):(?P<minute>00)(?::(?P<seconds>00){_FRACTION})?{_HALF}?{_ZONE}"
_TIMES = (
    _CLOCK,
    rf"(?P<hour>00?)[.](?P<minute>00)(?:[.](?P<seconds>00){_FRACTION})?{_HALF}?{_ZONE}",
    f"(?P<hour>00)(?P<minute>00)(?:(?P<seconds>00){_FRACTION})?{_ZONE}",
    f"(?P<hour>00?){_HALF}{_ZONE}",
)
_BETWEEN = "(?:t| +|,? +(?:at +)?)"

_PATTERNS = (
    *(f"{date}(?:{_BETWEEN}(?:{'|'.join(_TIMES)}|(?P<hour>00)))?" for date in (_ISO, _BASIC)),
    f"{_BASIC}(?P<hour>00)(?P<minute>00)(?P<seconds>00){_FRACTION}{_ZONE}",
    *(f"{date}(?:{_BETWEEN}(?:{'|'.join(_TIMES)}))?" for date in _OTHERS),
    # Logs of web servers.
    f"(?P<day>00)/{_MONTH}/{_YEAR}:{_CLOCK}",
    # ctime and `date`, with the year at the end.
    f"{_WEEKDAY}{_MONTH} +(?P<day>00?) +{_CLOCK} +{_YEAR}",
    f"{_WEEKDAY}(?P<day>00?) +{_MONTH} +{_CLOCK} +{_YEAR}",
    "(?P<sign>[+-])?(?P<whole>0{1,19})(?:[.](?P<fraction>0*))?",
)


@cache
def _pattern() -> re.Pattern[str]:
    """One pattern of all: fails fastest. Its groups are numbered, as names may not be repeated."""
    numbers, latest = count(), dict[str, int]()

    def numbered(group: re.Match[str]) -> str:
        kind, name = group.groups()
        if kind == "<":
            latest[name] = next(numbers)
        return f"(?P{kind}{name}_{latest[name]}"

    joined = re.sub("[(][?]P([<=])([a-z_]+)", numbered, "|".join(_PATTERNS))
    return re.compile(f" *(?:{joined}) *")


_SPANS = (
    *("year", "month", "day", "first", "other", "hour", "minute", "seconds", "fraction"),
    *("zone_hours", "zone_minutes", "whole"),
)


@lru_cache(maxsize=1 << 14)
def time_form(shape: str) -> TimeForm | None:
    """What a shape means as a time; None if it means none."""
    word = shape.strip()
    if not word or word.strip("()[] ") in WORDS:
        return TimeForm((), NEVER if word else BLANK)
    match = _pattern().fullmatch(shape)
    if match is None:
        return None
    found = {
        name.rpartition("_")[0]: match.span(name)
        for name, text in match.groupdict().items()
        if text
    }
    texts = {name: shape[slice(*span)] for name, span in found.items()}
    kind = LOCAL
    if "whole" in found:
        kind = NUMBER
    elif "zulu" in found or "zone_hours" in found:
        kind = EXACT
    return TimeForm(
        tuple((name, found[name]) for name in _SPANS if name in found),
        kind,
        texts.get("zone", ""),
        MONTHS.get(texts.get("name", ""), 0),
        {"": -1, "a": 0, "p": 1}[texts.get("half", "")],
        -1 if texts.get("sign") == "-" else 1,
    )
