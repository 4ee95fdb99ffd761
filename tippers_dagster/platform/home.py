"""The home: a folder that only its owner can access."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tippers_dagster.errors import TippersError

FOR_OTHERS = 0o077
"""The permission bits of everybody but the owner."""

MARKS = ("device_key", "postgres", "postgres.lock", "up.lock", "dagster")
"""Any of these marks a folder as an existing home."""


class HomeError(TippersError):
    """The home cannot be created, used, or closed to others."""


def private_home(home: Path) -> Path:
    """Create the home, or close an existing one to everyone but its owner; returns its path.

    From then on this process, and those that it starts, write files that only their owner can
    read (the umask is 077), wherever they are.

    Raises
    ------
    HomeError
        When it cannot be created or written to, when it is open to others and belongs to somebody
        else, or when it is a folder with other content, which would be closed to others as well.
    """
    os.umask(FOR_OTHERS)
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HomeError(
            f"The home {home} cannot be created: {error.strerror}.",
            "Set TIPPERS_HOME to a writable folder.",
        ) from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise HomeError(
            f"The home {home} is not writable for this user.",
            "Set TIPPERS_HOME to a folder of your own, or fix its owner.",
        )
    if home.stat().st_mode & FOR_OTHERS:
        _close(home)
    return home


def _close(home: Path) -> None:
    """Close the folder, and what is directly in it, to others."""
    entries = list(home.iterdir())
    is_home = not entries or any((home / mark).exists() for mark in MARKS)
    if home.stat().st_mode & stat.S_ISVTX or not is_home:
        raise HomeError(
            f"{home} is accessible to other users, and holds more than a home of tippers.",
            f"Set TIPPERS_HOME to a folder of its own, or restrict this one: chmod 700 {home}",
        )
    try:
        for path in (home, *(entry for entry in entries if not entry.is_symlink())):
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~FOR_OTHERS)
    except PermissionError as error:
        raise HomeError(
            f"The home {home} is open to others, and {error.filename} belongs to another user.",
            "Set TIPPERS_HOME to a folder of your own, or fix its owner.",
        ) from error
