"""Champions and predictions as assets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from tests.kills import POINTS, leaves_nothing_fresh
from tests.labelling.small import LABELS, keys, truth, written_gold
from tests.learning.registered import (  # noqa: F401
    NAME,
    REF,
    N,
    Registered,
    features,
    registered,
)
from tippers_dagster.automation.nodes import in_dependency_order
from tippers_dagster.automation.snapshot import Snapshot
from tippers_dagster.automation.state import load_states
from tippers_dagster.labelling.gold import import_gold
from tippers_dagster.labelling.labels import labels_of
from tippers_dagster.learning.drift_records import read_drift
from tippers_dagster.learning.keys import champion_path, predictions_path
from tippers_dagster.learning.predictions import predicted_labels, prediction_columns
from tippers_dagster.learning.registry import champion_of, decisions, promote, roll_back
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key

CHAMPION, PREDICTIONS = "/".join(champion_path(REF)), "/".join(predictions_path(REF))


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    found = result.get_asset_check_evaluations()
    return {e.check_name.partition("__")[2].partition("__")[2]: e.passed for e in found}


def stale(world: Registered) -> set[str]:
    nodes = in_dependency_order(world.nodes)
    return Snapshot.take(world.settings, world.instance, nodes).stale


def log(world: Registered) -> list[tuple[str, int, bool]]:
    """Decisions, oldest first."""
    found = decisions(world.settings, NAME)
    return [(d.decision, d.version, d.automatic) for d in reversed(found)]


def test_a_winning_challenger_is_promoted_and_judged_once(
    registered: Registered,  # noqa: F811
) -> None:
    settings = registered.settings
    registered.register(0.3)
    first = registered.run()
    assert first.success
    assert all(checks(first).values())
    assert champion_of(settings, NAME).number == 1
    assert stale(registered) == set()

    registered.register(0.6)  # worse
    registered.define(promotion_margin=0.01)
    assert registered.judge().success
    assert champion_of(settings, NAME).number == 1
    assert PREDICTIONS not in stale(registered), "nothing that it reads changed"
    registered.register(0.0)  # better
    assert registered.judge().success
    assert champion_of(settings, NAME).number == 3
    assert stale(registered) == {PREDICTIONS}
    assert registered.predict().success
    rows = predicted_labels(settings, "device", "guess")
    assert set(rows["model_version"].to_pylist()) == {3}

    roll_back(settings, NAME, "ada")
    assert stale(registered) == {CHAMPION, PREDICTIONS}
    assert registered.run().success
    assert champion_of(settings, NAME).number == 1, "the challenger was judged before"
    assert stale(registered) == set()
    assert log(registered) == [
        ("promoted", 1, True),
        ("kept", 2, True),
        ("promoted", 3, True),
        ("rolled_back", 1, False),
    ]
    kept = decisions(settings, NAME)[2]
    assert kept.score is not None
    assert kept.champion_score is not None
    assert kept.score < kept.champion_score
    assert kept.entities == N // 4
    assert kept.details["champion"]["labels"]["macro_f1"] == kept.champion_score


def test_predictions_have_the_shape_of_labels(registered: Registered) -> None:  # noqa: F811
    registered.register()
    result = registered.run()
    assert result.success
    rows = predicted_labels(registered.settings, "device", "guess")
    assert rows.num_rows == N
    columns = prediction_columns(registered.settings, "device", "guess")
    assert columns[:3] == ["mac_address", "label", "confidence"]
    assert labels_of(columns) == list(LABELS)
    given = dict(zip(rows["mac_address"].to_pylist(), rows["label"].to_pylist(), strict=True))
    right = [given[k] == LABELS[t] for k, t in zip(keys(N).to_pylist(), truth(N), strict=True)]
    assert np.mean(right) > 0.9
    chances = np.column_stack([rows[f"p_{label.lower()}"] for label in LABELS])
    assert np.allclose(chances.sum(axis=1), 1)
    assert np.allclose(chances.max(axis=1), rows["confidence"])
    state = load_states(registered.settings)[PREDICTIONS]
    assert set(rows["version"].to_pylist()) == {state.version}
    assert set(rows["run_id"].to_pylist()) == {result.run_id}
    assert state.details["champion"] == 1
    in_lake = open_lake(registered.settings).read_table(
        definition_key("predictions", "device", "guess")
    )
    assert in_lake.column_names == ["device_id", *columns[1:]]
    assert in_lake["label"].to_pylist() == rows["label"].to_pylist()
    (made,) = result.asset_materializations_for_node("device__guess__predictions")
    assert made.metadata["dagster/table_name"].value == "predictions.device__guess"
    assert sum(made.metadata["labels"].value.values()) == N


def test_without_a_champion_nothing_is_predicted(registered: Registered) -> None:  # noqa: F811
    assert not registered.judge().success
    error = load_states(registered.settings)[CHAMPION].error
    assert error is not None
    assert "tippers pipeline materialize device.guess" in error
    registered.register(1.0)  # all wrong
    judged = registered.judge()
    assert judged.success
    assert not checks(judged)["there_is_one"]
    assert log(registered) == [("kept", 1, True)]
    assert not registered.predict().success
    error = load_states(registered.settings)[PREDICTIONS].error
    assert error is not None
    assert f"tippers models promote {NAME} 1" in error
    promote(registered.settings, NAME, 1, "ada")
    assert PREDICTIONS in stale(registered)
    assert registered.run().success
    assert log(registered) == [("kept", 1, True), ("promoted", 1, False)]


def test_gold_labels_can_prevent_a_promotion(registered: Registered, tmp_path: Path) -> None:  # noqa: F811
    """For one version, gold labels contradict the label model's."""
    registered.register(0.4)
    assert registered.judge().success
    file = tmp_path / "gold.csv"
    file.write_text(written_gold(N, every=4))
    turned = dict(zip(LABELS, LABELS[1:] + LABELS[:1], strict=True))
    lines = file.read_text().splitlines()
    wrong = [lines[0], *(f"{k},{turned[v]}" for k, v in (line.split(",") for line in lines[1:]))]
    file.write_text("\n".join(wrong) + "\n")
    import_gold(registered.settings, file, {"device": LABELS}, by="ada", concept="device")
    registered.register(0.0)
    assert registered.judge().success
    newest = decisions(registered.settings, NAME)[0]
    assert newest.decision == "kept"
    assert "worse by gold" in newest.reason


def test_drift_since_training_is_reported(registered: Registered) -> None:  # noqa: F811
    registered.register()
    assert registered.run().success
    moved = features(N, shift=30.0).to_pandas()
    moved.loc[: N // 2, "rooms"] = np.nan
    moved["rooms"] = moved["rooms"].fillna(1.0)  # that model accepts no missing values
    registered.put("features", "habits", pa.Table.from_pandas(moved, preserve_index=False))
    result = registered.predict()
    assert result.success
    found = checks(result)
    assert not found["features_as_in_training"]
    assert not found["labels_as_in_training"]
    assert found["missing_values_as_in_training"]
    assert found["training_is_known"]
    rows = read_drift(registered.settings, NAME)
    newest = [r for r in rows if r["run_id"] == result.run_id]
    assert {(r["what"], r["name"]) for r in newest} == {
        ("feature", "hours"),
        ("feature", "rooms"),
        ("label", "label"),
    }
    assert next(r for r in newest if r["name"] == "hours")["drifted"]
    assert len(rows) == 6


def test_a_version_that_was_never_judged_has_no_training_profile(
    registered: Registered,  # noqa: F811
) -> None:
    registered.register()
    promote(registered.settings, NAME, 1, "ada")
    result = registered.predict()
    assert result.success
    assert not any(checks(result).values())


KILLED = """
import os, signal
from tests.learning.registered import NAME, REF, Registered
from tippers_dagster.learning import challenges, registry
from tippers_dagster.settings import get_settings

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

registry._apply = die
world = Registered(get_settings(), None)
with registry.deciding(world.settings, NAME):
    model = registry.registered_model(world.settings, NAME)
    challenges.judge_challenger(world.settings, world.catalog, REF, model, "the killed run")
"""


def test_a_killed_run_promotes_once(registered: Registered) -> None:  # noqa: F811
    registered.register()
    root = str(Path(__file__).resolve().parents[2])
    env = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", KILLED], env=env, check=False, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    (left,) = decisions(registered.settings, NAME)
    assert left.applied_at is None
    assert registered.run().success
    (made,) = decisions(registered.settings, NAME)
    assert made.by == "run the killed run"
    assert made.applied_at is not None
    assert champion_of(registered.settings, NAME).number == 1


def test_a_killed_run_records_nothing_as_predicted(
    registered: Registered,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registered.register()
    assert registered.run().success
    for point in POINTS:
        leaves_nothing_fresh(
            monkeypatch, registered.settings, PREDICTIONS, registered.predict, point, "predictions/"
        )
        assert PREDICTIONS in stale(registered)
