"""What is answered of a window's chunks equals a plain comparison of all sessions with all."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.occupancy import company
from tests.occupancy.company import DAY, FIRST, Session
from tippers_dagster.occupancy import encounters as per_chunk
from tippers_dagster.occupancy import windows
from tippers_dagster.occupancy.days import place_days
from tippers_dagster.occupancy.encounters import encounters
from tippers_dagster.occupancy.meetings import Presence, Rows

DAYS = 4
SEEDS = st.integers(0, 1 << 32)
WINDOWS = st.sets(st.integers(0, DAYS - 1), min_size=1)


def window(sessions: Sequence[Session], chunks: set[int]) -> list[windows.Chunk]:
    found = []
    for chunk in sorted(chunks):
        table, end = company.table(sessions, chunk), FIRST + (chunk + 1) * DAY
        tables = encounters(table, end)
        found.append(windows.Chunk(end - DAY, end, tables, lambda table=table: table))
    return found


@contextmanager
def limits(block: int, most: int) -> Iterator[None]:
    """So few meetings at a time, and so few per session whose pairs are listed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(per_chunk, "_BLOCK", block)
        patch.setattr(per_chunk, "MEETINGS_PER_SESSION", most)
        patch.setattr(windows, "_MEETINGS", most + 1)
        yield


@given(SEEDS, WINDOWS, st.sampled_from([1, 5, 1 << 20]), st.sampled_from([0, 1, 1 << 20]))
def test_company_and_partners_of_a_window(
    seed: int, chunks: set[int], block: int, most: int
) -> None:
    sessions = company.campus(random.Random(seed), DAYS)
    own = [s for s in sessions if s.chunk in chunks]
    with limits(block, most):
        chosen = window(sessions, chunks)
        found = windows.accompanied(chosen)
        partners = windows.best_partners(chosen, company.addresses(sessions))
    assert found.to_pylist() == company.accompanied(own)
    expected = company.best_partners(own)
    assert [{name: row[name] for name in partners.column_names} for row in expected] == (
        partners.to_pylist()
    )


@given(SEEDS, WINDOWS)
def test_crowds_of_a_window(seed: int, chunks: set[int]) -> None:
    sessions = company.campus(random.Random(seed), DAYS)
    tables = [company.table(sessions, chunk) for chunk in sorted(chunks)]
    days = [partial(place_days, table) for table in tables]
    found = windows.co_located(days, company.regions())
    assert found.to_pylist() == company.co_located([s for s in sessions if s.chunk in chunks])


def test_answers_differ() -> None:
    """Otherwise the comparisons would prove little."""
    campuses = [company.campus(random.Random(seed), DAYS) for seed in range(40)]
    partners = [row for sessions in campuses for row in company.best_partners(sessions)]
    shares = [row["shared_share"] for row in partners]
    assert shares.count(None) > 20
    assert len({share for share in shares if share is not None and share < 1}) > 5
    shares = [row["accompanied_share"] for s in campuses for row in company.accompanied(s)]
    assert len(set(shares)) > 20
    shares = [row["co_located_share"] for s in campuses for row in company.co_located(s)]
    assert len(set(shares)) > 20


def test_nothing() -> None:
    empty = window([], {0, 1})
    assert windows.accompanied(empty).num_rows == 0
    assert windows.best_partners(empty, company.addresses([])).num_rows == 0
    assert windows.co_located([], company.regions()).num_rows == 0
    for nothing in (windows.accompanied([]), windows.best_partners([], company.addresses([]))):
        assert nothing.num_rows == 0
    empty = partial(place_days, company.table([], 0))
    assert windows.co_located([empty], company.regions()).num_rows == 0


@given(SEEDS)
def test_lookups(seed: int) -> None:
    rng = random.Random(seed)
    sessions, asked = company.campus(rng, 2), company.campus(rng, 3)
    rows, queries = (_rows(found) for found in (sessions, asked))
    presence = Presence(rows, 8, 3)
    merged = _merged(sessions)
    row, device = presence.meetings(queries)
    met = sorted(zip(row.tolist(), device.tolist(), strict=True))
    expected = sorted(
        (i, m.device)
        for i, q in enumerate(asked)
        for m in merged
        if q.overlaps(m) and q.device != m.device
    )
    assert met == expected
    counted = np.bincount([i for i, _ in expected], minlength=len(asked))
    assert presence.others(queries).tolist() == counted.tolist()
    for device in range(8):
        found = presence.includes(queries, np.full(len(queries), device))
        mine = [s for s in sessions if s.device == device]
        assert found.tolist() == [any(q.overlaps(s) for s in mine) for q in asked]


def test_what_does_not_fit_is_refused() -> None:
    rows = Rows(*(np.array(values) for values in ([0, 1], [0, 1], [0, 1 << 40], [1, 1 << 41])))
    with pytest.raises(ValueError, match="use fewer chunks"):
        Presence(rows, 1 << 20, 1 << 20)


def test_a_crowd_is_left_to_the_window() -> None:
    """Visitors of one event: no pair is listed, and each still finds the first by address."""
    sessions = [Session(d, "hall", "a", FIRST, FIRST + 900) for d in range(9)]
    with limits(10, 0):
        (chunk,) = window(sessions, {0})
        assert chunk.encounters.pairs.num_rows == 0
        assert chunk.encounters.devices["unlisted"].to_pylist() == [1] * 9
        found = windows.best_partners([chunk], company.addresses(sessions))
    assert found.to_pylist() == company.best_partners(sessions)


def _rows(sessions: Sequence[Session]) -> Rows:
    space = {"hall": 0, "lab": 1, "den": 2}
    columns = ([s.device for s in sessions], [space[s.space] for s in sessions])
    times = ([s.start for s in sessions], [s.end for s in sessions])
    return Rows(*(np.array(column, np.int64) for column in (*columns, *times)))


def _merged(sessions: Sequence[Session]) -> list[Session]:
    found: list[Session] = []
    for s in sorted(sessions, key=lambda s: (s.device, s.space, s.start)):
        last = found[-1] if found else None
        if last and (last.device, last.space) == (s.device, s.space) and s.start <= last.end:
            end = max(last.end, s.end)
            found[-1] = Session(s.device, s.space, None, last.start, end)
        else:
            found.append(s)
    return found
