"""A classifier is trained when its labels or features change, not at every refresh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.labelling.small import truth
from tests.learning.test_classifiers import checks, client, metadata, runs
from tests.learning.trained import (
    MODELS,
    REF,
    Learned,
    N,
    habits,
    learned,
    logged,
    sure,
)
from tippers_dagster.automation import state as states
from tippers_dagster.automation.runs import STALE_ONLY_TAG
from tippers_dagster.automation.state import AssetState, load_states, recorder
from tippers_dagster.labelling.gold import give
from tippers_dagster.learning import work
from tippers_dagster.learning.held_out import held_out_key
from tippers_dagster.learning.results import last_result
from tippers_dagster.learning.training_set import held_out
from tippers_dagster.platform.lake import open_lake

__all__ = ["learned", "logged"]

NAME = "device/guess"


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that were trained so far."""
    names: list[str] = []
    really = work.train_model
    monkeypatch.setattr(work, "train_model", lambda t: names.append(t.model) or really(t))
    return names


def recorded(world: Learned) -> AssetState:
    return load_states(world.settings)[NAME]


def wanted(world: Learned) -> str:
    """The version of the classifier with its inputs as they are."""
    return recorder(world.settings, world.nodes, "later").version(REF.asset_path)


def label() -> np.ndarray:
    """The labels of ``trained.fill``."""
    found = truth(N).astype(np.int8)
    found[::40] = -1
    return found


def confidence() -> np.ndarray:
    """Their confidence: one in four is not used."""
    return np.where(np.arange(N) % 4 == 0, 0.6, 0.9)


def put_labels(world: Learned, given: np.ndarray, most: np.ndarray) -> None:
    world.put_labels(given, sure(np.maximum(given, 0), most[:, None]))


def on_side(world: Learned, out: bool) -> int:
    """A confident entity that is held out, or one that is not."""
    keys = work.read_inputs(world.settings, world.catalog, REF).rows.keys
    found = (held_out(keys, 123, 0.25) == out) & (label() >= 0) & (np.arange(N) % 4 != 0)
    return int(np.flatnonzero(found & (np.arange(N) < N - 5))[0])


# --- nothing changed ------------------------------------------------------------------------------
def test_inputs_computed_again_with_the_same_rows_do_not_train(
    learned: Learned, trained: list[str]
) -> None:
    first = learned.run()
    before, result = recorded(learned), last_result(learned.settings, REF)
    assert sorted(trained) == sorted(MODELS)
    assert not before.unchanged

    learned.put_feature("habits", habits())
    put_labels(learned, label(), confidence())
    give(learned.settings, "device", "aa:bb:cc:00:00:01", "PHONE", by="ada")
    for _ in range(2):
        again = learned.refresh("habits", "kind_of")
        assert again.success
        now = recorded(learned)
        assert now.version == wanted(learned) != before.version
        assert (now.run_id, now.seconds, now.rows) == (again.run_id, before.seconds, before.rows)
        assert now.unchanged
        assert now.details["best"] == before.details["best"]
        assert metadata(again)["computed_in_run"] == first.run_id
        assert metadata(again)["unchanged"].startswith("Nothing was computed")
        assert checks(again) == checks(first)
    assert len(trained) == len(MODELS)
    assert last_result(learned.settings, REF) == result

    assert learned.run().success  # started by hand: it trains
    assert len(trained) == 2 * len(MODELS)
    assert not recorded(learned).unchanged
    assert last_result(learned.settings, REF).run_id == recorded(learned).run_id


def test_entities_that_are_not_used_do_not_matter(learned: Learned, trained: list[str]) -> None:
    assert learned.run().success
    keys = work.read_inputs(learned.settings, learned.catalog, REF).rows.keys
    unused = np.flatnonzero(~held_out(keys, 123, 0.25) & (np.arange(N) % 4 == 0))[0]
    columns = habits()
    columns["weekend"] = pa.array(np.where(np.arange(N) == unused, 0.5, columns["weekend"]))
    learned.put_feature("habits", columns)
    assert learned.refresh("habits").success
    assert len(trained) == len(MODELS)


# --- something changed ----------------------------------------------------------------------------
def another_feature(world: Learned) -> None:
    columns = habits()
    at = np.arange(N) == on_side(world, out=False)
    columns["weekend"] = pa.array(np.where(at, 0.5, columns["weekend"]))
    world.put_feature("habits", columns)


def missing_value(world: Learned) -> None:
    columns = habits()
    at = np.arange(N) == on_side(world, out=True)
    columns["weekend"] = pa.array(np.asarray(columns["weekend"]), mask=at)
    world.put_feature("habits", columns)


def another_label(world: Learned) -> None:
    given = label()
    at = on_side(world, out=False)
    given[at] = (given[at] + 1) % 3
    put_labels(world, given, confidence())


def another_held_out_label(world: Learned) -> None:
    given = label()
    at = on_side(world, out=True)
    given[at] = (given[at] + 1) % 3
    put_labels(world, given, confidence())


def less_confident(world: Learned) -> None:
    most = confidence()
    most[on_side(world, out=False)] = 0.6
    put_labels(world, label(), most)


def another_definition(world: Learned) -> None:
    world.define(imbalance_cap=2.0)


def lost_file(world: Learned) -> None:
    open_lake(world.settings).delete(held_out_key(REF))


def dead_run(world: Learned) -> None:
    recorder(world.settings, world.nodes, "dead").replacing(REF.asset_path)


@pytest.mark.parametrize(
    "change",
    [
        another_feature,
        missing_value,
        another_label,
        another_held_out_label,
        less_confident,
        another_definition,
        lost_file,
        dead_run,
    ],
)
def test_changes_train(
    learned: Learned, trained: list[str], change: Callable[[Learned], None]
) -> None:
    assert learned.run().success
    change(learned)
    assert learned.refresh("kind_of").success
    assert len(trained) == 2 * len(MODELS)
    assert not recorded(learned).unchanged
    assert last_result(learned.settings, REF).run_id == recorded(learned).run_id


def test_a_library_that_can_be_loaded_again_trains(
    learned: Learned, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    learned.define(models=("naive_bayes", "lightgbm"))
    with monkeypatch.context() as patched:
        patched.setattr(work, "left_out", lambda models: {"lightgbm": "OSError: no libgomp"})
        assert learned.run().success
        assert learned.refresh("habits").success
        assert trained == ["naive_bayes"]
    assert learned.refresh("habits").success
    assert sorted(trained) == ["lightgbm", "naive_bayes", "naive_bayes"]


def test_after_a_failure_the_same_rows_are_as_before(learned: Learned, trained: list[str]) -> None:
    assert learned.run().success
    learned.put_labels(np.zeros(N, np.int8), sure(np.zeros(N, int)))
    assert not learned.refresh("kind_of").success
    assert "have the label STATIC" in (recorded(learned).error or "")
    put_labels(learned, label(), confidence())
    assert learned.refresh("kind_of").success
    assert (recorded(learned).error, recorded(learned).tries) == (None, 0)
    assert recorded(learned).version == wanted(learned)
    assert len(trained) == len(MODELS)


def test_an_input_computed_meanwhile_leaves_it_stale_and_whole(
    learned: Learned, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert learned.run().success
    before = recorded(learned)
    really = states.Recorder.unchanged

    def meanwhile(self: Any, *given: Any) -> str:
        recorder(learned.settings, learned.nodes, "other").succeeded(("device", "rooms"))
        return really(self, *given)

    with monkeypatch.context() as patched:
        patched.setattr(states.Recorder, "unchanged", meanwhile)
        assert learned.refresh("habits").success
    assert recorded(learned).version == before.version != wanted(learned)
    assert learned.refresh().success
    assert recorded(learned).version == wanted(learned)
    assert len(trained) == len(MODELS)


# --- MLflow ---------------------------------------------------------------------------------------
def test_the_registered_model_stays_unless_it_was_deleted(
    logged: Learned, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert logged.run().success, recorded(logged).error
    before = {run.info.run_id for run in runs(logged)}
    result = logged.refresh("habits")
    assert checks(result)["logged_to_mlflow"]
    assert {run.info.run_id for run in runs(logged)} == before
    assert recorded(logged).details["registered"] == 1
    assert len(client(logged).search_model_versions("name = 'device.guess'")) == 1
    assert len(trained) == len(MODELS)

    client(logged).delete_model_version("device.guess", "1")
    with monkeypatch.context() as patched:  # unavailable: nothing could be registered
        away = logged.settings.model_copy(update={"mlflow_url": "http://127.0.0.1:1"})
        patched.setattr(logged, "settings", away)
        kept = logged.run(**{STALE_ONLY_TAG: "true"})
        assert kept.success, recorded(logged).error
        assert len(trained) == len(MODELS)
    assert logged.refresh("habits").success
    assert len(trained) == 2 * len(MODELS)
    assert recorded(logged).details["registered"] == 2
