"""Times and sizes in a few characters."""

from __future__ import annotations

_STEPS = ((90, 1, "s"), (5400, 60, "min"), (48 * 3600, 3600, "h"))


def lasting(seconds: float) -> str:
    """A duration: ``45 s``, ``12 min``, ``30 h``, ``3 days``."""
    for below, unit, name in _STEPS:
        if seconds < below:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:,.0f} days"


def size(number: float) -> str:
    """A number of bytes: ``512 B``, ``12 MB``, ``1.5 GB``."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while number >= 1000 and len(units) > 1:
        number /= 1000
        del units[0]
    return f"{number:.1f} {units[0]}" if units[0] in ("GB", "TB") else f"{number:.0f} {units[0]}"
