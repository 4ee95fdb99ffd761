"""Clear errors for full disks."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tippers_dagster.errors import DiskFull, EnvironmentFault

if TYPE_CHECKING:
    import psycopg2.errors

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

Full = TypeVar("Full", bound=DiskFull)


def is_full(error: BaseException) -> bool:
    """Whether an error means that a disk or quota is full."""
    return isinstance(error, OSError) and error.errno in _FULL


def disk_full(place: Path | str, kind: type[Full], setting: str) -> Full:
    """The error for a folder on a full disk.

    Parameters
    ----------
    place
        The folder, or a file in it; neither need exist.
    kind
        Class of the error.
    setting
        The setting that moves it elsewhere.
    """
    folder = Path(place)
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free >> 20
    return kind(
        f"The disk of {folder} is full: {free} MB free.",
        f"Free some space, or set {setting} to a folder on a larger disk. Nothing is lost: what "
        "could not be written is computed again.",
    )


@contextmanager
def reporting_full(place: Path, setting: str = "TIPPERS_HOME") -> Iterator[None]:
    """Report a full disk of a folder that is written to.

    Raises
    ------
    DiskFull
        Replaces an OSError of that kind.
    """
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise disk_full(place, DiskFull, setting) from error


def database_full(error: psycopg2.errors.DiskFull) -> DiskFull:
    """The error for a database server whose disk is full."""
    return DiskFull(
        f"The disk of the database is full: {str(error).strip().splitlines()[0]}",
        "Free some space on the database server's disk. Nothing is lost: what could not be written "
        "is computed again.",
    )


def environment_fault(error: BaseException) -> EnvironmentFault | None:
    """The environment's failure behind an error; None if the computation itself failed."""
    import psycopg2.errors

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, EnvironmentFault):
            return seen
        if isinstance(seen, psycopg2.errors.DiskFull):
            return database_full(seen)
        if isinstance(seen, OSError) and is_full(seen):
            place = seen.filename if isinstance(seen.filename, str) else "."
            return disk_full(Path(place).absolute(), DiskFull, "TIPPERS_HOME")
        seen = seen.__cause__ or seen.__context__
    return None
