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
