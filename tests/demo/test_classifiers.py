"""Scores of classifiers by the truth, compared with a simple recount."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tests.labelling.small import LABELS, keys, truth
from tests.learning.trained import REF, Learned, N, learned
from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.campus.source.schema import TRUTH_DEVICE, source_tables
from tippers_dagster.demo import classifiers
from tippers_dagster.demo.levels import Level
from tippers_dagster.learning.results import last_result
from tippers_dagster.learning.training_set import held_out
from tippers_dagster.learning.work import read_inputs
from tippers_dagster.platform.warehouse.engine import copy_rows, warehouse_engine

__all__ = ["learned"]


@pytest.fixture
def judged(learned: Learned, monkeypatch: pytest.MonkeyPatch) -> Learned:
    """The small classifier, with the truth of all but the last ten devices."""
    level = Level("device", "kind_of", "device_type", {label: (label,) for label in LABELS})
    monkeypatch.setattr(classifiers, "LEVELS", (level,))
    monkeypatch.setattr(classifiers, "load_catalog", lambda _: learned.catalog)
    create_source_schema(learned.settings)
    true = pa.table(
        {
            "mac_address": keys(N),
            "device_type": pa.array(LABELS).take(pa.array(truth(N))),
            "person_id": pa.nulls(N, pa.string()),
        }
    )
    table = source_tables(learned.settings)[TRUTH_DEVICE].sql
    with warehouse_engine(learned.settings).begin() as connection:
        copy_rows(connection, table, true.slice(0, N - 10))
    return learned


def test_only_held_out_entities_are_compared_with_the_truth(judged: Learned) -> None:
    assert classifiers.evaluate_classifiers(judged.settings) == []  # nothing is trained yet
    assert judged.run().success
    (found,) = classifiers.evaluate_classifiers(judged.settings)
    assert (found.name, found.label_model) == ("device.guess", "device.kind_of")
    devices = read_inputs(judged.settings, judged.catalog, REF).rows.keys
    out = held_out(devices, 123, 0.25) & (np.arange(N) < N - 10)
    assert found.entities == out.sum()
    # The label model abstains on every fortieth device, and is right about all others.
    right = out & (np.arange(N) % 40 > 0)
    assert found.by_label_model.accuracy == pytest.approx(right.sum() / out.sum())
    assert found.by_label_model.coverage == pytest.approx(right.sum() / out.sum())
    most = LABELS.index(last_result(judged.settings, REF).details["majority"])
    share = (truth(N)[out] == most).mean()
    assert found.by_majority_class.accuracy == pytest.approx(share)
    assert list(found.by_model) == [m.model for m in last_result(judged.settings, REF).models]
    best = found.by_model[found.best]
    assert best.coverage == 1
    assert best.accuracy > 0.8
