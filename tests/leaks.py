"""Searches everything that a deployment stores (databases, files, exports) for known values."""

from __future__ import annotations

import base64
import gzip
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

import psycopg2
import pyarrow.parquet as pq
from psycopg2 import sql

_TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'p') AND NOT c.relisshared AND n.nspname !~ '^pg_(toast|temp)'
ORDER BY 1, 2
"""
_SHARED = "SELECT relname FROM pg_class WHERE relisshared AND relkind = 'r' ORDER BY 1"


@dataclass(frozen=True, order=True)
class Leak:
    """A known value that was found: its name, the place, and the surrounding bytes."""

    name: str
    place: str
    around: str


class Wanted:
    """The values to search for, in every encoding in which they could be stored."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._forms = {form: name for name, value in values.items() for form in _forms(value)}

    def leaks(self, place: str, content: bytes) -> Iterator[Leak]:
        """The first occurrence of each form in some content."""
        for form, name in self._forms.items():
            at = content.find(form)
            if at >= 0:
                around = content[max(0, at - 60) : at + len(form) + 60]
                yield Leak(name, place, around.decode(errors="replace"))


def _forms(value: str) -> set[bytes]:
    """A value plain, in URLs, JSON, hexadecimal and base64 at any offset; addresses also bare."""
    raw = value.encode()
    texts = {value, quote(value), quote(value, safe=""), quote_plus(value)}
    texts |= {value.encode("unicode_escape").decode(), raw.hex()}
    for offset in range(3):
        # Without the ends, which also encode the neighbouring bytes.
        encoded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")[offset + 1 : -1]
        texts |= {encoded, encoded.translate(str.maketrans("+/", "-_"))}
    if re.fullmatch("([0-9a-f]{2}:){4,5}[0-9a-f]{2}", value):
        bare = value.replace(":", "")
        texts |= {bare, value.replace(":", "-")}
        texts |= {text.upper() for text in (value, bare, value.replace(":", "-"))}
    return {text.encode() for text in texts}


def database_leaks(url: str, wanted: Wanted) -> Iterator[Leak]:
    """Leaks in all rows of all tables of a database, including its catalogue."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(_TABLES)
        for schema, table in cursor.fetchall():
            name = sql.Identifier(schema, table)
            yield from wanted.leaks(f"{schema}.{table}", _copied(cursor, name))


def server_leaks(url: str, wanted: Wanted) -> Iterator[Leak]:
    """Leaks in the tables that a server's databases share: roles, settings, comments."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(_SHARED)
        for (table,) in cursor.fetchall():
            yield from wanted.leaks(f"server.{table}", _copied(cursor, sql.Identifier(table)))


def _copied(cursor: psycopg2.extensions.cursor, table: sql.Identifier) -> bytes:
    """All rows as text; binary values also as bytes."""
    target = io.BytesIO()
    query = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT").format(table).as_string(cursor)
    cursor.copy_expert(query, target)
    rows = target.getvalue()
    binary = (
        bytes.fromhex(found.decode()) for found in re.findall(rb"\\\\x((?:[0-9a-f]{2})+)", rows)
    )
    return b"\n".join([rows, *binary])


def folder_leaks(folder: Path, wanted: Wanted, skipped: Iterable[str] = ()) -> Iterator[Leak]:
    """Leaks in all files below a folder, unpacked if necessary, and in their names.

    Parameters
    ----------
    skipped
        Names of subfolders to skip.
    """
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if place.parts[0] in skipped:
            continue
        yield from wanted.leaks(f"name of {place}", str(place).encode())
        if path.is_file() and not path.is_symlink():
            for content in unpacked(path.read_bytes()):
                yield from wanted.leaks(str(place), content)


def unpacked(content: bytes) -> Iterator[bytes]:
    """A file's bytes, and its content if it is gzip, zip or Parquet."""
    yield content
    if content.startswith(b"\x1f\x8b"):
        yield from unpacked(gzip.decompress(content))
    elif content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield from unpacked(archive.read(name))
    elif content.startswith(b"PAR1"):
        with closing(pq.ParquetFile(io.BytesIO(content))) as file:
            yield repr(file.schema_arrow.metadata).encode()
            for batch in file.iter_batches():
                for column in batch.columns:
                    # Text and binary data in memory, including lists and dictionaries.
                    yield b"\n".join(bytes(b) for b in column.buffers() if b is not None)
                    with suppress(AttributeError):
                        yield b"\n".join(
                            bytes(b) for b in column.dictionary.buffers() if b is not None
                        )
