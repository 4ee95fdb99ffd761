"""Displays text from people, files and databases safely.

Control characters can erase a terminal's output, change its title or fill its clipboard, and
bidirectional controls can make a line read differently: all of them are escaped.
"""

from __future__ import annotations

import re

_CONTROLS = (
    r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # C0 without tab and line breaks, DEL, C1
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional controls
    r"\u2028\u2029\ufeff\ud800-\udfff"  # other line breaks, byte order mark, surrogates
)
_ACTING = re.compile(rf"[{_CONTROLS}]|\r(?!\n)")
_ACTING_OR_BREAKING = re.compile(rf"[{_CONTROLS}\t\r\n]")


def printable(text: str) -> str:
    r"""The text with control characters as escapes such as ``\x1b``; lines and tabs stay."""
    return _ACTING.sub(_escape, text)


def shown(text: str, most: int = 80) -> str:
    """A name or value for a message: on one line, printable, at most ``most`` characters."""
    cut = text if len(text) <= most else f"{text[:most]}..."
    return _ACTING_OR_BREAKING.sub(_escape, cut)


def shown_path(path: str, most: int = 48) -> str:
    """A path for a table: on one line, printable, without its beginning if it is longer."""
    return shown(path if len(path) <= most else f"...{path[-most:]}", most + 3)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
