"""Detects a file's format from its first bytes, not from its name."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Literal

from tippers_dagster.errors import BadInput

HEAD_BYTES = 16
"""Bytes needed to detect a format."""

Compression = Literal["gzip", "zstd", "bz2", "lz4"]

UTF8 = "utf-8"
UTF16 = "utf-16"
"""With a byte order mark."""

_PARQUET = b"PAR1"
_COMPRESSIONS: dict[bytes, Compression] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bz2",
    b"\x04\x22\x4d\x18": "lz4",
}
_SAVE_AS_UTF8 = "Save it again as UTF-8."
_AS_CSV = "Save it as CSV in UTF-8, or as Parquet."
_OTHERS = {
    codecs.BOM_UTF32_LE: ("UTF-32, not UTF-8", _SAVE_AS_UTF8),
    codecs.BOM_UTF32_BE: ("UTF-32, not UTF-8", _SAVE_AS_UTF8),
    codecs.BOM_UTF16_LE: ("UTF-16, not UTF-8", _SAVE_AS_UTF8),
    codecs.BOM_UTF16_BE: ("UTF-16, not UTF-8", _SAVE_AS_UTF8),
    b"PK\x03\x04": ("a zip archive or a workbook (.xlsx)", f"Unpack the archive. {_AS_CSV}"),
    b"\xd0\xcf\x11\xe0": ("a workbook (.xls)", _AS_CSV),
    b"\xfd7zXZ": ("compressed with xz", "Compress it with gzip or zstd, or not at all."),
    b"7z\xbc\xaf": ("a 7-Zip archive", "Unpack it."),
    b"Rar!": ("a RAR archive", "Unpack it."),
    b"SQLite format 3": ("an SQLite database", "Add it as a connection, or export its tables."),
    b"ARROW1": ("an Arrow (Feather) file", _AS_CSV),
    b"Obj\x01": ("an Avro file", _AS_CSV),
    b"ORC": ("an ORC file", _AS_CSV),
    b"%PDF": ("a PDF", _AS_CSV),
}


@dataclass(frozen=True)
class TableFormat:
    """Parquet, or CSV with or without compression."""

    is_csv: bool
    compression: Compression | None = None
    encoding: str = UTF8
    """That of CSV as far as the file's first bytes show it."""


def table_format(head: bytes, name: object, *, utf16: bool = False) -> TableFormat:
    """The format of a table file, detected from its first ``HEAD_BYTES`` bytes.

    Parameters
    ----------
    head
        The bytes.
    name
        The file's name, for messages. A file named ``.parquet`` must be Parquet.
    utf16
        Whether the caller can read UTF-16.

    Raises
    ------
    BadInput
        When the format is not supported; names it, and says what to do.
    """
    if head.startswith(_PARQUET):
        return TableFormat(is_csv=False)
    is_utf16 = encoding_of(head) == UTF16
    for magic, (what, hint) in _OTHERS.items():
        if head.startswith(magic) and not (utf16 and is_utf16):
            raise BadInput(f"{name} is {what}.", hint)
    if str(name).lower().endswith((".parquet", ".pq")):
        raise BadInput(
            f"{name} is not a Parquet file: it does not begin with PAR1.",
            "Does it have the wrong extension, or was the transfer interrupted?",
        )
    if not head:
        raise BadInput(f"{name} is empty.", "Expected a header line and rows.")
    found = (c for magic, c in _COMPRESSIONS.items() if head.startswith(magic))
    return TableFormat(True, next(found, None), UTF16 if is_utf16 else UTF8)


def encoding_of(head: bytes) -> str:
    """UTF-16 if text begins with that byte order mark, else UTF-8."""
    is_utf32 = head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE))
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return UTF16 if head.startswith(marks) and not is_utf32 else UTF8
