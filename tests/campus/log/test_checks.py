"""Unusable rows and their reasons."""

import numpy as np

from tippers_dagster.campus.log.checks import Checks


def test_first_reason_counts() -> None:
    checks = Checks(3)
    checks.reject(np.array([True, False, False]), "one")
    checks.reject(np.array([True, True, False]), "two")
    checks.reject_each(np.array([True, True, True]), np.array([0, 1, 1]), ["three", "four"])
    assert checks.reasons().to_pylist() == ["one", "two", "four"]
    assert checks.counts() == {"one": 1, "two": 1, "four": 1}
