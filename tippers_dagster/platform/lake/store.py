"""The lake's interface for the rest of the platform: tables by key."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from tippers_dagster.errors import LakeError, LakeFileDamaged, LakeFileMissing, SettingsError
from tippers_dagster.platform.disk import is_full
from tippers_dagster.platform.lake import parquet
from tippers_dagster.platform.lake.backend import Backend, FileReplaced
from tippers_dagster.platform.lake.folder import FolderBackend
from tippers_dagster.platform.lake.keys import check_key, check_prefix
from tippers_dagster.settings import Settings

_IN_MEMORY_BYTES = 64 << 20
"""Larger tables are streamed to the backend instead of encoded in memory first."""

READS = 5
"""How often a file is read that is replaced each time."""

_WORTH_A_THREAD = 200_000
"""Size of a table in bytes from which several threads handle a folder's files."""

T = TypeVar("T")
R = TypeVar("R")


@lru_cache(maxsize=4)
def open_lake(settings: Settings) -> Lake:
    """The configured lake; opened once per process, safe to share among threads.

    In a folder, temporary files left by killed processes are removed. Nothing is created before the
    first write.

    Raises
    ------
    SettingsError
        ``TIPPERS_LAKE_URL`` is neither a folder nor ``s3://bucket/prefix``.
    """
    return lake_at(settings, settings.lake_url or str(settings.home_path / "lake"))


def lake_at(settings: Settings, url: str, setting: str = "TIPPERS_LAKE_URL") -> Lake:
    """Files in another place, with the same access to S3.

    Parameters
    ----------
    setting
        What names the place, for messages.

    Raises
    ------
    SettingsError
        ``url`` is neither a folder nor ``s3://bucket/prefix``.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3":
        if not parts.netloc:
            raise SettingsError(f"{setting} has no bucket", "Set it to s3://bucket/prefix.")
        from tippers_dagster.platform.lake.s3 import S3Backend

        return Lake(
            S3Backend(parts.netloc, parts.path, settings.s3_endpoint_url, settings.s3_region)
        )
    if parts.scheme not in ("", "file"):
        raise SettingsError(
            f"{setting} has the scheme {parts.scheme}://, which is not supported",
            "Use a folder or s3://bucket/prefix.",
        )
    path = Path(unquote(parts.path)) if parts.scheme else Path(url)
    backend = FolderBackend(path.expanduser().absolute(), settings.threads)
    backend.clean()
    return Lake(backend)


class TableWriter:
    """Writes a table in pieces; created by ``Lake.open_writer``."""

    def __init__(self, key: str, writer: pq.ParquetWriter) -> None:
        self._key = key
        self._writer = writer
        self.rows = 0

    def write(self, piece: pa.Table | pa.RecordBatch) -> None:
        """Append a piece with the writer's schema, as one or several row groups."""
        with _reporting_write(self._key):
            if isinstance(piece, pa.RecordBatch):
                self._writer.write_batch(piece)
            else:
                self._writer.write_table(piece)
        self.rows += piece.num_rows


class Lake:
    """Parquet files by key, on one backend.

    A file is written completely or not at all, and replaces an older one atomically. Every failure
    is a LakeError that names the key, the location and what to do; for a missing file it is the
    subclass LakeFileMissing.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._footers = parquet.Footers()

    # --- one table --------------------------------------------------------------------------
    def write_table(self, key: str, table: pa.Table, **parquet_options: Any) -> None:
        """Write a table; ``parquet_options`` override those of ``lake.parquet`` (rarely needed).

        The schema's metadata (for example a writer's version) is stored in the file. Parquet has no
        timestamps in seconds: a timestamp[s] column is read back as timestamp[ms].
        """
        if table.nbytes > _IN_MEMORY_BYTES:
            with self.open_writer(key, table.schema, **parquet_options) as writer:
                writer.write(table)
            return
        self.backend.put(key, self._encode(key, table, **parquet_options))

    @contextmanager
    def open_writer(
        self, key: str, schema: pa.Schema, **parquet_options: Any
    ) -> Iterator[TableWriter]:
        """Write a table in pieces, in bounded memory.

        The file appears when the block ends; if that raises, there is no file.
        """
        with self.backend.create(check_key(key)) as sink:
            with _reporting_write(key):
                writer = parquet.writer(sink, schema, **parquet_options)
            try:
                yield TableWriter(key, writer)
            except BaseException:
                # The file is discarded; close it now, so that its destructor does not later.
                with suppress(OSError, pa.ArrowException):
                    writer.close()
                raise
            with _reporting_write(key):
                writer.close()

    def read_table(
        self,
        key: str,
        columns: list[str] | None = None,
        filters: Any = None,
        optional: Mapping[str, pa.DataType] | None = None,
    ) -> pa.Table:
        """Read a table.

        Parameters
        ----------
        key
            Key of the table.
        columns
            Only these, in this order; default: all.
        filters
            As for ``pyarrow.parquet.read_table``: an expression, or a list of
            ``(column, operator, value)``. Applied after reading, to any column of the file.
        optional
            Columns of ``columns`` that are null if the file does not have them, and their types.
        """
        data = self.backend.get(check_key(key))
        wanted = None if filters is not None else columns
        with self._reporting_read(key):
            table = parquet.decode(data, wanted, len(data) > 1 << 20, optional)
        if filters is None:
            return table
        expression = filters
        if not isinstance(filters, pa.compute.Expression):
            expression = pq.filters_to_expression(filters)
        kept = table.filter(expression)
        return kept if columns is None else kept.select(columns)

    # --- parts of a table -------------------------------------------------------------------
    def write_groups(
        self, key: str, schema: pa.Schema, groups: Sequence[pa.Table], metadata: dict[Any, Any]
    ) -> None:
        """Write a table of which parts will be read, one row group per given table.

        ``metadata`` is the file's own, next to that of its columns.
        """
        check_key(key)
        if sum(group.nbytes for group in groups) > _IN_MEMORY_BYTES:
            with self.backend.create(key) as file, _reporting_write(key):
                parquet.write_groups(file, schema, groups, metadata)
            return
        sink = pa.BufferOutputStream()
        with _reporting_write(key):
            parquet.write_groups(sink, schema, groups, metadata)
        self.backend.put(key, sink.getvalue())

    def read_groups(
        self,
        key: str,
        choose: Callable[[dict[bytes, bytes]], Sequence[int]],
        without: Sequence[str] = (),
    ) -> pa.Table:
        """Read some row groups of a table; the rest of a large file is not even fetched.

        Parameters
        ----------
        choose
            Gets the file's metadata, and returns the numbers of the row groups. Called again if the
            file was replaced since it was last read, or is replaced while it is being read: all
            parts are of the same file.
        without
            Columns that are not read.

        Returns
        -------
        The rows of these row groups, in their order, without the schema's metadata.
        """

        def parts(footer: parquet.Footer) -> tuple[Sequence[int], list[str]]:
            columns = [name for name in footer.columns if name not in without]
            return choose(footer.metadata), columns

        return self._read_parts(key, parts)[0]

    def read_columns(self, key: str, columns: Sequence[str]) -> pa.Table:
        """Some columns of a table; the rest of a large file is not even fetched."""

        def parts(footer: parquet.Footer) -> tuple[Sequence[int], list[str]]:
            unknown = [name for name in columns if name not in footer.columns]
            if unknown:
                raise KeyError(", ".join(unknown))
            return range(footer.parsed.num_row_groups), list(columns)

        return self._read_parts(key, parts)[0]

    def read_metadata(self, key: str) -> dict[bytes, bytes]:
        """A file's own metadata."""
        return self._read_parts(key, lambda _: ((), []))[1]

    def _read_parts(
        self, key: str, choose: Callable[[parquet.Footer], tuple[Sequence[int], list[str]]]
    ) -> tuple[pa.Table, dict[bytes, bytes]]:
        """Columns of row groups of a file, and its metadata; all of the same version."""
        check_key(key)
        for _ in range(READS):
            known = self._footers.version(key)
            with self.backend.open(key, known) as file, self._reporting_read(key):
                try:
                    opened, footer = self._footers.open(key, file)
                    groups, columns = choose(footer)
                    if self.backend.remote:
                        file.prefetch(footer.spans(groups, columns))
                    table = opened.read_row_groups(groups, columns, use_threads=False)
                    return table.replace_schema_metadata(), footer.metadata
                except FileReplaced:
                    self._footers.forget(key)
        raise LakeError(f"{self.uri(key)} is constantly being replaced.", "Try again later.")

    # --- many tables ------------------------------------------------------------------------
    def in_threads(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """The results of work on items, in order.

        With threads if the lake is remote, so that work waits for it. In a folder, reading parts of
        files takes a third longer with threads: they compete for the interpreter.
        """
        if not self.backend.remote or len(items) < 2:
            return [work(item) for item in items]
        with ThreadPoolExecutor(min(len(items), self.backend.parallel), "lake") as pool:
            return list(pool.map(work, items))

    def write_tables(self, items: Iterable[tuple[str, pa.Table]]) -> int:
        """Write tables with several threads; returns their number.

        ``items`` is consumed while writing, so it may be a generator of more tables than fit into
        memory. Each file is atomic, but the set is not: after a failure some files exist.
        """

        def write(some: list[tuple[str, pa.Table]]) -> list[int]:
            # Encoding all and then writing all was measured a third faster than alternating.
            encoded = [(key, self._encode(key, table)) for key, table in some]
            for key, data in encoded:
                self.backend.put(key, data)
            return [table.nbytes for _, table in some]

        return sum(1 for _ in self._in_threads(write, items, lambda nbytes: nbytes))

    def read_tables(
        self, keys: Sequence[str], columns: list[str] | None = None
    ) -> list[pa.Table | None]:
        """Read tables with several threads, in the order of ``keys``; None for missing files."""

        def read(some: list[str]) -> list[pa.Table | None]:
            return [self._read_if_there(key, columns) for key in some]

        return list(self._in_threads(read, keys, lambda table: table.nbytes if table else 0))

    def _in_threads(
        self,
        work: Callable[[list[T]], list[R]],
        items: Iterable[T],
        size: Callable[[R], int],
    ) -> Iterator[R]:
        """The results of ``work`` on ``items``, batch by batch, in order.

        ``size`` gives a result's bytes in memory. For tiny files in a folder, threads only compete
        for the interpreter (measured: 40 % slower), so the first batch decides.
        """
        source = iter(items)
        batches = iter(lambda: list(islice(source, self.backend.batch)), [])
        if not self.backend.remote:
            results = work(next(batches, []))
            yield from results
            if sum(map(size, results)) < _WORTH_A_THREAD * len(results) or not results:
                for batch in batches:
                    yield from work(batch)
                return
        with ThreadPoolExecutor(self.backend.parallel, "lake") as pool:
            pending: deque[Future[list[R]]] = deque()
            try:
                for batch in batches:
                    pending.append(pool.submit(work, batch))
                    if len(pending) > 2 * self.backend.parallel:
                        yield from pending.popleft().result()
                while pending:
                    yield from pending.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _encode(self, key: str, table: pa.Table, **parquet_options: Any) -> pa.Buffer:
        with _reporting_write(check_key(key)):
            return parquet.encode(table, **parquet_options)

    def _read_if_there(self, key: str, columns: list[str] | None) -> pa.Table | None:
        try:
            return self.read_table(key, columns)
        except LakeFileMissing:
            return None

    # --- files ------------------------------------------------------------------------------
    def write_bytes(self, key: str, data: bytes) -> None:
        """Write a file that is not a table."""
        self.backend.put(check_key(key), data)

    def read_bytes(self, key: str) -> bytes:
        """Read a file's bytes."""
        return self.backend.get(check_key(key))

    def exists(self, key: str) -> bool:
        """Whether there is a file."""
        return self.backend.exists(check_key(key))

    def delete(self, key: str) -> None:
        """Remove a file, if it exists."""
        self.backend.delete(check_key(key))

    def delete_prefix(self, prefix: str) -> None:
        """Remove a folder; ``prefix`` ends with a slash."""
        if not prefix:
            raise LakeError("The whole lake cannot be deleted at once", "Name a folder in it.")
        self.backend.delete_prefix(check_prefix(prefix))

    def list(self, prefix: str = "") -> list[str]:
        """The keys below a folder, sorted; ``prefix`` is empty or ends with a slash."""
        return self.backend.list(check_prefix(prefix))

    def sizes(self) -> Iterator[tuple[str, int]]:
        """The keys and sizes in bytes of all files, in no order."""
        return self.backend.sizes()

    def uri(self, key: str = "") -> str:
        """The location of a file (or of the lake), for people and other programs."""
        return self.backend.uri(check_key(key) if key else "")

    def location(self) -> dict[str, Any]:
        """Where pyarrow finds the files: see ``Backend.location``. Contains credentials."""
        return self.backend.location()

    def sync(self) -> None:
        """Return once everything written would survive a power cut.

        To be called before recording elsewhere that files exist.
        """
        self.backend.sync()

    @contextmanager
    def _reporting_read(self, key: str) -> Iterator[None]:
        try:
            yield
        except KeyError as error:
            raise LakeError(
                f"{self.uri(key)} has no column {error.args[0]}",
                "It was written by another version: delete it and materialise it again.",
            ) from None
        except (pa.ArrowException, OSError) as error:
            # Arrow's own errors about what it reads have no number, those of the system have one.
            damaged = not isinstance(error, OSError) or error.errno is None
            raise (LakeFileDamaged if damaged else LakeError)(
                f"{self.uri(key)} is not a readable Parquet file: {error}",
                "Delete it and materialise it again.",
            ) from error


@contextmanager
def _reporting_write(key: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if is_full(error):
            raise  # the backend knows which disk is full
        raise LakeError(f"{key} could not be written: {error}") from error
