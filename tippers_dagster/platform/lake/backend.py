"""What a place must offer to hold the lake."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import IO, Any, Protocol


class Backend(Protocol):
    """Whole files by key. Keys and prefixes arrive validated (``lake.keys``).

    Every method raises LakeError, naming the key and the place, when the place fails, and
    LakeFileMissing when a file that is read is not there.
    """

    remote: bool
    """Whether a request's latency, rather than this machine, is the limit."""
    parallel: int
    """How many requests are worth having under way at once."""
    batch: int
    """How many files one of them takes: where a file costs little, handing it over counts."""

    def put(self, key: str, data: Any) -> None:
        """Write a whole file from a bytes-like object; replaces what was there at once."""

    def create(self, key: str) -> AbstractContextManager[IO[bytes]]:
        """A file to write to, visible under ``key`` only when the block ends without error."""

    def get(self, key: str) -> bytes:
        """A whole file."""

    def exists(self, key: str) -> bool:
        """Whether there is a file."""

    def delete(self, key: str) -> None:
        """Remove a file; one that is not there is no error."""

    def delete_prefix(self, prefix: str) -> None:
        """Remove every file of a folder."""

    def list(self, prefix: str) -> list[str]:
        """The keys of all files below a folder, sorted."""

    def uri(self, key: str) -> str:
        """Where a file is, for people and other programs."""

    def sync(self) -> None:
        """Return when everything written so far would survive a power cut."""
