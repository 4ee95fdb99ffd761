"""A classifier with small tables, whose models are registered by hand with any accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.labelling.small import FUNCTIONS, LABELS, QUIET, World, definition, keys, model, truth
from tippers_dagster.automation.nodes import Node
from tippers_dagster.automation.state import recorder
from tippers_dagster.campus.identities import pseudonymise
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import (
    Body,
    Classifier,
    Concept,
    ConceptValue,
    Feature,
    Index,
    Kind,
    Rule,
)
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.learning.held_out import held_out_key
from tippers_dagster.learning.keys import champion_path, predictions_path
from tippers_dagster.learning.mlflow_log import log_model
from tippers_dagster.learning.naming import CHALLENGER, RUN_TAG, VERSION_TAG, registered_name
from tippers_dagster.learning.prediction_assets import prediction_assets, prediction_nodes
from tippers_dagster.learning.registry_assets import champion_assets, champion_nodes
from tippers_dagster.learning.saved import FILE
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.mlflow.client import mlflow_client
from tippers_dagster.platform.mlflow.model_files import record_model
from tippers_dagster.settings import Settings, get_settings

REF = Ref("device", "guess", Kind.CLASSIFIER)
NAME = registered_name(REF)
N = 240
OUT = 4
"""One in this many entities is held out."""


def classifier(**changes: Any) -> Classifier:
    return Classifier(index="devices", label_model="kind_of", features=("habits",), **changes)


@dataclass
class Registered(World):
    """The tables, the classifier, and its registered versions."""

    body: Body = field(default_factory=classifier)

    @property
    def catalog(self) -> Catalog:
        concept = Concept(values=tuple(ConceptValue(name=label) for label in LABELS))
        return Catalog(
            [
                Definition(Ref("", "device", Kind.CONCEPT), concept),
                definition(Kind.INDEX, "devices", Index(sql="SELECT mac_address FROM x")),
                definition(Kind.RULE, "usage", Rule(index="devices", sql="SELECT 1")),
                definition(Kind.RULE, "places", Rule(index="devices", sql="SELECT 1")),
                definition(Kind.FEATURE, "habits", Feature(index="devices", sql="SELECT 1")),
                *self.functions,
                model(FUNCTIONS),
                definition(Kind.CLASSIFIER, "guess", self.body),
            ]
        )

    @property
    def nodes(self) -> list[Node]:
        above = [Node(("device", name), "1") for name in ("devices", "habits", "guess")]
        made = (champion_nodes, prediction_nodes)
        return [*above, *(node for of in made for node in of(self.settings, self.catalog))]

    def run(self, *paths: Sequence[str]) -> dg.ExecuteInProcessResult:
        """Materialize these assets, or champion and predictions."""
        chosen = paths or (champion_path(REF), predictions_path(REF))
        args = (self.settings, self.catalog, self.nodes)
        return dg.materialize(
            [*champion_assets(*args), *prediction_assets(*args)],
            instance=self.instance,
            selection=dg.AssetSelection.assets(*(dg.AssetKey(path) for path in chosen)),
            raise_on_error=False,
            run_config=QUIET,
        )

    def judge(self) -> dg.ExecuteInProcessResult:
        return self.run(champion_path(REF))

    def predict(self) -> dg.ExecuteInProcessResult:
        return self.run(predictions_path(REF))

    def train_asset(self) -> None:
        """Record the inputs as computed."""
        record = recorder(self.settings, self.nodes, "of the training")
        for name in ("devices", "habits", "guess"):
            record.succeeded(("device", name))

    def define(self, **changes: Any) -> None:
        self.body = self.body.model_copy(update=changes)

    def register(self, wrong: float = 0.0, columns: Sequence[str] = ("hours", "rooms")) -> int:
        """Register a new challenger that learned a share of wrong labels; returns its version."""
        import mlflow

        frame, label = frame_of(N), truth(N)
        teach = np.arange(N) % OUT > 0
        taught = np.where(np.random.default_rng(3).random(N) < wrong, (label + 1) % 3, label)
        made = untrained().fit(
            frame.loc[teach, list(columns)], np.array(LABELS, object)[taught[teach]]
        )
        with mlflow_client(self.settings) as client:
            mlflow.set_experiment(NAME)
            with mlflow.start_run():
                mlflow.log_metrics({"held_out_macro_f1": 1 - wrong})
                place, content = log_model(made)
                tags = {RUN_TAG: "of training", VERSION_TAG: f"v{wrong}"}
                found = mlflow.register_model(place, NAME, tags=tags)
            number = int(found.version)
            record_model(self.settings, NAME, number, f"v{wrong}", "skops", FILE, content)
            client.set_registered_model_alias(NAME, CHALLENGER, found.version)
        return number


def untrained() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression())


def features(n: int, shift: float = 0.0) -> pa.Table:
    rng = np.random.default_rng(1)
    true = truth(n)
    return pa.table(
        {
            "mac_address": keys(n),
            "hours": np.choose(true, [20.0, 4.0, 0.5]) * rng.uniform(0.7, 1.3, n) + shift,
            "rooms": (np.choose(true, [1, 2, 6]) + (rng.random(n) < 0.2)).astype(float),
        }
    )


def frame_of(n: int) -> pd.DataFrame:
    return features(n).drop_columns(["mac_address"]).to_pandas()


def fill(world: Registered) -> None:
    """Index, features, and held-out entities with labels, except one."""
    world.put("indexes", "devices", pa.table({"mac_address": keys(N)}))
    world.put("features", "habits", features(N))
    out = np.flatnonzero(np.arange(N) % OUT == 0)
    label = np.array(LABELS, object)[truth(N)[out]]
    held = pa.table({"mac_address": keys(N).take(pa.array(out)), "label": pa.array(label)})
    lake = open_lake(world.settings)
    lake.write_table(held_out_key(REF), pseudonymise(world.settings, held))


@pytest.fixture
def registered(
    stack: Settings, own_mlflow: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Registered]:
    """The classifier's tables, a separate MLflow, and no model yet."""
    monkeypatch.chdir(tmp_path)  # MLflow's artifacts of experiments that we did not create
    with dg.DagsterInstance.ephemeral() as instance:
        world = Registered(get_settings(), instance)
        fill(world)
        world.train_asset()
        yield world


__all__ = ["registered"]
