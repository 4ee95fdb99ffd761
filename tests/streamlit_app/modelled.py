"""A classifier with two versions, decisions, predictions and drift, and what was recorded of it."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from streamlit_app.services import models as service
from streamlit_app.services.app import App
from tests.labelling.small import LABELS
from tests.learning.registered import Registered, registered
from tippers_dagster.access.model import Person, Role
from tippers_dagster.learning.results import ClassifierResult, ModelResult, record_result
from tippers_dagster.learning.scores import Measures, measure


def measured(share_right: float) -> Measures:
    rng = np.random.default_rng(1)
    truth = np.arange(90) % 3
    said = np.where(rng.random(90) < share_right, truth, (truth + 1) % 3)
    return measure(truth, np.where(np.arange(3) == said[:, None], 0.8, 0.1))


def result(at: dt.datetime, run_id: str, right: float, gold: int = 30) -> ClassifierResult:
    """A materialisation whose best model is right about a share."""
    found, worse = measured(right), measured(right / 2)
    models = [
        ModelResult(name, rank, "trained", None, 1.5, m.values(), m.values(), m.values())
        for rank, (name, m) in enumerate((("random_forest", found), ("ridge", worse)), start=1)
    ]
    none = dict.fromkeys(found.values())
    failed = ModelResult("lightgbm", 3, "left out", "no libgomp", None, none, none, none)
    beside = {
        "best": found.to_json(),
        "label_model": worse.to_json(),
        "majority_class": measured(0.0).to_json(),
    }
    counts = dict.fromkeys(LABELS, 30)
    details = {
        "labels": list(LABELS),
        "steps": [{"threshold": 0.7, "counts": counts}, {"threshold": 0.65, "counts": counts}],
        "counts": {"confident": counts, "trained": counts, "held_out": counts},
        "importances": [
            {"column": "hours", "mean": 0.3, "deviation": 0.02},
            {"column": "rooms", "mean": 0.1, "deviation": 0.01},
        ],
        "comparison": {"held_out": beside, "gold": beside},
    }
    return ClassifierResult(
        concept="device",
        classifier="guess",
        version=f"v{right}",
        run_id=run_id,
        at=at,
        best="random_forest",
        metric="macro_f1",
        threshold=0.65,
        trained=180,
        held_out=60,
        gold=gold,
        seconds=20.0,
        mlflow_run="abc",
        registered=2,
        details=details,
        models=(*models, failed),
    )


@pytest.fixture
def modelled_app(registered: Registered, monkeypatch: pytest.MonkeyPatch) -> App:
    """The classifier ``device.guess``: version 1 was champion, version 2 is; an analyst asks."""
    settings = registered.settings
    registered.register(0.3)
    assert registered.run().success
    registered.register(0.0)
    assert registered.run().success
    now = dt.datetime.now(dt.UTC)
    record_result(settings, result(now - dt.timedelta(days=1), "run-1", 0.7))
    record_result(settings, result(now, "run-2", 0.9))
    monkeypatch.setattr(service, "load_catalog", lambda _: registered.catalog)
    service._loaded.cache_clear()
    return App(settings, Person("ada", Role.ANALYST))


__all__ = ["modelled_app", "registered"]
