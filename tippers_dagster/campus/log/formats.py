"""Opens a log of any format as batches of columns, in bounded memory.

CSV with any usual separator, JSON and Parquet; text also compressed, and in other encodings. The
format is detected from the content, not from the name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from tippers_dagster.campus.log import csv_rows
from tippers_dagster.campus.log.arrow_types import PlainColumns, flattened, flattened_names
from tippers_dagster.campus.log.csv_dialect import Dialect, Names, find_dialect
from tippers_dagster.campus.log.json_rows import JsonRows
from tippers_dagster.campus.log.mapping import AS_FOUND, FileLayout
from tippers_dagster.campus.log.parquet_rows import ParquetRows
from tippers_dagster.campus.log.rows import (
    BLOCK_BYTES,
    Batch,
    Malformed,
    Progress,
    TextFile,
    open_binary,
    watched,
)
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.file_formats import (
    HEAD_BYTES,
    UTF8,
    encoding_of,
    table_format,
)
from tippers_dagster.platform.small_tables import column_names
from tippers_dagster.platform.text import counted, shown

PARQUET_BATCH_ROWS = 1 << 16

_SEPARATOR_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_ENCODINGS = "Save it as UTF-8, or say how it is encoded: encoding in the mapping, or --encoding."
_MIN_NUL_SHARE = 0.2
"""UTF-16 without a byte order mark has this share of NUL bytes in all Western languages."""

_Read = Callable[[Mapping[str, str], list[Malformed]], Iterator[Batch]]


@dataclass
class LogFile:
    """An open log, from ``open_log``; or another log that is read as a file is."""

    path: Path | str
    """The file, or what else it is called."""
    description: str
    """Its format, for people: ``CSV separated by semicolons, 3 lines above the header``."""
    names: list[str]
    """Its columns; those of nested records are joined by dots."""
    is_sparse: bool
    """Whether it may have more columns than ``names``: in JSON any record may bring a new one."""
    malformed: list[Malformed] = field(default_factory=list)
    """The rows that could not be taken apart so far, which are in no batch."""
    _read: _Read = field(kw_only=True)
    _position: Callable[[], int] = field(kw_only=True)

    def find(self, name: str) -> str | None:
        """The file's name of a column; upper and lower case are equal. ``None``: it has none.

        Raises
        ------
        BadInput
            When several columns have the name.
        """
        wanted = name.strip().casefold()
        found = [theirs for theirs in self.names if theirs.strip().casefold() == wanted]
        if len(found) > 1:
            raise BadInput(
                f"{self.path} has the column {shown(name)} {len(found)} times.", "Keep one."
            )
        return found[0] if found else None

    def batches(self, columns: Sequence[str], progress: Progress | None = None) -> Iterator[Batch]:
        """The rows of some columns, in the file's order; can be called once.

        Parameters
        ----------
        columns
            Names as in ``find``; the batches have them in this spelling.
        progress
            Called with the bytes read and the size of the file.

        Raises
        ------
        BadInput
            When a column is missing, or the file turns out to be damaged.
        """
        chosen: dict[str, str] = {}
        for name in columns:
            found = self.find(name)
            if found is None and not self.is_sparse:
                raise self.missing([name])
            chosen[name if found is None else found] = name
        read = self._read(chosen, self.malformed)
        if isinstance(self.path, str):
            return read
        return watched(self.path, read, self._position, progress)

    def missing(self, columns: Sequence[str]) -> BadInput:
        """The error of a file without these columns."""
        how = f"It was read as {self.description}. Correct the names, or how the file is read."
        return BadInput(
            f"{self.path} has no column {', '.join(map(shown, columns))}; its columns are: "
            f"{column_names(self.names)}.",
            how if isinstance(self.path, Path) else "Correct the names in its mapping.",
        )


@contextmanager
def open_log(
    path: Path, layout: FileLayout = AS_FOUND, known: Collection[Names] = ()
) -> Iterator[LogFile]:
    """Open a CSV, JSON or Parquet file.

    Parameters
    ----------
    path
        The file.
    layout
        What is known of how it is written; everything else is found by itself.
    known
        Columns, in small letters, that are expected together. They help to find the line of the
        column names.

    Raises
    ------
    BadInput
        Names the file and the problem; also raised while batches are read.
    """
    with open_binary(path) as stream:
        found = table_format(stream.read(HEAD_BYTES), path, utf16=True)
    if not found.is_csv:
        yield _open_parquet(path, layout)
        return
    file = _text_file(TextFile(path, found.compression, hint=_ENCODINGS), layout)
    head = file.head()
    with file.opened() as (content, position):
        if _is_json(head):
            yield _open_json(file, layout, content, position)
        else:
            yield _open_csv(file, layout, known, head, content, position)


def _text_file(file: TextFile, layout: FileLayout) -> TextFile:
    """The file with its encoding."""
    raw = file.head(HEAD_BYTES * 64)  # as yet, nothing is decoded
    if not raw:
        raise BadInput(f"{file.path} is empty.", "Expected a header line and rows.")
    inner = table_format(raw, f"The content of {file.path}", utf16=True)
    if file.compression is not None and (inner.compression is not None or not inner.is_csv):
        raise BadInput(
            f"The content of {file.path} is compressed again, or Parquet.", "Unpack it first."
        )
    if layout.encoding is not None:
        return replace(file, encoding=layout.encoding)
    encoding = encoding_of(raw)
    if encoding == UTF8 and raw.count(0) > _MIN_NUL_SHARE * len(raw):
        raise BadInput(
            f"{file.path} is not text, or UTF-16 without a byte order mark.",
            "If it is UTF-16, say so: --encoding utf-16-le, or utf-16-be.",
        )
    return replace(file, encoding=encoding)


def _is_json(head: bytes) -> bool:
    """Whether text begins with an object, or a list of objects or lists."""
    text = head[:BLOCK_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:1] == b"{":
        return text[1:].lstrip()[:1] in (b'"', b"}", b"")
    return text[:1] == b"[" and text[1:].lstrip()[:1] in (b"{", b"[", b"]", b"")


def _described(kind: str, file: TextFile, *details: str) -> str:
    encoding = "" if file.encoding == UTF8 else f"in {file.encoding}"
    packed = "" if file.compression is None else f"compressed with {file.compression}"
    return ", ".join(part for part in (kind, *details, encoding, packed) if part)


# --- CSV ----------------------------------------------------------------------------------------
def _open_csv(
    file: TextFile,
    layout: FileLayout,
    known: Collection[Names],
    head: bytes,
    content: pa.NativeFile,
    position: Callable[[], int],
) -> LogFile:
    _refuse_json_options(file.path, layout, "CSV")
    dialect = find_dialect(
        head,
        whole=len(head) < BLOCK_BYTES,
        separator=layout.separator,
        names=layout.header or (),
        known=known,
    )
    if dialect is None:
        raise BadInput(
            f"{file.path} has no rows.", "Expected CSV with a header line, JSON or Parquet."
        )
    if "\ufffd" in "".join(dialect.names):
        with file.errors():
            head[: dialect.start].decode()
    names = list(dialect.names)
    fields = len(names) + dialect.ends_with_separator

    def read(chosen: Mapping[str, str], malformed: list[Malformed]) -> Iterator[Batch]:
        with csv_rows.csv_errors(file):
            content.read(dialect.start)
        wanted = {names.index(theirs): ours for theirs, ours in chosen.items()}
        return csv_rows.read_batches(
            file, content, fields, wanted, malformed, separator=dialect.separator
        )

    description = _described(_csv_kind(dialect), file)
    return LogFile(file.path, description, names, False, _read=read, _position=position)


def _csv_kind(dialect: Dialect) -> str:
    separator = _SEPARATOR_NAMES.get(dialect.separator, repr(dialect.separator))
    if not dialect.has_names:
        return f"CSV separated by {separator}, without column names"
    above = dialect.lines_above
    lines = f", {counted(above, 'line')} above the column names" if above else ""
    return f"CSV separated by {separator}{lines}"


# --- JSON ---------------------------------------------------------------------------------------
def _open_json(
    file: TextFile, layout: FileLayout, content: pa.NativeFile, position: Callable[[], int]
) -> LogFile:
    if layout.separator is not None or layout.header is not None:
        raise BadInput(f"{file.path} is JSON: separator and header are for CSV files.")
    records = tuple(layout.records.split(".")) if layout.records else ()
    rows = JsonRows(file, records, [tuple(path.split(".")) for path in layout.explode])
    if not rows.paths:
        raise BadInput(f"{file.path} has no JSON objects with values.", "Expected a log's rows.")

    def read(chosen: Mapping[str, str], malformed: list[Malformed]) -> Iterator[Batch]:
        return rows.batches(content, chosen, malformed)

    description = _described(rows.shape.kind, file)
    return LogFile(file.path, description, list(rows.paths), True, _read=read, _position=position)


def _refuse_json_options(path: Path, layout: FileLayout, kind: str) -> None:
    if layout.records is not None or layout.explode:
        raise BadInput(f"{path} is {kind}: records and explode are for JSON files.")


# --- Parquet ------------------------------------------------------------------------------------
def _open_parquet(path: Path, layout: FileLayout) -> LogFile:
    _refuse_json_options(path, layout, "Parquet")
    if layout.separator is not None or layout.header is not None or layout.encoding is not None:
        raise BadInput(f"{path} is Parquet: separator, header and encoding are for text.")
    rows = ParquetRows(path, PARQUET_BATCH_ROWS, dictionaries=True)
    columns = flattened_names(rows.schema)
    paths = dict(columns)

    def read(chosen: Mapping[str, str], malformed: list[Malformed]) -> Iterator[Batch]:
        plain = PlainColumns()
        tops = list(dict.fromkeys(paths[theirs][0] for theirs in chosen))
        for batch in rows.batches({top: top for top in tops}):
            found = [
                plain(flattened(batch.columns, paths[theirs]), theirs)
                for theirs, ours in chosen.items()
            ]
            yield Batch(pa.table(found, list(chosen.values())), batch.row_numbers)

    names = [name for name, _ in columns]
    return LogFile(path, "Parquet", names, False, _read=read, _position=rows.position)
