"""The home: a folder that only its owner can access."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tippers_dagster.errors import TippersError

_OTHERS = 0o077
"""The permission bits of all users except the owner."""

_HOME_ENTRIES = ("device_key", "postgres", "postgres.lock", "up.lock", "dagster")
"""A folder with any of these in it is an existing home."""

UNFINISHED = "restoring"
"""The file of a home that is being restored: the backup's id, and that of the attempt."""


class HomeError(TippersError):
    """The home cannot be created, used, or made private."""


def private_home(home: Path) -> Path:
    """Create the home, or make an existing one private to its owner; returns its path.

    From then on, this process and those that it starts write all files readable by their owner
    only (the umask is 077).

    Raises
    ------
    HomeError
        When the home cannot be created or written to, or is not private and either belongs to
        another user or holds other content, which would become private too.
    """
    os.umask(_OTHERS)
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HomeError(
            f"The home {home} cannot be created: {error.strerror}.",
            "Set TIPPERS_HOME to a writable folder.",
        ) from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise HomeError(
            f"The home {home} is not writable by this user.",
            "Set TIPPERS_HOME to a folder of your own, or fix its owner.",
        )
    if home.stat().st_mode & _OTHERS:
        _close(home)
    return home


def _close(home: Path) -> None:
    """Make the folder and its direct entries private to their owner."""
    entries = list(home.iterdir())
    is_home = not entries or any((home / name).exists() for name in _HOME_ENTRIES)
    if home.stat().st_mode & stat.S_ISVTX or not is_home:
        raise HomeError(
            f"{home} is accessible to other users, and holds other files than those of tippers.",
            f"Set TIPPERS_HOME to a separate folder, or make this one private: chmod 700 {home}",
        )
    try:
        for path in (home, *(entry for entry in entries if not entry.is_symlink())):
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~_OTHERS)
    except PermissionError as error:
        raise HomeError(
            f"The home {home} is accessible to other users and cannot be made private: "
            f"{error.filename} belongs to another user.",
            "Set TIPPERS_HOME to a folder of your own, or fix its owner.",
        ) from error
