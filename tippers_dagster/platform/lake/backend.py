"""The interface that storage must implement to hold the lake."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import IO, Any, Protocol

from tippers_dagster.errors import LakeError

Span = tuple[int, int]
"""First byte and number of bytes."""

Version = tuple[str, int]
"""Identifies the content of a file: what the storage calls it, and its size in bytes."""


class FileReplaced(LakeError):
    """A file was replaced between two reads of its parts; reading it again helps."""


class OpenFile(Protocol):
    """A file that is read in parts. It stays as it was when it was opened."""

    def __enter__(self) -> OpenFile: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

    @property
    def version(self) -> Version | None:
        """Of the content, if the storage guarantees it for every part that is read."""

    @property
    def source(self) -> Any:
        """What pyarrow reads from."""

    def prefetch(self, spans: Sequence[Span]) -> None:
        """Fetch what is about to be read, if that saves requests.

        FileReplaced if the file is no longer of this version, even if there is nothing to fetch.
        """


class Backend(Protocol):
    """Whole files by key. Keys and prefixes arrive validated (``lake.keys``).

    Every method raises LakeError, naming the key and the location, when the storage fails, and
    LakeFileMissing when a file to be read does not exist.
    """

    remote: bool
    """Whether the latency of requests, rather than this machine, is the limit."""
    parallel: int
    """How many requests are worth running at once."""
    batch: int
    """How many files one thread takes at once: if files are cheap, handing them over is not."""

    def put(self, key: str, data: Any) -> None:
        """Write a whole file from a bytes-like object, atomically replacing an older one."""

    def create(self, key: str) -> AbstractContextManager[IO[bytes]]:
        """A file to write to, visible under ``key`` only when the block ends without error."""

    def get(self, key: str) -> bytes:
        """The content of a file."""

    def open(self, key: str, known: Version | None = None) -> OpenFile:
        """A file to read parts of. FileReplaced if a part is requested too late.

        ``known``: the version that it had; if it still has it, this may save a request.
        """

    def copy_to(self, key: str, target: IO[bytes]) -> None:
        """Write a file's content to another one, in bounded memory."""

    def exists(self, key: str) -> bool:
        """Whether there is a file."""

    def delete(self, key: str) -> None:
        """Remove a file, if it exists."""

    def delete_prefix(self, prefix: str) -> None:
        """Remove every file of a folder."""

    def list(self, prefix: str) -> list[str]:
        """The keys of all files below a folder, sorted."""

    def sizes(self) -> Iterator[tuple[str, int]]:
        """The keys and sizes in bytes of all files, in no order, while they are being listed."""

    def contents(self, prefix: str) -> dict[str, Version]:
        """The versions of all files below a folder, by key: one that is replaced has another."""

    def uri(self, key: str) -> str:
        """The location of a file, for people and other programs."""

    def location(self) -> dict[str, Any]:
        """Where pyarrow finds the files: the path before a key, ``root``, and how S3 is reached.

        The latter, ``s3``, are arguments of ``pyarrow.fs.S3FileSystem``, with credentials.
        """

    def sync(self) -> None:
        """Return once everything written so far would survive a power cut."""
