"""Numbers with their nouns."""

from __future__ import annotations


def counted(number: int, what: str, more: str | None = None) -> str:
    """A number with its noun: ``1 row``, ``1,200 rows``; ``more`` for irregular plurals."""
    return f"{number:,} {what if number == 1 else more or what + 's'}"
