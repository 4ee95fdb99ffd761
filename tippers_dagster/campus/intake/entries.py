"""The journal of ingests: an entry per ingest, with the file, its options and the result."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tippers_dagster.campus.source.checks import require_columns
from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.campus.source.load import Load, load_transaction
from tippers_dagster.campus.source.schema import SPACES, require_own_source, source_tables
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.warehouse.engine import read_arrow, warehouse_engine
from tippers_dagster.settings import Settings

LOCK = "pg_advisory_xact_lock(hashtext('tippers.ingest'))"
_COLUMNS = (
    "ingest_id, kind, name, sha256, size, options::text AS options, rows, left_out, loaded, "
    "rejected, traced, first_start, last_start, ingested_at, redone_at, undone_at"
)

SESSION_KINDS = ("sessions", "observations", "log")
"""Kinds of ingests whose rows are sessions."""

Options = Mapping[str, object]
"""The options that a file was read with, as JSON."""


@dataclass(frozen=True)
class Ingested:
    """An entry of the journal: an ingest of a file, or a removal of spaces (without ``sha256``).

    ``options`` is None for ingests by earlier versions, which did not record them; ``traced``:
    whether the rows have its number; ``first_start`` and ``last_start``: the earliest and latest
    start of its sessions.
    """

    ingest_id: int
    kind: str
    name: str
    sha256: str | None
    size: int | None
    options: Options | None
    rows: int
    left_out: int
    loaded: int
    rejected: int
    traced: bool
    first_start: dt.datetime | None
    last_start: dt.datetime | None
    ingested_at: dt.datetime
    redone_at: dt.datetime | None
    undone_at: dt.datetime | None


@contextmanager
def journal_transaction(settings: Settings) -> Iterator[Load]:
    """A transaction on the source tables and the journal; only one runs at a time.

    Raises
    ------
    SourceError
        When the source is a campus's own database, or its tables do not match the settings.
    """
    require_own_source(settings)
    warehouse_engine(settings)
    create_source_schema(settings)
    for kind, table in source_tables(settings).items():
        require_columns(settings, kind, tuple(table.columns))
    with load_transaction(settings) as load:
        # Two ingests of the same file would both find that it is new.
        load.execute(f"SELECT {LOCK}::text")
        yield load


def list_ingests(settings: Settings, kinds: tuple[str, ...]) -> list[Ingested]:
    """The journal's entries of these kinds, in order."""
    among = ", ".join(f"'{kind}'" for kind in kinds)
    found = read_arrow(
        settings,
        f"SELECT {_COLUMNS} FROM tippers.ingested_file WHERE kind IN ({among}) ORDER BY ingest_id",
    )
    return [_ingested(row) for row in found.to_pylist()]


def find_ingest(load: Load, ingest_id: int) -> Ingested:
    """An entry of the journal; BadInput when there is none with this number."""
    found = load.execute(
        f"SELECT {_COLUMNS} FROM tippers.ingested_file WHERE ingest_id = {ingest_id:d}"
    ).to_pylist()
    if not found:
        raise BadInput(f"There is no ingest {ingest_id}.", "`tippers ingest list` shows them.")
    return _ingested(found[0])


def note_removal(load: Load, name: str, rows: int) -> int:
    """Add an entry to the journal for a removal of spaces; returns its number."""
    found = load.execute(
        "INSERT INTO tippers.ingested_file (kind, name, options, rows, loaded, rejected, traced) "
        f"VALUES ($1, $2, '{{}}', {rows:d}, {rows:d}, 0, true) RETURNING ingest_id",
        (SPACES, name),
    )
    return int(found["ingest_id"][0].as_py())


def describe_options(options: Options | None) -> str:
    """Options as text: ``gap_seconds 600; columns mac_address=MAC``."""
    parts = []
    for name, value in (options or {}).items():
        if isinstance(value, dict):
            value = ", ".join(f"{ours}={theirs}" for ours, theirs in value.items())
        if value:
            parts.append(f"{name} {value}")
    return "; ".join(parts) or ("unknown" if options is None else "none")


def note_ingest(
    load: Load,
    kind: str,
    path: Path,
    sha256: str,
    options: Options,
    again: int | None,
    *,
    name: str | None = None,
) -> int:
    """Add an entry for an ingest, or reset the entry ``again``; returns its number.

    ``name``: the file's, if it is not its path.
    """
    size = path.stat().st_size if path.is_file() else None
    values = (kind, name or str(path.absolute()), sha256, json.dumps(options))
    size_sql = "NULL" if size is None else f"{size:d}"
    if again is None:
        found = load.execute(
            "INSERT INTO tippers.ingested_file (kind, name, sha256, options, size, rows, loaded, "
            f"rejected, traced) VALUES ($1, $2, $3, $4::text::jsonb, {size_sql}, 0, 0, 0, true) "
            "RETURNING ingest_id",
            values,
        )
        return int(found["ingest_id"][0].as_py())
    load.execute(
        "UPDATE tippers.ingested_file SET kind = $1, name = $2, sha256 = $3, "
        f"options = $4::text::jsonb, size = {size_sql}, traced = true, redone_at = now(), "
        f"undone_at = NULL WHERE ingest_id = {again:d}",
        values,
    )
    return again


def same_content(
    load: Load, kind: str, sha256: str, replaces: bool, again: int | None
) -> Ingested | None:
    """The current ingest of this content other than ``again``, if there is one.

    Of sessions, however they were read: their rows would be loaded twice.
    """
    alike = SESSION_KINDS if kind in SESSION_KINDS else (kind,)
    kinds = ", ".join(f"'{one}'" for one in alike)
    newer = (
        "AND NOT EXISTS (SELECT FROM tippers.ingested_file n WHERE n.kind = f.kind "
        "AND n.undone_at IS NULL AND n.ingest_id > f.ingest_id)"
    )
    found = load.execute(
        f"SELECT {_COLUMNS} FROM tippers.ingested_file f WHERE sha256 = $1 AND kind IN ({kinds}) "
        f"AND undone_at IS NULL AND ingest_id <> {again or 0:d} {newer if replaces else ''} "
        "ORDER BY ingest_id DESC LIMIT 1",
        (sha256,),
    ).to_pylist()
    return _ingested(found[0]) if found else None


def same_options(earlier: Ingested, kind: str, options: Options) -> bool:
    """Whether an ingest was of this kind and used these options; options are assumed to be the same
    for ingests of earlier versions.
    """
    same = earlier.options is None or dict(earlier.options) == dict(options)
    return earlier.kind == kind and same


def _ingested(row: dict[str, Any]) -> Ingested:
    options = row.pop("options")
    return Ingested(options=None if options is None else json.loads(options), **row)
