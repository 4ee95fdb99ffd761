"""How a CSV file is written: its separator, and where its line of column names is.

Exports have lines above the column names: titles, dates, filters, Excel's ``sep=;``. The separator
and the line of names are those that make the most of the file's first rows a table.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tippers_dagster.campus.log.csv_rows import first_rows

SEPARATORS = (",", ";", "\t", "|")
EXAMINED_ROWS = 200
EXAMINED_BYTES = 1 << 20

_SEPARATOR_LINE = re.compile(
    rb'\A(?:\xef\xbb\xbf)?"?sep=([\t!#-&(-/:-@\[\]^`{-~])"?\r?\n', re.IGNORECASE
)
"""With any separator that a mapping may give, too."""
_LOOKS_LIKE_DATA = re.compile(
    r"[\d.,:+\-/ ]*\d[\d.,:+\-/ TZ]*|[0-9a-f]{2}(?:[-:.]?[0-9a-f]{2}){5}", re.IGNORECASE
)
"""Numbers, times and addresses."""

Names = frozenset[str]
"""Names of columns, in small letters."""


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written."""

    separator: str
    names: tuple[str, ...]
    """The columns; ``column 1`` and so on where the file has no names."""
    start: int
    """Where the rows begin, in bytes."""
    lines_above: int = 0
    """Lines that are not blank above the column names."""
    has_names: bool = True
    ends_with_separator: bool = False
    """Whether each row has an empty field after that of the last column."""


@dataclass(frozen=True)
class _Candidate:
    separator: str
    rows: list[tuple[int, int, list[str]]]
    width: int
    """The number of fields of most rows."""
    header: int | None
    """Which row has the column names."""
    is_known: bool
    """Whether these are names that were expected."""
    is_longer: bool
    """Whether rows end with a separator, which the line of names does not."""

    @property
    def rank(self) -> tuple[bool, bool, bool, float]:
        """The higher, the better."""
        first = 0 if self.header is None else self.header
        same = sum(len(fields) == self.width for _, _, fields in self.rows[first:])
        share = same / max(len(self.rows), 1)
        is_table = self.width > 1
        return self.is_known, is_table, self.header == 0, share * (1 - 1 / max(self.width, 1))


def find_dialect(
    head: bytes,
    *,
    whole: bool,
    separator: str | None = None,
    names: Sequence[str] = (),
    known: Collection[Names] = (),
) -> Dialect | None:
    """How a file is written, judged by its beginning; ``None`` when it has no rows.

    Parameters
    ----------
    head
        The beginning, in UTF-8.
    whole
        Whether that is all of it.
    separator
        The separator, if it is known.
    names
        The columns of a file that does not name them.
    known
        Columns that are expected together; a line with all of them is that of the names.
    """
    if len(head) > EXAMINED_BYTES:
        head, whole = head[:EXAMINED_BYTES], False
    told = _SEPARATOR_LINE.match(head)
    skipped = told.end() if told else 0
    if told and separator is None:
        separator = told[1].decode()
    candidates = [
        _candidate(head[skipped:], whole, candidate, names, known)
        for candidate in ((separator,) if separator else SEPARATORS)
    ]
    best = max(candidates, key=lambda found: found.rank)
    if not best.rows:
        return None
    if names:
        return Dialect(best.separator, tuple(names), skipped + best.rows[0][0], 0, False)
    if best.header is None:
        columns = tuple(f"column {at}" for at in range(1, best.width + 1))
        return Dialect(best.separator, columns, skipped + best.rows[0][0], 0, False)
    _, end, header = best.rows[best.header]
    return Dialect(
        best.separator,
        tuple(header),
        skipped + end,
        best.header,
        ends_with_separator=best.is_longer,
    )


def _candidate(
    head: bytes, whole: bool, separator: str, names: Sequence[str], known: Collection[Names]
) -> _Candidate:
    rows: list[tuple[int, int, list[str]]] = []
    try:
        for row in first_rows(head, separator):
            if row[2]:  # not blank
                rows.append(row)
            if len(rows) > EXAMINED_ROWS:
                break
    except csv.Error:  # a field of more than 128 KiB
        pass
    if len(rows) > 1 and (len(rows) > EXAMINED_ROWS or not whole):
        rows.pop()  # it may be cut
    if names:
        return _Candidate(separator, rows, len(names), None, False, False)
    longer = _longer_by_nothing([fields for _, _, fields in rows])
    for at in longer:
        rows[at] = (*rows[at][:2], rows[at][2][:-1])
    expected = [at for at, (_, _, fields) in enumerate(rows) if _has_any(fields, known)]
    if expected:
        width = len(rows[expected[0]][2])
        return _Candidate(separator, rows, width, expected[0], True, bool(longer))
    counts = Counter(len(fields) for _, _, fields in rows)
    width = max(counts, key=lambda count: (counts[count], count), default=0)
    found = (
        at
        for at, (_, _, fields) in enumerate(rows)
        if len(fields) == width and _looks_like_names(fields)
    )
    return _Candidate(separator, rows, width, next(found, None), False, bool(longer))


def _longer_by_nothing(rows: list[list[str]]) -> list[int]:
    """The rows that have one field more than the line of names, if it is empty in all of them."""
    widest = max(map(len, rows), default=0)
    found = [at for at, fields in enumerate(rows) if len(fields) == widest]
    if widest < 3 or any(rows[at][-1] for at in found):
        return []
    above = rows[found[0] - 1] if found[0] else []
    return found if len(above) == widest - 1 and _looks_like_names(above) else []


def _has_any(fields: list[str], known: Collection[Names]) -> bool:
    folded = {field.strip().casefold() for field in fields}
    return any(names <= folded for names in known)


def _looks_like_names(fields: list[str]) -> bool:
    """Whether most fields have text, and none is a number, a time or an address."""
    filled = [field.strip() for field in fields if field.strip()]
    if len(filled) < max(1, (len(fields) + 1) // 2):
        return False
    return not any(_LOOKS_LIKE_DATA.fullmatch(field) for field in filled)
