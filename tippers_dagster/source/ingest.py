"""Files of the source's columns into the source tables.

Sessions are appended. Spaces update those of the same id. Of the other tables, a file's rows
replace all stored rows of the same room, person or region.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.errors import BadInput, SourceError
from tippers_dagster.settings import SESSION_COLUMNS, SPACE_COLUMNS, Settings
from tippers_dagster.source import clean
from tippers_dagster.source.clean import Checks
from tippers_dagster.source.files import InputFile, Progress, file_sha256, open_rows
from tippers_dagster.source.journal import Ingest, IngestReport, begin_ingest
from tippers_dagster.source.load import create_session_indexes, prepare_bulk_load
from tippers_dagster.source.schema import (
    FACULTY_DATA,
    REGION_TO_COVERAGE,
    SESSIONS,
    SPACE_METADATA,
    SPACES,
    SourceTable,
    source_tables,
)
from tippers_dagster.spaces.tree import SpaceTree

KINDS = (SPACES, SESSIONS, SPACE_METADATA, FACULTY_DATA, REGION_TO_COVERAGE)
"""What ``ingest_file`` knows."""

_UNFIT_IN_A_KEY = r"[\x00-\x1f\x7f|,]|\.\.\."
# A percentage, or a share; anything that float() takes, but no hexadecimal, infinity or NaN.
_NUMBER = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?$"


@dataclass(frozen=True)
class _Reference:
    """How a small table is checked and replaced: ``key`` is the column whose rows a file owns."""

    key: str
    needed: tuple[str, ...]


_REFERENCES = {
    SPACE_METADATA: _Reference("roomid", ("roomid",)),
    FACULTY_DATA: _Reference("name", ("name", "office")),
    REGION_TO_COVERAGE: _Reference("region_id", ("region_id", "sensor")),
}


def ingest_file(
    settings: Settings, kind: str, path: Path, progress: Progress | None = None
) -> IngestReport:
    """Load a CSV or Parquet file into one of the source tables, whole or not at all.

    Parameters
    ----------
    settings
        Whose source tables are written.
    kind
        One of ``KINDS``.
    path
        The file; its columns are those of the table, in any order, others are ignored.
    progress
        Called with bytes done and bytes in all.

    Raises
    ------
    BadInput
        When the file, or every row of it, cannot be used, or the spaces would be no tree.
    SourceError
        When the source is a deployment's own database.
    """
    table = source_tables(settings)[kind]
    sha256 = file_sha256(path)
    with (
        open_rows(path, table.columns) as file,
        begin_ingest(settings, kind, path, sha256, replaces=kind != SESSIONS) as ingest,
    ):
        ingest.report.ignored = file.ignored
        if not ingest.report.already:
            _LOADERS[kind](ingest, table, file, progress)
            ingest.reject_malformed(file.malformed)
    return ingest.report


def begin_sessions(ingest: Ingest, expected_rows: int) -> None:
    """What comes before the first append of an ingest's sessions."""
    prepare_bulk_load(ingest.load, ingest.settings, expected_rows)


def append_sessions(ingest: Ingest, sessions: pa.Table) -> None:
    """Append clean sessions (the columns and types of the session table)."""
    table = source_tables(ingest.settings)[SESSIONS]
    ingest.report.loaded += ingest.load.copy_in(table, sessions.select(list(SESSION_COLUMNS)))


def finish_sessions(ingest: Ingest) -> None:
    """What follows the last append of an ingest's sessions."""
    if ingest.report.loaded:
        create_session_indexes(ingest.load, ingest.settings)


def merge_spaces(ingest: Ingest, spaces: pa.Table) -> None:
    """Insert or update spaces (all text, ids unique), if the whole is a forest afterwards.

    Raises
    ------
    BadInput
        Naming the spaces whose parent is missing, or that are their own ancestors.
    """
    table = source_tables(ingest.settings)[SPACES]
    columns = ", ".join(table.column(name) for name in SPACE_COLUMNS)
    stored = ingest.load.execute(f"SELECT {columns} FROM {table.sql}").rename_columns(SPACE_COLUMNS)
    kept = stored.filter(pc.invert(pc.is_in(stored["space_id"], spaces["space_id"])))
    try:
        SpaceTree.from_table(pa.concat_tables([kept, spaces.cast(kept.schema)]))
    except SourceError as error:
        raise BadInput(f"{ingest.path}: {error.message}", error.hint) from error
    changed = _upsert(ingest, table, spaces)
    new = spaces.num_rows - (stored.num_rows - kept.num_rows)
    ingest.report.loaded += changed
    ingest.report.details |= {
        "new": f"{new:,}",
        "changed": f"{changed - new:,}",
        "unchanged": f"{spaces.num_rows - changed:,}",
    }


def replace_rows(ingest: Ingest, table: SourceTable, key: str, rows: pa.Table) -> int:
    """Delete the stored rows with a key of ``rows``, and insert ``rows``; returns their number."""
    staged = f"tippers_staged_{table.kind}"
    ingest.load.stage(staged, rows)
    ingest.load.execute(
        f"DELETE FROM {table.sql} WHERE {table.column(key)} IN (SELECT {key} FROM {staged})"
    )
    return ingest.load.copy_in(table, rows)


# --- the loaders ----------------------------------------------------------------------------
def _load_sessions(
    ingest: Ingest, table: SourceTable, file: InputFile, progress: Progress | None
) -> None:
    limits = ingest.settings.plausible_range()
    begin_sessions(ingest, file.expected_rows)
    for batch in file.batches(progress):
        checks = Checks(batch.columns.num_rows)
        ids = {
            name: clean.text(batch.columns[name], name)
            for name in ("mac_address", "sensor_id", "space_id")
        }
        checks.reject(clean.is_null(ids["mac_address"]), clean.NO_DEVICE)
        checks.reject(clean.is_null(ids["space_id"]), clean.NO_SPACE)
        for name, column in ids.items():
            clean.check_text(checks, column, name)
        times = {}
        for name in ("start_time", "end_time"):
            raw = batch.columns[name]
            if name == "start_time":
                checks.reject(clean.is_null(raw), "no start_time")
            times[name] = clean.local_times(checks, raw, name)
            clean.check_plausible(checks, times[name], name, limits)
        clean.check_length(checks, times["start_time"], times["end_time"], ingest.settings)
        ingest.report.rows += batch.columns.num_rows
        ingest.reject(batch.columns, batch.row_numbers, checks)
        append_sessions(ingest, pa.table(ids | times).filter(pa.array(checks.good)))
    finish_sessions(ingest)


def _load_spaces(
    ingest: Ingest, table: SourceTable, file: InputFile, progress: Progress | None
) -> None:
    batches = list(file.batches(progress))
    if not batches:
        return
    raw = pa.concat_tables([batch.columns for batch in batches])
    numbers = np.concatenate([batch.row_numbers for batch in batches])
    spaces = pa.table({name: clean.text(raw[name], name) for name in SPACE_COLUMNS})
    checks = Checks(raw.num_rows)
    ids = spaces["space_id"]
    checks.reject(clean.is_null(ids), clean.NO_SPACE)
    for name in SPACE_COLUMNS:
        clean.check_text(checks, spaces[name], name)
    unfit = pc.fill_null(pc.match_substring_regex(ids, _UNFIT_IN_A_KEY), False).to_numpy()
    checks.reject(unfit, "space_id has a control character, '|', ',' or '...'")
    checks.reject(_again_later(ids), "space_id occurs again later in the file, which counts")
    ingest.report.rows += raw.num_rows
    ingest.reject(raw, numbers, checks)
    if checks.good.any():
        merge_spaces(ingest, spaces.filter(pa.array(checks.good)).combine_chunks())


def _load_reference(
    ingest: Ingest, table: SourceTable, file: InputFile, progress: Progress | None
) -> None:
    reference = _REFERENCES[table.kind]
    good: list[pa.Table] = []
    for batch in file.batches(progress):
        checks = Checks(batch.columns.num_rows)
        columns = {}
        for name, kind in table.types.items():
            raw = batch.columns[name]
            is_number = kind == pa.float64()
            columns[name] = _numbers(checks, raw, name) if is_number else clean.text(raw, name)
            if name in reference.needed:
                checks.reject(clean.is_null(columns[name]), f"no {name}")
            if not is_number:
                clean.check_text(checks, columns[name], name)
        ingest.report.rows += batch.columns.num_rows
        ingest.reject(batch.columns, batch.row_numbers, checks)
        good.append(pa.table(columns).filter(pa.array(checks.good)))
    if good:
        ingest.report.loaded += replace_rows(ingest, table, reference.key, pa.concat_tables(good))


_LOADERS: dict[str, Callable[[Ingest, SourceTable, InputFile, Progress | None], None]] = {
    SESSIONS: _load_sessions,
    SPACES: _load_spaces,
    **dict.fromkeys(_REFERENCES, _load_reference),
}


def _upsert(ingest: Ingest, table: SourceTable, spaces: pa.Table) -> int:
    """Returns how many spaces are new or changed."""
    staged = "tippers_staged_space"
    ingest.load.stage(staged, spaces)
    names = [table.column(name) for name in SPACE_COLUMNS]
    values = ", ".join(names[1:])
    excluded = ", ".join(f"excluded.{name}" for name in names[1:])
    stored = ", ".join(f"s.{name}" for name in names[1:])
    changed = ingest.load.execute(
        f"WITH written AS (INSERT INTO {table.sql} AS s ({', '.join(names)}) "
        f"SELECT {', '.join(SPACE_COLUMNS)} FROM {staged} ON CONFLICT ({names[0]}) DO UPDATE "
        f"SET ({values}) = ({excluded}) WHERE ({stored}) IS DISTINCT FROM ({excluded}) "
        "RETURNING 1) SELECT count(*) FROM written"
    )
    return changed.column(0)[0].as_py()


def _again_later(ids: pa.ChunkedArray) -> clean.Mask:
    """The rows whose id also has a later row."""
    codes = pc.fill_null(ids, "").combine_chunks().dictionary_encode().indices.to_numpy()
    _, last = np.unique(codes[::-1], return_index=True)
    again = np.ones(len(codes), bool)
    again[len(codes) - 1 - last] = False
    return again


def _numbers(checks: Checks, column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """A column as float64; text that is no number is rejected."""
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        values = column.cast(pa.float64(), safe=False)  # large whole numbers lose their last digits
        checks.reject(
            pc.fill_null(pc.invert(pc.is_finite(values)), False).to_numpy(), f"{name} is no number"
        )
        return values
    words = clean.text(column, name)
    readable = pc.match_substring_regex(words, _NUMBER)
    checks.reject(pc.fill_null(pc.invert(readable), False).to_numpy(), f"{name} is no number")
    return pc.if_else(readable, words, pa.scalar(None, pa.string())).cast(pa.float64())
