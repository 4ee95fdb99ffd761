"""Where tables are printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 200
"""Columns of a pipe or a file, which rich would take for a terminal of 80."""


def table_console() -> Console:
    """A console as wide as the terminal; in a pipe wide enough for whole names, to be searched."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, PIPE_WIDTH))


def counted(number: int, what: str, more: str | None = None) -> str:
    """A number with its noun: ``1 row``, ``1,200 rows``; ``more`` where an s does not do."""
    return f"{number:,} {what if number == 1 else more or what + 's'}"


def printable(text: str) -> str:
    """Text of a file or a table as a terminal may show it: what it could obey is written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
