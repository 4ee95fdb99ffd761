"""Text from users, files and databases, made safe to display.

Control characters can erase a terminal's output, change its title or fill its clipboard, and
bidirectional controls can change how a line reads. All of them are escaped.
"""

from __future__ import annotations

import re

_CONTROLS = (
    r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # C0 without tab and line breaks, DEL, C1
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional controls
    r"\u2028\u2029\ufeff\ud800-\udfff"  # other line breaks, byte order mark, surrogates
)
_CONTROL = re.compile(rf"[{_CONTROLS}]|\r(?!\n)")
_CONTROL_OR_BREAK = re.compile(rf"[{_CONTROLS}\t\r\n]")


NUL = "\N{SYMBOL FOR NULL}"
"""In the place of NUL characters, which PostgreSQL does not store."""


def printable(text: str) -> str:
    r"""The text with control characters escaped (``\x1b``); line breaks and tabs stay."""
    return _CONTROL.sub(_escape, text)


def shown(text: str, most: int = 80) -> str:
    """A name or value for a message: one printable line of at most ``most`` characters."""
    cut = text if len(text) <= most else f"{text[:most]}..."
    return _CONTROL_OR_BREAK.sub(_escape, cut)


def short_path(path: str, most: int = 48) -> str:
    """A path for a table: one printable line, cut at the front if it is longer than ``most``."""
    return shown(path if len(path) <= most else f"...{path[-most:]}", most + 3)


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: ``1 row``, ``1,200 rows``; ``plural`` for irregular ones."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
