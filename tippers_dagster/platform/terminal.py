"""Safe output: text from users, files and databases cannot control the terminal.

``printable_output`` filters everything that the commands print. Tables and progress bars move the
cursor themselves, so they bypass the filter and escape each text instead.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

from tippers_dagster.platform.text import printable

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 200
"""Width for a pipe or a file, where rich would assume 80 columns."""

_COLOURS = re.compile(r"(\x1b\[[0-9;]*m)")


class _PrintableStream:
    """A text stream that escapes control characters, except colours on a terminal."""

    def __init__(self, stream: IO[str]) -> None:
        self.unfiltered = stream

    def write(self, text: str) -> int:
        """Write the text, escaped; returns its length before escaping."""
        parts = _COLOURS.split(text) if self.unfiltered.isatty() else [text]
        texts = (part if i % 2 else printable(part) for i, part in enumerate(parts))
        self.unfiltered.write("".join(texts))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each text."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unfiltered, name)


@contextmanager
def printable_output() -> Iterator[None]:
    """Escape what is printed to standard output and error within the block."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast("TextIO", _PrintableStream(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def table_console() -> Console:
    """A console as wide as the terminal; in a pipe, wide enough to grep for whole names.

    It writes to the current standard output. It does not interpret markup, so a name such as
    ``[/x]`` is printed unchanged.
    """
    from rich.console import Console

    class Plain(Console):
        def render_str(self, text: str, **options: Any) -> Any:
            return super().render_str(printable(text), **options)

    output = getattr(sys.stdout, "unfiltered", sys.stdout)
    console = Plain(file=output, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = max(console.width, PIPE_WIDTH)
    return console
