"""One ingest: a transaction that loads rows, keeps the rejects and notes the file.

All of it is committed together or not at all; an ingest that is stopped leaves nothing.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings
from tippers_dagster.source.clean import Checks
from tippers_dagster.source.files import SHOWN_CHARACTERS, Malformed
from tippers_dagster.source.load import Load, load_transaction
from tippers_dagster.source.schema import create_source_schema, refuse_foreign_source

LOCK = "pg_advisory_xact_lock(hashtext('tippers.ingest'))"
_REJECTS = "tippers_staged_reject"
_NUMBER = "tippers.row_number"
_REASON = "tippers.reason"


@dataclass
class IngestReport:
    """What an ingest did.

    ``rows`` were read; ``loaded`` were written (sessions, for observations); ``rejected`` counts
    rows by reason; ``already`` means that this content was ingested before, at ``when``, and
    that nothing was done. ``details`` are further figures by name, ``ignored`` the columns of the
    file that were not used.
    """

    rows: int = 0
    loaded: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    already: bool = False
    when: dt.datetime | None = None
    details: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)


@dataclass
class Ingest:
    """An ingest that is under way. Made by ``begin_ingest``."""

    settings: Settings
    load: Load
    kind: str
    path: Path
    report: IngestReport
    _rejects: dict[tuple[str, ...], str] = field(default_factory=dict)

    def reject(self, columns: pa.Table, row_numbers: NDArray[np.int64], checks: Checks) -> None:
        """Keep the rows that ``checks`` found unusable, with number, reason and content."""
        bad = ~checks.good
        if not bad.any():
            return
        self.report.rejected.update(checks.counts())
        rows = columns.filter(pa.array(bad))
        self._stage(rows, pa.array(row_numbers[bad]), checks.reasons())

    def reject_malformed(self, rows: list[Malformed]) -> None:
        """Keep the rows that have another number of fields than the header."""
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
        columns = {_NUMBER: numbers, _REASON: reasons}
        columns |= {name: _shown(rows[name]) for name in names}
        self.load.stage(staged, pa.table(columns))

    def finish(self, sha256: str) -> None:
        """Write the rejects and the file's line, or raise when no row could be used."""
        rejected = self.report.rejected.total()
        if self.report.rows and rejected == self.report.rows:
            raise BadInput(
                f"No row of {self.path} can be used; nothing was loaded.\n"
                + "\n".join(f"{n:,} x {why}" for why, n in self.report.rejected.most_common()),
                "Is it the right kind of file, and are its times local ones?",
            )
        if not self.report.rows:
            raise BadInput(f"{self.path} has no rows.", "A header and rows are expected.")
        self.load.execute(
            "DELETE FROM tippers.reject WHERE file_sha256 = $1 AND kind = $2", (sha256, self.kind)
        )
        for staged in self._rejects.values():
            self.load.execute(
                "INSERT INTO tippers.reject (file_sha256, kind, row_number, reason, row) "
                f"""SELECT $1, $2, "{_NUMBER}", "{_REASON}", """
                f"""to_jsonb(r) - '{_NUMBER}' - '{_REASON}' FROM {staged} r ORDER BY 3""",
                (sha256, self.kind),
            )
        self.load.execute(
            "INSERT INTO tippers.ingested_file (sha256, kind, name, rows, loaded, rejected) "
            "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (sha256, kind) DO UPDATE SET "
            "name = excluded.name, rows = excluded.rows, loaded = excluded.loaded, "
            "rejected = excluded.rejected, ingested_at = now()",
            (sha256, self.kind, str(self.path), self.report.rows, self.report.loaded, rejected),
        )


@contextmanager
def begin_ingest(
    settings: Settings, kind: str, path: Path, sha256: str, *, replaces: bool
) -> Iterator[Ingest]:
    """Open the transaction of one ingest, and commit it when the block ends well.

    The caller has nothing to do when ``report.already`` is set.

    Parameters
    ----------
    settings
        Whose source tables are written.
    kind
        What the file holds.
    path, sha256
        The file, for the journal, and the hash that tells its content.
    replaces
        Whether rows of this kind replace stored ones. Content then counts as ingested only
        while nothing else of the kind came after it: going back to an older file is a change.

    Raises
    ------
    SourceError
        When the source is a deployment's own database.
    BadInput
        When no row can be used. Nothing is changed then.
    """
    # SQLAlchemy and Alembic are slow to import.
    from tippers_dagster.warehouse.engine import warehouse_engine

    refuse_foreign_source(settings)
    warehouse_engine(settings)
    create_source_schema(settings)
    with load_transaction(settings) as load:
        # Two ingests of one file would both find that it is new.
        load.execute(f"SELECT {LOCK}::text")
        when = _ingested_at(load, kind, sha256, replaces)
        report = IngestReport(already=when is not None, when=when)
        ingest = Ingest(settings, load, kind, path, report)
        yield ingest
        if not report.already:
            ingest.finish(sha256)


def _ingested_at(load: Load, kind: str, sha256: str, replaces: bool) -> dt.datetime | None:
    newer = (
        "AND NOT EXISTS (SELECT FROM tippers.ingested_file n "
        "WHERE n.kind = f.kind AND n.ingested_at > f.ingested_at)"
    )
    found = load.execute(
        "SELECT ingested_at FROM tippers.ingested_file f "
        f"WHERE sha256 = $1 AND kind = $2 {newer if replaces else ''}",
        (sha256, kind),
    )
    return found.column(0)[0].as_py() if found.num_rows else None


def _shown(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as text that fits a JSON document of PostgreSQL's: cut, and without NUL."""
    column = pc.utf8_slice_codeunits(column.cast(pa.string()), 0, SHOWN_CHARACTERS)
    return pc.replace_substring(column, "\0", "\N{SYMBOL FOR NULL}")
