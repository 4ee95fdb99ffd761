"""Features that give the answer away."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.learning.errors import LeakingFeature
from tippers_dagster.learning.features import FeatureRows, model_column
from tippers_dagster.learning.leaks import check_leaks

N = 90
LABEL = np.arange(N) % 3
LABELS = ("STATIC", "LAPTOP", "PHONE")
RNG = np.random.default_rng(0)
PROBABILITIES = RNG.dirichlet([1, 1, 1], N)


def rows(**columns: object) -> FeatureRows:
    source = Ref("device", "habits", Kind.FEATURE)
    found = {
        name: model_column(pa.chunked_array([pa.array(values)]), name)
        for name, values in columns.items()
    }
    return FeatureRows(
        "device_id", pa.array(range(N), pa.uint64()), pa.table(found), dict.fromkeys(found, source)
    )


def check(label: np.ndarray = LABEL, **columns: object) -> None:
    check_leaks(rows(**columns), label, PROBABILITIES, LABELS, "device_type")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("device_id", "identifies an entity"),
        ("partner_device_id", "identifies an entity"),
        ("Label", "has the name of a label"),
        ("majority_label", "has the name of a label"),
        ("device_type", "has the name of a label"),
        ("vote_always_on", "has the name of a label or a vote"),
        ("p_phone", "has the name of a label's probability"),
    ],
)
def test_names_that_leak(name: str, why: str) -> None:
    with pytest.raises(LeakingFeature, match=f"device.habits: the column {name} {why}"):
        check(**{name: RNG.random(N)})


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.array([7, 5, 9])[LABEL], "reveals the label"),
        (np.array(["x", "y", None], object)[LABEL], "reveals the label"),
        (PROBABILITIES[:, 1], "is a probability"),
        (1 - PROBABILITIES[:, 0], "is a probability"),
        (PROBABILITIES.max(axis=1), "is a probability"),
        (np.arange(N), "no two have the same value"),
        ([f"device {i}" for i in range(N)], "no two have the same value"),
    ],
)
def test_values_that_leak(values: object, why: str) -> None:
    with pytest.raises(LeakingFeature, match=why):
        check(column=values)


def test_good_features_are_not_leaks() -> None:
    nearly = np.array([7, 5, 9])[LABEL]
    nearly[3] = 5
    check(
        nearly=nearly,
        parts=LABEL * 10 + np.arange(N) % 2,  # reveals the label, and more
        measured=LABEL + RNG.random(N) / 3,
        constant=np.ones(N),
        room=np.array(["a", "b", "c"])[(LABEL + np.arange(N) // 50) % 3],
        p_value=RNG.random(N),
    )


def test_with_few_labels_values_are_not_judged() -> None:
    label = np.where(np.arange(N) < 12, LABEL, -1)
    check(label, column=LABEL)
    with pytest.raises(LeakingFeature, match="the column outcome has the name"):
        check(label, outcome=LABEL)
