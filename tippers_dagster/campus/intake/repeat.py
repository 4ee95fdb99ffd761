"""Repeats an ingest with the same or other options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tippers_dagster.campus.intake.entries import Ingested, Options, list_ingests
from tippers_dagster.campus.intake.files import Progress, file_sha256
from tippers_dagster.campus.intake.ingest import KINDS, FileOptions, ingest_file
from tippers_dagster.campus.intake.journal import IngestReport
from tippers_dagster.campus.intake.log import LOG, ingest_log
from tippers_dagster.campus.intake.observations import (
    OBSERVATIONS,
    ObservationColumns,
    ingest_observations,
)
from tippers_dagster.campus.intake.smartspec import SMARTSPEC, ingest_smartspec, scenario_sha256
from tippers_dagster.campus.log.mapping import LogMapping, read_mapping
from tippers_dagster.campus.log.times import ORDERS, Order
from tippers_dagster.errors import BadInput
from tippers_dagster.settings import Settings

LOADED = (*KINDS, LOG, OBSERVATIONS, SMARTSPEC)
"""Kinds of ingests that can be listed, undone and repeated."""


@dataclass(frozen=True)
class Changes:
    """Options to change; None: unchanged."""

    columns: Mapping[str, str] | None = None
    timezone: str | None = None
    gap_seconds: int | None = None
    order: Order | None = None
    mapping: LogMapping | None = None
    """Of a log."""

    def on(self, options: Options) -> dict[str, object]:
        """The options with these changes."""
        changes = {
            "columns": self.columns,
            "timezone": self.timezone,
            "gap_seconds": self.gap_seconds,
            "order": self.order,
        }
        return {**options, **{name: value for name, value in changes.items() if value is not None}}


def ingest_again(
    settings: Settings,
    ingest_id: int,
    changes: Changes = Changes(),
    *,
    file: Path | None = None,
    accept_changes: bool = False,
    progress: Progress | None = None,
) -> IngestReport:
    """Undo an ingest, unless it is undone already, and load its file again, in one transaction.

    The ingest keeps its number and its place: later ingests of the same keys take precedence.

    Parameters
    ----------
    settings
        The deployment's settings.
    ingest_id
        The number of the ingest.
    changes
        Options to change; the others stay the same.
    file
        Where the file is now, if it was moved.
    accept_changes
        Whether the file's content may have changed.
    progress
        Called with the bytes read and the size of the file.

    Raises
    ------
    BadInput
        When there is no such ingest, its file is missing or has changed, an option does not apply
        to its kind, or the file is unusable. Nothing is changed then.
    SourceError
        When the source is a deployment's own database.
    """
    earlier = ingest_of(settings, ingest_id)
    if earlier.sha256 is None:
        raise BadInput(
            f"Ingest {ingest_id} is a {earlier.name}, not a file.",
            f"Revert it with `tippers ingest undo {ingest_id}`.",
        )
    path = Path(earlier.name) if file is None else file
    _check_content(earlier, path, accept_changes)
    options = changes.on(earlier.options or {})
    columns, timezone = options.get("columns") or {}, options.get("timezone")
    gap = options.get("gap_seconds")
    assert isinstance(columns, Mapping)
    assert timezone is None or isinstance(timezone, str)
    assert gap is None or isinstance(gap, int)
    if changes.mapping is not None and earlier.kind != LOG:
        raise BadInput(f"--mapping applies to logs, and ingest {ingest_id} is of {earlier.kind}.")
    if earlier.kind == LOG:
        return _log_again(settings, earlier, path, changes, progress)
    if gap is not None and earlier.kind not in (OBSERVATIONS, SMARTSPEC):
        raise BadInput(f"--gap does not apply to files of {earlier.kind}, only to observations.")
    if earlier.kind == SMARTSPEC:
        if columns or timezone or changes.order:
            raise BadInput("Scenarios have fixed columns and times: only --gap can be changed.")
        return ingest_smartspec(settings, path, gap, progress, again=ingest_id)
    order = changes.order or _order(options)
    if earlier.kind == OBSERVATIONS:
        named = ObservationColumns.named(columns)
        return ingest_observations(
            settings, path, named, gap, progress, timezone=timezone, order=order, again=ingest_id
        )
    chosen = FileOptions(columns, timezone, order)
    return ingest_file(settings, earlier.kind, path, progress, chosen, again=ingest_id)


def _order(options: Options) -> Order | None:
    found = options.get("order")
    return next((order for order in ORDERS if order == found), None)


def _log_again(
    settings: Settings, earlier: Ingested, path: Path, changes: Changes, progress: Progress | None
) -> IngestReport:
    if changes.columns:
        raise BadInput("--column does not apply to logs.", "Give a mapping with --mapping.")
    options = changes.on(earlier.options or {})
    fields = options.get("mapping") if changes.mapping is None else changes.mapping.as_fields()
    gap = options.get("gap_seconds")
    assert isinstance(fields, Mapping)
    assert gap is None or isinstance(gap, int)
    said = {"timezone": changes.timezone, "order": changes.order}
    said = {name: value for name, value in said.items() if value is not None}
    mapping = read_mapping({**fields, **said})
    if not mapping.seen and changes.gap_seconds is None:
        gap = None  # it was of observations before
    return ingest_log(settings, path, mapping, gap, progress, again=earlier.ingest_id)


def ingest_of(settings: Settings, ingest_id: int) -> Ingested:
    """An ingest by its number; BadInput when there is none."""
    for found in list_ingests(settings, LOADED):
        if found.ingest_id == ingest_id:
            return found
    raise BadInput(f"There is no ingest {ingest_id}.", "`tippers ingest list` shows them.")


def _check_content(earlier: Ingested, path: Path, accept_changes: bool) -> None:
    if not path.exists():
        raise BadInput(
            f"{path}, the file of ingest {earlier.ingest_id}, no longer exists.",
            "Give its new path with --file.",
        )
    sha256 = scenario_sha256(path) if earlier.kind == SMARTSPEC else file_sha256(path)
    if sha256 != earlier.sha256 and not accept_changes:
        size = "" if earlier.size is None else f" It had {earlier.size:,} bytes"
        size += f", and has {path.stat().st_size:,} now." if size else ""
        raise BadInput(
            f"{path} has changed since ingest {earlier.ingest_id} "
            f"({earlier.ingested_at:%Y-%m-%d %H:%M %Z}).{size}",
            "Use --accept-changes to load its present content, or ingest it as a new file.",
        )
