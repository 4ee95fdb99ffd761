"""Numbers in words, as several pages say them."""

from __future__ import annotations


def percent(share: float) -> str:
    """A share from 0 to 1, in whole percent; what is there is never said to be nothing."""
    if 0 < share < 0.01:
        return "under 1 %"
    return f"{share:.0%}".replace("%", " %")
