"""Errors for full disks."""

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
    """Whether an error means that a disk is full or a quota is exceeded."""
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
        The setting that moves the folder elsewhere.
    """
    folder = Path(place)
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free >> 20
    return kind(
        f"The disk of {folder} is full: {free} MB free.",
        f"Free some space, or set {setting} to a folder on a larger disk. Nothing is lost: "
        "unfinished work will be done again.",
    )


@contextmanager
def reporting_full(place: Path, setting: str = "TIPPERS_HOME") -> Iterator[None]:
    """Report a full disk while the block writes to a folder.

    Raises
    ------
    DiskFull
        In place of an OSError of that kind.
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
        "Free some space on the database server's disk. Nothing is lost: unfinished work will be "
        "done again.",
    )


def environment_fault(error: BaseException) -> EnvironmentFault | None:
    """The environment fault that caused an error; None if the computation itself failed."""
    import psycopg2.errors

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, EnvironmentFault):
            return cause
        if isinstance(cause, psycopg2.errors.DiskFull):
            return database_full(cause)
        if isinstance(cause, OSError) and is_full(cause):
            place = cause.filename if isinstance(cause.filename, str) else "."
            return disk_full(Path(place).absolute(), DiskFull, "TIPPERS_HOME")
        cause = cause.__cause__ or cause.__context__
    return None
