"""Encodes tables as Parquet.

Many files of the lake are tiny (tens to a few thousand rows), so the fixed cost per file dominates.
Measured for 60 to 2,000 rows: LZ4 with delta-coded integers, without
dictionaries and statistics, takes 0.05 to 0.1 ms to write and 0.04 to 0.06 ms to read; zstd adds
0.07 ms in both directions to set up its context, and pyarrow's default options make files two to
three times as large. From ``LARGE_ROWS`` rows on, zstd and statistics pay off.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from threading import Lock
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tippers_dagster.platform.lake.backend import OpenFile, Version

LARGE_ROWS = 50_000
"""Tables with at least this many rows are compressed with zstd and have statistics."""

FOOTER_BYTES = 8 << 20
"""Size of the footers that are kept; parsed, they take eight times as much memory."""


@lru_cache(maxsize=64)
def _options(schema: pa.Schema, large: bool) -> dict[str, Any]:
    """Options of ``pq.ParquetWriter`` for a schema.

    Signed integers and times are mostly sorted and delta-coded; unsigned integers are hashes, which
    delta coding does not shorten. Text gets a dictionary.
    """
    delta = [f.name for f in schema if pa.types.is_signed_integer(f.type) or _is_time(f.type)]
    text = [f.name for f in schema if _is_text(f.type)]
    chosen: dict[str, Any] = {
        "compression": "zstd" if large else "lz4",
        "write_statistics": large,
        "use_dictionary": text or False,
    }
    if large:
        chosen["compression_level"] = 1
    if delta:
        chosen["column_encoding"] = dict.fromkeys(delta, "DELTA_BINARY_PACKED")
    return chosen


def encode(table: pa.Table, **overrides: Any) -> pa.Buffer:
    """A table as the bytes of one Parquet file; ``overrides`` are options of ``ParquetWriter``."""
    sink = pa.BufferOutputStream()
    chosen = _merged(_options(table.schema, table.num_rows >= LARGE_ROWS), overrides)
    with pq.ParquetWriter(sink, table.schema, **chosen) as writer:
        writer.write_table(table)
    return sink.getvalue()


def writer(sink: Any, schema: pa.Schema, **overrides: Any) -> pq.ParquetWriter:
    """A writer for a table that is written in pieces and expected to be large."""
    return pq.ParquetWriter(sink, schema, **_merged(_options(schema, large=True), overrides))


def write_groups(
    sink: Any, schema: pa.Schema, groups: Iterable[pa.Table], metadata: dict[Any, Any]
) -> None:
    """Write a file of which parts are read: each table becomes one row group.

    The text columns have statistics, so that other programs can skip row groups, too. LZ4 takes
    half the time of zstd to decode one row group of a few thousand rows. Integers of 32 bits are
    widths and small counts, which repeat: they are read faster from a dictionary. The Arrow schema
    is left out of the footer.
    """
    chosen = dict(_options(schema, large=False))
    text = [f.name for f in schema if _is_text(f.type)]
    repeating = [f.name for f in schema if pa.types.is_int32(f.type)]
    delta = chosen.pop("column_encoding", {}).keys() - set(repeating)
    chosen |= {
        "use_dictionary": [*text, *repeating] or False,
        "write_statistics": text or False,
        "store_schema": False,
    }
    if delta:
        chosen["column_encoding"] = dict.fromkeys(sorted(delta), "DELTA_BINARY_PACKED")
    with pq.ParquetWriter(sink, schema, **chosen) as writer:
        for group in groups:
            writer.write_table(group, row_group_size=max(1, group.num_rows))
        writer.add_key_value_metadata(metadata)


class Footer:
    """What a file says about its parts."""

    def __init__(self, parsed: pq.FileMetaData, tail: bytes, version: Version | None) -> None:
        self.parsed = parsed
        self.tail = tail
        self.version = version
        self.metadata: dict[bytes, bytes] = parsed.metadata or {}
        self.columns: list[str] = parsed.schema.names

    def spans(self, groups: Sequence[int], columns: Sequence[str]) -> list[tuple[int, int]]:
        """First byte and number of bytes of each column of each row group."""
        wanted = [i for i, name in enumerate(self.columns) if name in columns]
        found = []
        for group in map(self.parsed.row_group, groups):
            for column in map(group.column, wanted):
                first = column.data_page_offset
                if column.has_dictionary_page:
                    first = min(first, column.dictionary_page_offset)
                found.append((first, column.total_compressed_size))
        return found


class Footers:
    """The footers of the files that were read last.

    Parsing a footer takes longer than decoding one of its row groups. What was parsed is used only
    if the file has the same version. If the storage has no versions, the end of the file is read
    each time, and must be the same: then parsing it again would give the same.
    """

    def __init__(self, limit: int = FOOTER_BYTES) -> None:
        self._limit = limit
        self._bytes = 0
        self._known: OrderedDict[str, Footer] = OrderedDict()
        self._changing = Lock()

    def version(self, key: str) -> Version | None:
        """The version of a file when it was last read."""
        known = self._known.get(key)
        return None if known is None else known.version

    def forget(self, key: str) -> None:
        """Forget a file that has been replaced."""
        with self._changing:
            if key in self._known:
                self._bytes -= len(self._known.pop(key).tail)

    def open(self, key: str, file: OpenFile) -> tuple[pq.ParquetFile, Footer]:
        """An open file as Parquet, and its footer.

        Raises
        ------
        pa.ArrowInvalid, OSError
            The file is not Parquet.
        """
        known = self._known.get(key)
        if known is not None and _is_of(known, file):
            return _opened(file.source, known.parsed), known
        opened = _opened(file.source)
        tail = _tail(file.source, opened.metadata.serialized_size + 8)
        found = Footer(opened.metadata, tail, file.version)
        self._keep(key, found)
        return opened, found

    def _keep(self, key: str, found: Footer) -> None:
        with self._changing:
            older = self._known.pop(key, None)
            self._known[key] = found
            self._bytes += len(found.tail) - (len(older.tail) if older else 0)
            while self._bytes > self._limit:
                _, dropped = self._known.popitem(last=False)
                self._bytes -= len(dropped.tail)


def _opened(source: Any, footer: pq.FileMetaData | None = None) -> pq.ParquetFile:
    # Ranges are fetched by the backend; pre-buffering would only hand them to other threads.
    return pq.ParquetFile(source, metadata=footer, pre_buffer=False)


def _is_of(footer: Footer, file: OpenFile) -> bool:
    if file.version is not None:
        return file.version == footer.version
    return _tail(file.source, len(footer.tail)) == footer.tail


def _tail(source: Any, length: int) -> bytes:
    """The last bytes of a file; all of it if it is shorter."""
    source.seek(max(0, source.seek(0, os.SEEK_END) - length))
    found: bytes = source.read(length)
    return found


def decode(
    data: Any,
    columns: list[str] | None = None,
    threads: bool = False,
    optional: Mapping[str, pa.DataType] | None = None,
) -> pa.Table:
    """The table of one Parquet file.

    Parameters
    ----------
    data
        The file's bytes.
    columns
        Only these, in this order.
    threads
        Decode columns with several threads.
    optional
        Columns of ``columns`` that are null if the file does not have them, and their types.

    Raises
    ------
    pa.ArrowInvalid, OSError
        The bytes are not Parquet.
    KeyError
        A column that the file does not have.
    """
    file = pq.ParquetFile(pa.BufferReader(data))
    if columns is None:
        return file.read(use_threads=threads)
    there, filled = set(file.schema_arrow.names), optional or {}
    unknown = [name for name in columns if name not in there]
    if not filled.keys() >= set(unknown):
        raise KeyError(", ".join(sorted(set(unknown).difference(filled))))
    table = file.read(columns=columns, use_threads=threads)
    for name in unknown:
        table = table.append_column(name, pa.nulls(table.num_rows, filled[name]))
    return table.select(columns)


def _merged(chosen: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    chosen = dict(chosen)
    if "use_dictionary" in overrides:
        # A column has either a dictionary or another encoding.
        chosen.pop("column_encoding", None)
    if "compression" in overrides:
        chosen.pop("compression_level", None)
    return chosen | overrides


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date32(kind) or pa.types.is_time(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)
    )
