"""Numbers as text, shared by several pages."""

from __future__ import annotations


def percent(share: float) -> str:
    """A share from 0 to 1 in whole percent; a share above 0 never becomes ``0 %``."""
    if 0 < share < 0.01:
        return "under 1 %"
    return f"{share:.0%}".replace("%", " %")


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: ``1 space``, ``2,000 spaces``; ``plural`` for irregular plurals."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
