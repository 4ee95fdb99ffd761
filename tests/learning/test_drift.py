"""Drift, compared with a plain recount."""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tippers_dagster.learning.drift import (
    MAX_CATEGORIES,
    MISSING_LIMIT,
    PSI_LIMIT,
    ColumnProfile,
    compare,
    profile,
    psi,
    psi_threshold,
)

VALUES = st.lists(st.one_of(st.none(), st.integers(-5, 5).map(float)), max_size=60)
WORDS = st.lists(st.one_of(st.none(), st.sampled_from("abcd")), max_size=60)


def plain_psi(before: list[int], now: list[int]) -> float:
    p = [(n + 0.5) / (sum(before) + 0.5 * len(before)) for n in before]
    q = [(n + 0.5) / (sum(now) + 0.5 * len(now)) for n in now]
    return sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))


@settings(deadline=None)
@given(VALUES, VALUES)
def test_numbers_are_counted_in_the_earlier_bins(
    before: list[float | None], now: list[float | None]
) -> None:
    found = profile(pa.table({"x": pa.array(before, pa.float64())}))["x"]
    assert found.rows == len(before)
    assert found.missing == before.count(None)
    edges = found.edges or ()

    def bin_of(value: float) -> int:
        return sum(value >= edge for edge in edges)

    assert list(found.counts) == [
        [bin_of(v) for v in before if v is not None].count(i) for i in range(len(edges) + 1)
    ]
    (drift,) = compare({"x": found}, pa.table({"x": pa.array(now, pa.float64())}))
    known = [v for v in now if v is not None]
    if not known or found.missing == len(before):
        assert drift.psi is None
        return
    counts = [[bin_of(v) for v in known].count(i) for i in range(len(edges) + 1)]
    assert drift.psi == pytest.approx(plain_psi(list(found.counts), counts), abs=1e-9)


@settings(deadline=None)
@given(WORDS, WORDS)
def test_categories_too(before: list[str | None], now: list[str | None]) -> None:
    found = profile(pa.table({"x": pa.array(before, pa.string())}))["x"]
    counts = Counter(v for v in before if v is not None)
    assert dict(zip(found.categories or (), found.counts, strict=False)) == counts
    again = ColumnProfile.from_json(json.loads(json.dumps(found.to_json())))
    assert again == found
    (drift,) = compare({"x": again}, pa.table({"x": pa.array(now, pa.string())}))
    later = Counter(v for v in now if v is not None)
    if not later or not counts:
        assert drift.psi is None
        return
    names = sorted(counts)
    others = sum(n for name, n in later.items() if name not in counts)
    expected = plain_psi([*(counts[n] for n in names), 0], [*(later[n] for n in names), others])
    assert drift.psi == pytest.approx(expected, abs=1e-9)


def test_only_changed_columns_have_drifted() -> None:
    rng = np.random.default_rng(1)
    before = profile(pa.table({"x": rng.normal(size=2000), "k": rng.choice(["a", "b"], 2000)}))
    same = pa.table({"x": rng.normal(size=2000), "k": rng.choice(["a", "b"], 2000)})
    assert not [d for d in compare(before, same) if d.drifted]
    moved = pa.table({"x": rng.normal(1, 1, 2000), "k": rng.choice(["a", "new"], 2000)})
    found = {d.name: d for d in compare(before, moved)}
    assert found["x"].moved
    assert found["k"].moved
    assert found["k"].now[-1] == pytest.approx(0.5, abs=0.05), "what was not seen before"
    assert sum(found["x"].before) == pytest.approx(1)


def test_few_rows_raise_no_alarm_by_chance() -> None:
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(200):
        before = profile(pa.table({"x": rng.normal(size=40)}))
        (drift,) = compare(before, pa.table({"x": rng.normal(size=40)}))
        alarms += drift.drifted
    assert alarms <= 4
    assert psi_threshold(40, 40, 10) > PSI_LIMIT
    assert psi_threshold(40_000, 40_000, 10) == PSI_LIMIT


def test_missing_values_are_compared_separately() -> None:
    before = profile(pa.table({"x": pa.array([1.0, 2.0] * 500), "gone": pa.array([1.0] * 1000)}))
    now = pa.table(
        {
            "x": pa.array([1.0, None, 2.0, 2.0] * 250),
            "gone": pa.array([None] * 1000, pa.float64()),
        }
    )
    found = {d.name: d for d in compare(before, now)}
    assert found["x"].missing_now == 0.25
    assert found["x"].missing_moved
    assert not found["x"].moved
    assert found["gone"].psi is None
    assert found["gone"].drifted
    few = compare(
        profile(pa.table({"x": [1.0] * 10})), pa.table({"x": pa.array([1.0] * 8 + [None])})
    )
    assert few[0].missing_now > MISSING_LIMIT
    assert not few[0].drifted, "one of nine is chance"


def test_rare_categories_share_a_bin_and_types_may_change() -> None:
    many = [f"c{i % 50}" for i in range(500)]
    found = profile(pa.table({"x": many}))["x"]
    assert len(found.categories or ()) == MAX_CATEGORIES
    assert found.counts[-1] == 300
    assert found.bins[-1] == "others"
    numbers = profile(pa.table({"x": [1.0, 2.0, 3.0]}))
    (drift,) = compare(numbers, pa.table({"x": ["a", "b"]}))
    assert drift.psi is None
    assert profile(pa.table({"x": pa.array([], pa.float64())}))["x"].bins == ["all"]


def test_equal_shares_give_an_index_of_zero() -> None:
    assert psi(np.array([10, 20]), np.array([10, 20])) == 0
    assert psi(np.array([100, 0]), np.array([0, 100])) > 5
