"""How long sessions lasted, as logs write it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.campus.local_time import MICRO
from tippers_dagster.campus.log.not_ended import WORDS
from tippers_dagster.campus.log.shapes import Group, Span, groups
from tippers_dagster.campus.log.texts import is_text
from tippers_dagster.errors import BadInput

DurationUnit = Literal["s", "ms", "min", "hh:mm:ss"]
UNITS: dict[str, int] = {"ms": 1000, "s": MICRO, "min": 60 * MICRO, "hh:mm:ss": 0}
"""Microseconds of each unit of numbers; 0: numbers are not durations."""

LONGEST = 100 * 366 * 86_400 * MICRO
"""Longer durations (in microseconds) are taken as this: implausible in any case."""

_PATTERN = re.compile(
    r" *(?:(?P<whole>0{1,18})(?:[.](?P<fraction>0*))?"
    r"|(?:(?P<days>0{1,5}) days?,? )?(?P<hours>0{1,6}):(?P<minutes>00):(?P<seconds>00)"
    r"(?:[.](?P<part>0+))?) *"
)
Places = tuple[tuple[str, Span], ...]


def durations(
    column: pa.ChunkedArray, unit: DurationUnit, name: str
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """The durations of a column.

    Parameters
    ----------
    column
        Numbers of ``unit``, as text or not; ``hh:mm:ss`` (``1 day, 02:03:04``) with any unit; or of
        the type duration.
    unit
        Of numbers.
    name
        The column's name, for errors.

    Returns
    -------
    (us, missing, unreadable)
        Microseconds int64 [n], 0 where there is none; bool [n].

    Raises
    ------
    BadInput
        When the type of the column is none of these.
    """
    missing = np.asarray(pc.is_null(column).combine_chunks())
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_duration(kind):
        ticks = column.cast(pa.duration("us"), safe=False).cast(pa.int64())
        us = ticks.fill_null(0).to_numpy()
        return np.where(us < 0, 0, us), missing, us < 0
    per = UNITS[unit]
    if pa.types.is_floating(kind):
        values = column.cast(pa.float64()).fill_null(np.nan).to_numpy()
        missing |= np.isnan(values)
        unreadable = ~missing & ~((values >= 0) & (per > 0))
        us = np.rint(np.minimum(np.where(missing | unreadable, 0, values) * per, LONGEST))
        return us.astype(np.int64), missing, unreadable
    if pa.types.is_decimal(kind):
        column = column.cast(pa.decimal256(76, max(kind.scale, 0)))
    elif not (is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise BadInput(f"Column {name} is of type {kind}; durations, numbers or text are expected.")
    texts = column.cast(pa.string()).combine_chunks()
    us, readable = _of_texts(texts, per)
    words = pc.utf8_lower(pc.utf8_trim_whitespace(texts.filter(pa.array(~readable & ~missing))))
    missing[~readable & ~missing] = np.asarray(pc.is_in(words, pa.array(["", *sorted(WORDS)])))
    return us, missing, ~readable & ~missing


def _of_texts(texts: pa.Array, per: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Microseconds, and which texts are durations."""
    us, readable = np.zeros(len(texts), np.int64), np.zeros(len(texts), bool)
    for group in groups(texts, _form, lambda spans: spans):
        spans = dict(group.forms[0])
        if "whole" not in spans:
            us[group.rows], readable[group.rows] = _clock(group, spans)
        elif per:
            whole = np.minimum(group.number(spans["whole"]), LONGEST // per) * per
            us[group.rows] = whole + group.fraction(spans.get("fraction")) * per // MICRO
            readable[group.rows] = True
    return np.minimum(us, LONGEST), readable


def _clock(
    group: Group[Places], spans: dict[str, Span]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    days = group.number(spans["days"]) if "days" in spans else 0
    hours = days * 24 + group.number(spans["hours"])
    minutes, seconds = group.number(spans["minutes"]), group.number(spans["seconds"])
    us = ((hours * 60 + minutes) * 60 + seconds) * MICRO + group.fraction(spans.get("part"))
    return us, (minutes < 60) & (seconds < 60)


@lru_cache(maxsize=1 << 12)
def _form(shape: str) -> Places | None:
    match = _PATTERN.fullmatch(shape)
    if match is None:
        return None
    return tuple((name, match.span(name)) for name, text in match.groupdict().items() if text)
