"""A small round of the benchmark: votes equal to Snorkel's, or it ends with an error."""

from __future__ import annotations

from benchmarks.votes import measure


def test_votes_are_those_of_snorkel() -> None:
    result = measure(entities=5_000, sample=300, repeats=1)
    assert (result.functions, result.sample) == (20, 300)
    assert 0.1 < result.coverage < 0.9
    assert result.ratio > 1
