"""One ingest: a transaction that loads rows, stores rejected rows and records the file.

Everything is committed together or not at all; an interrupted ingest leaves nothing. Sessions have
the number of their ingest. For tables whose rows files replace, ``ingest_layer`` keeps the rows
that each ingest wrote per key (see ``campus.intake.layers``). So an ingest can be undone even after
later ones.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tippers_dagster.campus.intake.entries import (
    Options,
    describe_options,
    find_ingest,
    journal_transaction,
    note_ingest,
    same_content,
    same_options,
)
from tippers_dagster.campus.intake.files import Malformed
from tippers_dagster.campus.intake.undo import Undone, remove_ingests
from tippers_dagster.campus.log.checks import Checks
from tippers_dagster.campus.log.kept_rows import storable
from tippers_dagster.campus.source.load import Load
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.text import NUL
from tippers_dagster.settings import Settings

_REJECTS = "tippers_staged_reject"


@dataclass
class IngestReport:
    """The result of an ingest.

    ``rows`` were read, of which the mapping of a log leaves out ``left_out``; ``rejected`` counts
    rows by reason; ``loaded`` were written (for observations: sessions); ``already``: this content
    was ingested before, at ``when``, and nothing was done. ``details`` has further figures by name,
    ``ignored`` the unused columns of the file. ``ingest_id`` is the number in the journal;
    ``dates`` are the local dates that added and removed sessions may touch; ``unplaced`` counts
    loaded sessions by space, for spaces that do not exist; ``unknown_access_points`` counts
    rejected rows by access point, for those that cover no space.
    """

    rows: int = 0
    left_out: int = 0
    loaded: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    already: bool = False
    when: dt.datetime | None = None
    details: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    ingest_id: int | None = None
    dates: set[dt.date] = field(default_factory=set)
    unplaced: Counter[str] = field(default_factory=Counter)
    unknown_access_points: Counter[str] = field(default_factory=Counter)

    @property
    def taken(self) -> int:
        """The rows read that are neither left out nor rejected."""
        return self.rows - self.left_out - self.rejected.total()


@dataclass
class Ingest:
    """A running ingest, from ``begin_ingest``."""

    settings: Settings
    load: Load
    kind: str
    path: Path
    report: IngestReport
    ingest_id: int = 0
    first_start: dt.datetime | None = None
    last_start: dt.datetime | None = None
    _rejects: dict[tuple[str, ...], str] = field(default_factory=dict)

    def reject(self, columns: pa.Table, row_numbers: NDArray[np.int64], checks: Checks) -> None:
        """Store the rows that ``checks`` rejected, with number, reason and content."""
        bad = ~checks.good
        if not bad.any():
            return
        self.report.rejected.update(checks.counts())
        rows = columns.filter(pa.array(bad))
        self._stage(rows, pa.array(row_numbers[bad]), checks.reasons())

    def reject_malformed(self, rows: list[Malformed]) -> None:
        """Store the rows whose number of fields differs from the header's."""
        if not rows:
            return
        self.report.rows += len(rows)
        self.report.rejected.update(row.reason for row in rows)
        lines = pa.table({"line": [row.text for row in rows]})
        self._stage(
            lines, pa.array([r.row_number for r in rows]), pa.array([r.reason for r in rows])
        )

    def _stage(self, rows: pa.Table, numbers: pa.Array, reasons: pa.Array) -> None:
        names = tuple(rows.column_names)
        staged = self._rejects.setdefault(names, f"{_REJECTS}_{len(self._rejects)}")
        # Not under the file's names, which may be too long for PostgreSQL, or mean something to it.
        values = [storable(column) for column in rows.columns]
        columns = {"number": numbers, "reason": reasons}
        self.load.stage(staged, pa.table(columns | {f"c{at}": v for at, v in enumerate(values)}))

    def finish(self) -> None:
        """Write the rejected rows and complete the entry, or raise when no row is usable."""
        rejected = self.report.rejected.total()
        if rejected and not self.report.taken:
            raise BadInput(
                f"All rows of {self.path} were rejected; nothing was loaded.\n"
                + "\n".join(f"{n:,} x {why}" for why, n in self.report.rejected.most_common()),
                "Is it the right kind of file? `tippers log preview` shows how a log's columns "
                "are read.",
            )
        if self.report.left_out and not self.report.taken:
            raise BadInput(
                f"No row of {self.path} counts: its mapping leaves out all "
                f"{self.report.left_out:,}, by `where`.",
                "Correct the mapping.",
            )
        if not self.report.rows:
            raise BadInput(f"{self.path} has no rows.", "Expected a header line and rows.")
        for names, staged in self._rejects.items():
            values = ", ".join(f"c{at}" for at in range(len(names)))
            self.load.execute(
                "INSERT INTO tippers.reject (ingest_id, kind, row_number, reason, row) "
                f"SELECT {self.ingest_id}, $1, number, reason, jsonb_object("
                "ARRAY(SELECT jsonb_array_elements_text($2::jsonb)), "
                f"ARRAY[{values}]::text[]) FROM {staged} ORDER BY 3",
                (self.kind, json.dumps([_without_nul(name) for name in names])),
            )
        self.load.execute(
            f"UPDATE tippers.ingested_file SET rows = {self.report.rows}, "
            f"left_out = {self.report.left_out}, rejected = {rejected}, "
            f"loaded = {self.report.loaded}, "
            f"first_start = {_literal(self.first_start)}, last_start = {_literal(self.last_start)} "
            f"WHERE ingest_id = {self.ingest_id}"
        )


@contextmanager
def begin_ingest(
    settings: Settings,
    kind: str,
    path: Path,
    sha256: str,
    options: Options,
    *,
    replaces: bool,
    again: int | None = None,
    name: str | None = None,
) -> Iterator[Ingest]:
    """Open the transaction of an ingest, and commit it unless the block raises.

    If ``report.already`` is set, there is nothing to load.

    Parameters
    ----------
    settings
        The deployment's settings.
    kind
        The kind of file.
    path, sha256
        The file, for the journal, and the hash of its content.
    options
        How the file is read.
    replaces
        Whether rows of this kind replace stored ones. Content then counts as ingested only until
        another file of this kind is ingested: going back to an older file is a change.
    again
        The number of the ingest that this one replaces; it is undone first, in the same
        transaction.
    name
        The file's name in the journal; default: its path.

    Raises
    ------
    SourceError
        When the source is a campus's own database.
    BadInput
        When no row is usable, the same content is already loaded with other options, or the
        earlier ingest cannot be undone. Nothing is changed then.
    """
    with journal_transaction(settings) as load:
        report = IngestReport()
        ingest = Ingest(settings, load, kind, path, report)
        if again is not None:
            undone = Undone()
            remove_ingests(settings, load, [find_ingest(load, again)], undone)
            report.dates |= undone.dates
        earlier = same_content(load, kind, sha256, replaces, again)
        if earlier is not None and same_options(earlier, kind, options):
            report.already, report.when = True, earlier.ingested_at
            report.ingest_id = earlier.ingest_id
        elif earlier is not None and not replaces:
            raise BadInput(
                f"{path} was ingested as {earlier.kind} on {earlier.ingested_at:%Y-%m-%d %H:%M %Z} "
                f"with other options: {describe_options(earlier.options)}.",
                f"Use `tippers ingest again {earlier.ingest_id}` with the new options to replace "
                f"its rows, or `tippers ingest undo {earlier.ingest_id}` first.",
            )
        else:
            ingest.ingest_id = note_ingest(load, kind, path, sha256, options, again, name=name)
            report.ingest_id = ingest.ingest_id
        if again is not None and report.already:
            raise BadInput(
                f"This content was already loaded by ingest {report.ingest_id}.",
                f"`tippers ingest undo {again}` removes the rows of ingest {again}.",
            )
        yield ingest
        if not report.already:
            ingest.finish()


def _literal(moment: dt.datetime | None) -> str:
    return "NULL" if moment is None else f"timestamp '{moment.isoformat(sep=' ')}'"


def _without_nul(name: str) -> str:
    return name.replace("\0", NUL)
