"""Loads files into the source tables.

Sessions are appended. Spaces replace those with the same id. In the other tables, a file's rows
replace all stored rows of the same room, person, region or vendor prefix. Every ingest can be
undone (:mod:`tippers_dagster.campus.intake.undo`) and repeated with other options.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.campus.devices import normalised_prefixes
from tippers_dagster.campus.intake.entries import Options, journal_transaction, note_removal
from tippers_dagster.campus.intake.files import (
    Batch,
    InputFile,
    Progress,
    file_sha256,
    named_columns,
    open_rows,
)
from tippers_dagster.campus.intake.journal import Ingest, IngestReport, begin_ingest
from tippers_dagster.campus.intake.layers import remove_keys, write_layer
from tippers_dagster.campus.intake.log import load_log, session_mapping
from tippers_dagster.campus.intake.undo import check_tree
from tippers_dagster.campus.log import texts
from tippers_dagster.campus.log.checks import Checks, Mask
from tippers_dagster.campus.log.times import Order
from tippers_dagster.campus.source.schema import (
    FACULTY_DATA,
    REGION_TO_COVERAGE,
    SESSIONS,
    SPACE_METADATA,
    SPACES,
    VENDOR_PREFIXES,
    SourceTable,
    in_warehouse,
    loaded_tables,
    source_tables,
)
from tippers_dagster.campus.space_ids import why_each_unusable
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import SPACE_COLUMNS, Settings

KINDS = (SPACES, SESSIONS, SPACE_METADATA, FACULTY_DATA, REGION_TO_COVERAGE, VENDOR_PREFIXES)
"""Kinds of files for ``ingest_file``."""

_OTHER_NAMES = {VENDOR_PREFIXES: {"prefix": "Assignment", "maker": "Organization Name"}}
"""What published files call our columns: the IEEE registry (oui.csv)."""

# Anything that float() accepts, except hexadecimal numbers, infinity and NaN.
_NUMBER = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?$"


_NEEDED = {
    SPACE_METADATA: ("roomid",),
    FACULTY_DATA: ("name", "office"),
    REGION_TO_COVERAGE: ("region_id", "sensor"),
}
"""Columns of the small tables that must not be empty."""


@dataclass(frozen=True)
class FileOptions:
    """Options for reading a file.

    ``columns`` maps the source tables' column names to the file's, if these differ. ``timezone`` is
    the IANA zone of a session file's local times; default: the deployment's. ``order``: of day and
    month in its times, if these leave it open.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    timezone: str | None = None
    order: Order | None = None

    def as_json(self) -> Options:
        """For the journal: options that differ from the defaults."""
        columns = {"columns": dict(self.columns)} if self.columns else {}
        others = {"timezone": self.timezone, "order": self.order}
        return columns | {name: value for name, value in others.items() if value}


def ingest_file(
    settings: Settings,
    kind: str,
    path: Path,
    progress: Progress | None = None,
    options: FileOptions = FileOptions(),
    *,
    again: int | None = None,
) -> IngestReport:
    """Load a CSV or Parquet file into one of the source tables, completely or not at all.

    Parameters
    ----------
    settings
        The deployment's settings.
    kind
        One of ``KINDS``.
    path
        The file, with the table's columns in any order; other columns are ignored.
    progress
        Called with the bytes read and the size of the file.
    options
        How to read the file.
    again
        The number of the ingest that this one replaces.

    Raises
    ------
    BadInput
        When the file or all its rows are unusable, or the spaces would not form a tree.
    SourceError
        When the source is a campus's own database, except for vendor prefixes.
    """
    if kind == VENDOR_PREFIXES:
        settings = in_warehouse(settings)
    table = loaded_tables(settings)[kind]
    if (options.timezone or options.order) and kind != SESSIONS:
        raise BadInput(
            "--timezone, --day-first and --month-first apply only to files of sessions and "
            "observations."
        )
    known = {**table.columns, **_OTHER_NAMES.get(kind, {})}
    named = named_columns(known, options.columns)
    wanted = {named[ours] if ours in options.columns else ours: ours for ours in named}
    if len(wanted) < len(named):
        raise BadInput(
            "Two columns are mapped to the same column of the file.",
            "Map each to a different column.",
        )
    if kind == SESSIONS:
        mapping = session_mapping(named, options.timezone, options.order)
        return load_log(settings, SESSIONS, path, mapping, options.as_json(), progress, again=again)
    sha256 = file_sha256(path)
    noted = options.as_json()
    with (
        open_rows(path, {theirs: named[ours] for theirs, ours in wanted.items()}) as opened,
        begin_ingest(
            settings, kind, path, sha256, noted, replaces=kind != SESSIONS, again=again
        ) as ingest,
    ):
        ingest.report.ignored = opened.ignored
        if ingest.report.already:
            return ingest.report
        file = _Renamed(opened, wanted)
        if kind == SPACES:
            _load_spaces(ingest, file, progress)
        elif kind == VENDOR_PREFIXES:
            _load_vendor_prefixes(ingest, table, file, progress)
        else:
            _load_reference(ingest, table, file, progress)
        ingest.reject_malformed(opened.malformed)
    return ingest.report


@dataclass(frozen=True)
class _Renamed:
    """An open file whose columns are renamed; ``ours`` maps the file's names to the table's."""

    file: InputFile
    ours: Mapping[str, str]

    def batches(self, progress: Progress | None) -> Iterator[Batch]:
        """The rows, in the file's order."""
        for batch in self.file.batches(progress):
            names = [self.ours[name] for name in batch.columns.column_names]
            yield Batch(batch.columns.rename_columns(names), batch.row_numbers)


def merge_spaces(ingest: Ingest, spaces: pa.Table) -> None:
    """Insert or update spaces (all text, unique ids), if all spaces then form a forest.

    Raises
    ------
    BadInput
        Names the spaces whose parent is missing, or that are their own ancestors.
    """
    table, staged = source_tables(ingest.settings)[SPACES], "tippers_staged_space"
    ingest.load.stage(staged, spaces)
    found = ingest.load.execute(
        f"SELECT count(*) FROM {staged} WHERE space_id NOT IN "
        f"(SELECT {table.column('space_id')} FROM {table.sql})"
    )
    new = found.column(0)[0].as_py()
    changed = write_layer(ingest.load, table, ingest.ingest_id, staged)
    check_tree(ingest.settings, ingest.load, str(ingest.path))
    ingest.report.loaded += changed
    ingest.report.details |= {
        "new": f"{new:,}",
        "changed": f"{changed - new:,}",
        "unchanged": f"{spaces.num_rows - changed:,}",
    }


def remove_spaces(settings: Settings, space: str, ids: list[str]) -> int:
    """Remove spaces from the space table; returns the number of this change in the journal.

    Parameters
    ----------
    space
        The top space, for the journal.
    ids
        All spaces to remove: the top space and all below it.

    Raises
    ------
    BadInput
        When other spaces would lose their parent.
    SourceError
        When the source is a campus's own database.
    """
    table, staged = source_tables(settings)[SPACES], "tippers_staged_space"
    with journal_transaction(settings) as load:
        number = note_removal(load, f"removal of {space}", len(ids))
        load.stage(staged, pa.table({"space_id": pa.array(ids, pa.string())}))
        remove_keys(load, table, number, staged)
        check_tree(settings, load, f"Removing {space}")
    return number


def replace_rows(ingest: Ingest, table: SourceTable, rows: pa.Table) -> int:
    """Replace the stored rows with the keys of ``rows``; returns the number of ``rows``."""
    staged = f"tippers_staged_{table.kind}"
    ingest.load.stage(staged, rows)
    write_layer(ingest.load, table, ingest.ingest_id, staged)
    return rows.num_rows


# --- the loaders ----------------------------------------------------------------------------
def _load_spaces(ingest: Ingest, file: _Renamed, progress: Progress | None) -> None:
    batches = list(file.batches(progress))
    if not batches:
        return
    raw, numbers = _joined(batches)
    spaces = pa.table({name: texts.text(raw[name], name) for name in SPACE_COLUMNS})
    checks = Checks(raw.num_rows)
    ids = spaces["space_id"]
    for name in SPACE_COLUMNS:
        texts.check_text(checks, spaces[name], name)
    why = why_each_unusable(ids.to_pylist(), spaces["parent_space_id"].to_pylist())
    unusable = np.array([reason is not None for reason in why], bool)
    checks.reject_each(unusable, np.arange(len(why)), [reason or "" for reason in why])
    checks.reject(_has_later_row(ids), "a later row of the file has the same space_id")
    ingest.report.rows += raw.num_rows
    ingest.reject(raw, numbers, checks)
    if checks.good.any():
        merge_spaces(ingest, spaces.filter(pa.array(checks.good)).combine_chunks())


def _load_reference(
    ingest: Ingest, table: SourceTable, file: _Renamed, progress: Progress | None
) -> None:
    good: list[pa.Table] = []
    for batch in file.batches(progress):
        checks = Checks(batch.columns.num_rows)
        columns = {}
        for name, kind in table.types.items():
            raw = batch.columns[name]
            is_number = kind == pa.float64()
            columns[name] = _numbers(checks, raw, name) if is_number else texts.text(raw, name)
            if name in _NEEDED[table.kind]:
                checks.reject(texts.is_null(columns[name]), f"no {name}")
            if not is_number:
                texts.check_text(checks, columns[name], name)
        ingest.report.rows += batch.columns.num_rows
        ingest.reject(batch.columns, batch.row_numbers, checks)
        good.append(pa.table(columns).filter(pa.array(checks.good)))
    if good:
        ingest.report.loaded += replace_rows(ingest, table, pa.concat_tables(good))


def _load_vendor_prefixes(
    ingest: Ingest, table: SourceTable, file: _Renamed, progress: Progress | None
) -> None:
    batches = list(file.batches(progress))
    if not batches:
        return
    raw, numbers = _joined(batches)
    given, makers = (texts.text(raw[name], name) for name in ("prefix", "maker"))
    prefixes = normalised_prefixes(given)
    checks = Checks(raw.num_rows)
    checks.reject(texts.is_null(given), "no prefix")
    checks.reject(texts.is_null(prefixes), "prefix is not three octets")
    checks.reject(texts.is_null(makers), "no maker")
    texts.check_text(checks, makers, "maker")
    usable = pc.if_else(pa.array(checks.good), prefixes, pa.scalar(None, pa.string()))
    checks.reject(_has_later_row(usable), "a later row of the file has the same prefix")
    ingest.report.rows += raw.num_rows
    ingest.reject(raw, numbers, checks)
    rows = pa.table({"prefix": prefixes, "maker": makers}).filter(pa.array(checks.good))
    if rows.num_rows:
        ingest.report.loaded += replace_rows(ingest, table, rows)


def _joined(batches: list[Batch]) -> tuple[pa.Table, NDArray[np.int64]]:
    """The rows of all batches, and their numbers."""
    columns = pa.concat_tables([batch.columns for batch in batches])
    return columns, np.concatenate([batch.row_numbers for batch in batches])


def _has_later_row(ids: pa.ChunkedArray) -> Mask:
    """Whether a later row has the same id."""
    codes = pc.fill_null(ids, "").combine_chunks().dictionary_encode().indices.to_numpy()
    _, last = np.unique(codes[::-1], return_index=True)
    repeated = np.ones(len(codes), bool)
    repeated[len(codes) - 1 - last] = False
    return repeated


def _numbers(checks: Checks, column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """A column as float64; text that is not a number is rejected."""
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        numbers = column.cast(pa.float64(), safe=False)  # large integers lose their last digits
        checks.reject(
            pc.fill_null(pc.invert(pc.is_finite(numbers)), False).to_numpy(),
            f"{name} is not a number",
        )
        return numbers
    values = texts.text(column, name)
    readable = pc.match_substring_regex(values, _NUMBER)
    checks.reject(pc.fill_null(pc.invert(readable), False).to_numpy(), f"{name} is not a number")
    return pc.if_else(readable, values, pa.scalar(None, pa.string())).cast(pa.float64())
