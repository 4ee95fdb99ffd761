"""When a challenger replaces the champion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from tippers_dagster.errors import BadInput
from tippers_dagster.learning.promotion import (
    MIN_GOLD_LABELS,
    HeldOut,
    apply_model,
    gain,
    in_order,
    judge,
)

LABELS = ("A", "B")
N = 100
TRUTH = np.arange(N) % 2


@dataclass
class Fixed:
    """A model that is wrong about the first rows, with a confidence of 0.9 everywhere."""

    wrong: int
    classes_: tuple[str, ...] = LABELS
    feature_names_in_: tuple[str, ...] = ("row",)

    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray:
        row = frame["row"].to_numpy()
        if row.dtype == object:
            raise ValueError("could not convert string to float: 'x'")
        said = np.where(row < self.wrong, 1 - row % 2, row % 2)
        return np.where(np.arange(2) == said[:, None], 0.9, 0.1)


def held(gold: int = 0, worse_gold: bool = False) -> HeldOut:
    known = TRUTH.astype(np.int8)
    people = known if not worse_gold else 1 - known
    return HeldOut(
        LABELS,
        pd.DataFrame({"row": np.arange(N)}),
        known,
        np.where(np.arange(N) < gold, people, -1).astype(np.int8),
    )


@pytest.mark.parametrize(
    ("metric", "challenger", "champion", "margin", "wins"),
    [
        ("accuracy", 10, 20, 0.0, True),
        ("accuracy", 10, 20, 0.1, True),
        ("accuracy", 10, 20, 0.11, False),
        ("accuracy", 10, 10, 0.0, False),
        ("accuracy", 20, 10, 0.0, False),
        ("log_loss", 10, 20, 0.0, True),
        ("log_loss", 20, 10, 0.0, False),
        ("macro_f1", 0, 1, 0.0, True),
        ("balanced_accuracy", 0, 1, 0.02, False),
    ],
)
def test_it_must_win_by_the_margin(
    metric: str, challenger: int, champion: int, margin: float, wins: bool
) -> None:
    found = judge(held(), Fixed(challenger), Fixed(champion), metric=metric, margin=margin)
    assert found.wins is wins
    assert metric.replace("_", " ") in found.reason
    assert found.reason.startswith("Better" if wins else "Not better")


def test_the_first_must_beat_the_majority_class() -> None:
    first = judge(held(), Fixed(30), None, metric="accuracy", margin=0.5)
    assert first.wins, "the margin is between challenger and champion"
    assert "no champion" in first.reason
    bad = judge(held(), Fixed(60), None, metric="accuracy", margin=0.0)
    assert not bad.wins
    assert "majority class 0.5000" in bad.reason


def test_a_challenger_worse_on_gold_labels_does_not_win() -> None:
    one, other = Fixed(0), Fixed(40)
    few = judge(held(MIN_GOLD_LABELS - 1, True), one, other, metric="accuracy", margin=0)
    assert few.wins, "too few to count"
    enough = judge(held(MIN_GOLD_LABELS, True), one, other, metric="accuracy", margin=0)
    assert not enough.wins
    assert "worse by gold" in enough.reason
    agrees = judge(held(MIN_GOLD_LABELS), one, other, metric="accuracy", margin=0)
    assert agrees.wins
    assert f"{MIN_GOLD_LABELS} gold labels" in agrees.reason
    assert agrees.to_json()["gold_entities"] == MIN_GOLD_LABELS


def test_a_champion_that_cannot_be_used_any_more_is_replaced() -> None:
    old = Fixed(0, feature_names_in_=("row", "gone"))
    found = judge(held(), Fixed(10), old, metric="accuracy", margin=0.0)
    assert found.wins
    assert found.champion is None
    assert "can no longer be used" in found.reason
    assert "missing: gone" in found.reason
    with pytest.raises(BadInput, match="columns that are missing: gone"):
        judge(held(), old, Fixed(1), metric="accuracy", margin=0.0)


def test_without_labels_nothing_is_decided() -> None:
    nobody = HeldOut(LABELS, pd.DataFrame({"row": [0]}), np.int8([-1]), np.int8([-1]))
    found = judge(nobody, Fixed(0), None, metric="accuracy", margin=0.0)
    assert not found.wins
    assert "No held-out entity" in found.reason


def test_models_are_applied_to_their_columns() -> None:
    frame = pd.DataFrame({"other": ["x"], "row": [1.0]})
    assert apply_model(Fixed(0), frame, "It").tolist() == [[0.1, 0.9]]
    assert apply_model(Fixed(0), frame.head(0), "It").shape == (0, 2)
    with pytest.raises(BadInput, match="It cannot be applied"):
        apply_model(Fixed(0), pd.DataFrame({"row": ["x"]}), "It")


def test_probabilities_in_the_order_of_the_labels() -> None:
    given = np.array([[0.2, 0.3, 0.5]])
    assert in_order(given, ("C", "B", "A"), ("A", "B", "C")).tolist() == [[0.5, 0.3, 0.2]]
    assert in_order(given, ("A", "OLD", "B"), ("A", "B", "C")).tolist() == [[0.2, 0.5, 0.0, 0.3]]


def test_gain_knows_which_way_is_better() -> None:
    assert gain("accuracy", 0.9, 0.8) == pytest.approx(0.1)
    assert gain("log_loss", 0.2, 0.5) == pytest.approx(0.3)
