"""Rows of a log by what they mean: a column for each role of its mapping."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.campus.local_time import LocalClock
from tippers_dagster.campus.log.arrow_types import text_of
from tippers_dagster.campus.log.checks import Checks
from tippers_dagster.campus.log.formats import LogFile, open_log
from tippers_dagster.campus.log.kept import kept_texts
from tippers_dagster.campus.log.mapping import Condition, LogMapping
from tippers_dagster.campus.log.people import ANONYMOUS, UserNames
from tippers_dagster.campus.log.presets import known_columns
from tippers_dagster.campus.log.rows import Progress
from tippers_dagster.campus.log.sessions import SCHEMA, TIMES, Meaning, normalised
from tippers_dagster.campus.log.times import Order, OrderEvidence, order_evidence

_TYPED = (*TIMES, "duration")
"""Roles that keep their types; all others are texts."""

Place = Callable[[pa.Table, Checks], pa.Array]
"""The space of each normalised row; rows without one are rejected."""


@dataclass(frozen=True)
class LogRows:
    """Some rows of a log."""

    columns: pa.Table
    """By role, as ``sessions.normalised`` takes them."""
    kept: pa.Table
    """Further columns that the mapping keeps, as text, by their own names."""
    row_numbers: NDArray[np.int64]
    left_out: int
    """Rows that do not count, by the mapping's ``where``."""


@dataclass(frozen=True)
class Deployment:
    """What a deployment says of all logs.

    Parameters
    ----------
    timezone
        IANA zone of times without a zone.
    plausible
        Local times outside [first, second) are rejected.
    longest_seconds
        Longer sessions are rejected.
    own_realms, anonymous
        As in a mapping, for all logs.
    """

    timezone: str
    plausible: tuple[dt.datetime, dt.datetime]
    longest_seconds: int
    own_realms: tuple[str, ...] = ()
    anonymous: tuple[str, ...] = ()


def meaning_of(
    mapping: LogMapping, deployment: Deployment, key: bytes, order: Order | None
) -> Meaning:
    """What a log's rows mean, for ``sessions.normalised``.

    Parameters
    ----------
    mapping
        What its columns mean.
    deployment
        What the deployment says of all logs.
    key
        The device key, for persons.
    order
        Of day and month.
    """
    return Meaning(
        clock=LocalClock(mapping.timezone or deployment.timezone),
        plausible=deployment.plausible,
        longest_seconds=deployment.longest_seconds,
        key=key,
        names={role: " or ".join(names) for role, names in mapping.mapped.items()},
        order=order,
        duration_unit=mapping.duration_unit or "s",
        device_is=mapping.device_is,
        users=UserNames(
            (*deployment.own_realms, *mapping.own_realms),
            (*ANONYMOUS, *deployment.anonymous, *mapping.anonymous),
        ),
    )


def normalised_rows(part: LogRows, meaning: Meaning) -> tuple[pa.Table, Checks]:
    """The usable rows in one form, see ``sessions.normalised``, with what is kept of them."""
    rows, checks = normalised(part.columns, meaning)
    if part.kept.num_columns:
        kept = kept_texts(part.kept.filter(pa.array(checks.good)))
        rows = rows.set_column(SCHEMA.get_field_index("kept"), "kept", kept)
    return rows, checks


def placed_rows(rows: pa.Table, checks: Checks, place: Place) -> pa.Table:
    """Usable rows that have a space, with it; ``checks`` rejects the others, too."""
    unplaced = Checks(rows.num_rows)
    space = place(rows, unplaced)
    checks.reject_good(unplaced)
    rows = rows.set_column(SCHEMA.get_field_index("space"), "space", space)
    return rows.filter(pa.array(unplaced.good))


def usable_rows(part: LogRows, meaning: Meaning, place: Place) -> tuple[pa.Table, Checks]:
    """The usable rows in one form, with their spaces and what is kept of them.

    Parameters
    ----------
    part
        Rows of a log.
    meaning
        What its columns mean.
    place
        Finds the spaces of rows.

    Returns
    -------
    (rows, checks)
        The rows of ``checks.good``, in order, by ``sessions.SCHEMA``; why others are no use.

    Raises
    ------
    BadInput
        As ``sessions.normalised``.
    """
    rows, checks = normalised_rows(part, meaning)
    return placed_rows(rows, checks, place), checks


def open_by(path: Path, mapping: LogMapping) -> AbstractContextManager[LogFile]:
    """Open a log that has the columns of a mapping, see ``formats.open_log``."""
    return open_log(path, mapping.file, known_columns(mapping))


def read_rows(
    file: LogFile, mapping: LogMapping, progress: Progress | None = None
) -> Iterator[LogRows]:
    """The rows of an open log that count, by what they mean.

    Parameters
    ----------
    file
        The log.
    mapping
        What its columns mean.
    progress
        Called with the bytes read and the size of the file.

    Raises
    ------
    BadInput
        Names the columns that are missing; also when the file turns out to be damaged.
    """
    roles = columns_by_role(file, mapping)
    _check_present(file, mapping)
    wanted = [c for c in mapping.columns if file.is_sparse or file.find(c)]
    for batch in file.batches(wanted, progress):
        by_name = dict(zip(batch.columns.column_names, batch.columns.columns, strict=True))
        lookup = {name.strip().casefold(): column for name, column in by_name.items()}
        counts = _counting(mapping.where, lookup, batch.columns.num_rows)
        columns = {role: _column(role, names, lookup) for role, names in roles.items()}
        kept = {name: text_of(lookup[name.strip().casefold()]) for name in mapping.keep}
        mask = pa.array(counts)
        yield LogRows(
            pa.table(columns).filter(mask),
            pa.table(kept).filter(mask) if kept else pa.table({}),
            batch.row_numbers[counts],
            int(len(counts) - counts.sum()),
        )


def columns_by_role(file: LogFile, mapping: LogMapping) -> dict[str, tuple[str, ...]]:
    """The columns of each role that the file has, or may have.

    Raises
    ------
    BadInput
        Names the columns of a role none of which the file has.
    """
    found: dict[str, tuple[str, ...]] = {}
    missing: list[str] = []
    for role, names in mapping.mapped.items():
        present = tuple(name for name in names if file.find(name) is not None)
        if not present and (role in mapping.needed or not file.is_sparse):
            missing += names
        found[role] = names if file.is_sparse else present
    if missing:
        raise file.missing(missing)
    return found


def _check_present(file: LogFile, mapping: LogMapping) -> None:
    """Refuse a log without the columns that are kept, or that say which rows count."""
    others = [*mapping.keep, *(condition.column for condition in mapping.where)]
    missing = [name for name in others if file.find(name) is None]
    if missing and not file.is_sparse:
        raise file.missing(missing)


def _counting(
    where: Sequence[Condition], lookup: dict[str, pa.ChunkedArray], rows: int
) -> NDArray[np.bool_]:
    """Which rows count."""
    counts = np.ones(rows, bool)
    for condition in where:
        texts = pc.utf8_lower(pc.utf8_trim_whitespace(text_of(lookup[_folded(condition.column)])))
        values = pa.array([v.strip().lower() for v in condition.equals or condition.differs or ()])
        is_one = pc.is_in(texts, value_set=values).to_numpy()
        counts &= is_one if condition.equals else ~is_one
    return counts


def _column(role: str, names: Sequence[str], lookup: dict[str, pa.ChunkedArray]) -> pa.ChunkedArray:
    """A role's column: of several, the first that has a value in a row."""
    columns = [lookup[_folded(name)] for name in names]
    if role in _TYPED and len({column.type for column in columns}) == 1:
        if len(columns) == 1:
            return columns[0]
        if not pa.types.is_string(columns[0].type):
            return pc.coalesce(*columns)
    texts = [text_of(column) for column in columns]
    return texts[0] if len(texts) == 1 else pc.coalesce(*map(_blank_as_null, texts))


def _blank_as_null(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    blank = pc.equal(pc.utf8_trim_whitespace(texts), "")
    return pc.if_else(blank, pa.scalar(None, pa.string()), texts)


def _folded(name: str) -> str:
    return name.strip().casefold()


def day_month_order(parts: Iterable[LogRows], mapping: LogMapping) -> Order | None:
    """The order of day and month in a log's times; ``None`` if no value leaves it open.

    Parameters
    ----------
    parts
        All rows of the log: it is judged as a whole.
    mapping
        What its columns mean; its ``order`` counts where it has one.

    Raises
    ------
    BadInput
        When values leave it open, and no others, or contradictory ones, decide it.
    """
    if mapping.order is not None:
        return mapping.order
    evidence = OrderEvidence()
    roles = [role for role in TIMES if role in mapping.mapped]
    for rows in parts:
        for role in roles:
            evidence += order_evidence(rows.columns[role])
    return evidence.order(" or ".join(mapping.mapped[roles[0]]))
