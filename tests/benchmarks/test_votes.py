"""A small votes benchmark: votes must equal Snorkel's."""

from __future__ import annotations

from benchmarks.votes import measure


def test_votes_equal_snorkels() -> None:
    result = measure(entities=5_000, sample=300, repeats=1)
    assert (result.functions, result.sample) == (20, 300)
    assert 0.1 < result.coverage < 0.9
    assert result.ratio > 1
