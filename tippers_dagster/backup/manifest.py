"""What a backup contains: the manifest, which is checked in full before anything is read."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tippers_dagster.errors import LakeError, TippersError
from tippers_dagster.platform.lake.keys import check_key

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 512 << 20

_HASH = r"^[0-9a-f]{64}$"
_BASE_TYPES = frozenset(
    {
        *("bigint", "bit", "bit varying", "boolean", "bytea", "character", "character varying"),
        *("cidr", "date", "double precision", "inet", "integer", "interval", "json", "jsonb"),
        *("macaddr", "macaddr8", "name", "numeric", "oid", "real", "smallint", "text", "uuid"),
        *("time without time zone", "time with time zone", "xml"),
        *("timestamp without time zone", "timestamp with time zone"),
    }
)
_TYPE = re.compile(
    r"([a-z0-9 ]+?)(\(\d{1,9}(?:,-?\d{1,9})?\))?( (?:without|with) time zone)?(\[\])?"
)


class BackupError(TippersError):
    """A backup cannot be made, read or restored."""


def is_known_type(name: str) -> bool:
    """Whether this is a type that a restored table may have, as PostgreSQL writes it."""
    match = _TYPE.fullmatch(name)
    return match is not None and f"{match[1]}{match[3] or ''}" in _BASE_TYPES


def _known_type(value: str) -> str:
    if not is_known_type(value):
        raise ValueError("not a type of PostgreSQL's own")
    return value


def _lake_key(value: str) -> str:
    try:
        return check_key(value)
    except LakeError as error:
        raise ValueError(error.message) from None


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Name = Annotated[str, Field(min_length=1, max_length=63)]
Size = Annotated[int, Field(ge=0)]


class Column(_Part):
    """A column of a table that no migration creates."""

    name: Name
    type: Annotated[str, AfterValidator(_known_type)]
    required: bool = False
    comment: str | None = None


class Index(_Part):
    """An index on columns."""

    columns: Annotated[list[Name], Field(min_length=1)]
    unique: bool = False
    primary: bool = False


class Shape(_Part):
    """How to create a table that no migration creates."""

    columns: list[Column]
    indexes: list[Index]
    comment: str | None = None


class TableCopy(_Part):
    """The rows of a table, as PostgreSQL's COPY writes them, compressed.

    ``text_bytes``: their size before compression. ``token``: what the table's rows were known as
    (``automation.tokens``).
    """

    place: tuple[Name, Name]
    file: Annotated[str, Field(pattern=r"^(warehouse|dagster|mlflow)/\d{4,6}\.copy\.zst$")]
    columns: list[Name]
    rows: Size
    text_bytes: Size
    bytes: Size
    sha256: Annotated[str, Field(pattern=_HASH)]
    shape: Shape | None = None
    token: str | None = None


class SequenceCopy(_Part):
    """The last value of the sequence that numbers a column."""

    place: tuple[Name, Name]
    column: Name
    last_value: int
    is_called: bool


class DatabaseCopy(_Part):
    """A database; ``revision``: of the tables that its migrations create."""

    revision: Annotated[str, Field(pattern=r"^[0-9A-Za-z_]{1,64}$")]
    tables: list[TableCopy]
    sequences: list[SequenceCopy]
    left_out: list[str] = []


class FileCopy(_Part):
    """A file of the lake, or of MLflow's artifacts."""

    key: Annotated[str, AfterValidator(_lake_key)]
    bytes: Size
    sha256: Annotated[str, Field(pattern=_HASH)]


class Void(_Part):
    """What was replaced just while the backup was made: its records are void after a restore.

    ``partitions``: asset and chunk. ``labelled``: labelled occupancy and chunk.
    """

    partitions: list[tuple[str, str]] = []
    labelled: list[tuple[str, str]] = []
    assets: list[str] = []


class Manifest(_Part):
    """Everything in a backup but its keys.

    ``format`` is raised when earlier versions cannot restore what is written.
    """

    format: Literal[1] = 1
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    version: str
    made_at: Annotated[dt.datetime, Field(strict=False)]
    settings: dict[str, Any]
    key_print: Annotated[str, Field(pattern=_HASH)]
    keys: Literal["none", "readable", "encrypted"]
    warehouse: DatabaseCopy
    dagster: DatabaseCopy
    mlflow: DatabaseCopy | None
    lake_uri: str
    artifacts_root: str
    lake: list[FileCopy]
    artifacts: list[FileCopy] | None = None
    void: Void

    @property
    def databases(self) -> dict[str, DatabaseCopy]:
        """The databases by name."""
        found = {"warehouse": self.warehouse, "dagster": self.dagster, "mlflow": self.mlflow}
        return {name: database for name, database in found.items() if database is not None}

    @property
    def files(self) -> dict[str, tuple[int, str]]:
        """Size and SHA-256 of every file by its path in the backup."""
        found = {
            table.file: (table.bytes, table.sha256)
            for database in self.databases.values()
            for table in database.tables
        }
        for folder, copies in (("lake", self.lake), ("artifacts", self.artifacts or [])):
            found |= {f"{folder}/{copy.key}": (copy.bytes, copy.sha256) for copy in copies}
        return found


def parse_manifest(text: bytes) -> Manifest:
    """The manifest of a backup.

    Raises
    ------
    BackupError
        When it is damaged, of a newer format, or names what no backup contains.
    """
    try:
        return Manifest.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise BackupError(
            f"{MANIFEST} of the backup cannot be used: {place}: {first['msg']}.",
            "It is damaged, or was written by a newer version. Use another backup.",
        ) from None
