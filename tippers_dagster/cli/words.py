"""Numbers with their nouns, and texts of files, as they are printed."""

from __future__ import annotations


def counted(number: int, what: str, more: str | None = None) -> str:
    """A number with its noun: ``1 row``, ``1,200 rows``; ``more`` where an s does not do."""
    return f"{number:,} {what if number == 1 else more or what + 's'}"


def printable(text: str) -> str:
    """Text of a file or a table as a terminal may show it: what it could obey is written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
