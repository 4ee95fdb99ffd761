"""A classifier with small handmade tables: devices, their labels and two features."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from tests.labelling.small import FUNCTIONS, LABELS, QUIET, World, definition, keys, model, truth
from tippers_dagster.automation.nodes import Node
from tippers_dagster.automation.runs import STALE_ONLY_TAG
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
from tippers_dagster.learning.classifier_assets import classifier_assets, classifier_nodes
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key
from tippers_dagster.settings import Settings, get_settings

REF = Ref("device", "guess", Kind.CLASSIFIER)
N = 240
MODELS = ("naive_bayes", "decision_tree")
"""Fast models."""


@dataclass
class Learned(World):
    """The tables, and the classifier."""

    body: Body = field(
        default_factory=lambda: Classifier(
            index="devices", label_model="kind_of", features=("habits", "rooms"), models=MODELS
        )
    )

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
                definition(Kind.FEATURE, "rooms", Feature(index="devices", sql="SELECT 1")),
                *self.functions,
                model(FUNCTIONS),
                definition(Kind.CLASSIFIER, "guess", self.body),
            ]
        )

    @property
    def nodes(self) -> list[Node]:
        above = [Node(("device", name), "1") for name in ("devices", "habits", "rooms", "kind_of")]
        return [*above, *classifier_nodes(self.settings, self.catalog)]

    def run(self, **tags: str) -> dg.ExecuteInProcessResult:
        """Materialize the classifier."""
        return dg.materialize(
            classifier_assets(self.settings, self.catalog, self.nodes),
            instance=self.instance,
            raise_on_error=False,
            run_config=QUIET,
            tags=tags,
        )

    def refresh(self, *inputs: str) -> dg.ExecuteInProcessResult:
        """Materialize it as automation does after these inputs were computed again."""
        for name in inputs:
            recorder(self.settings, self.nodes, uuid.uuid4().hex).succeeded(("device", name))
        return self.run(**{STALE_ONLY_TAG: "true"})

    def define(self, **changes: Any) -> None:
        self.body = self.body.model_copy(update=changes)

    def put_labels(self, label: np.ndarray, probabilities: np.ndarray) -> None:
        """The label model's labels: class numbers (-1: it abstained), and probabilities."""
        names = [None if number < 0 else LABELS[number] for number in label.tolist()]
        silent = label < 0
        rows = {
            "mac_address": keys(len(label)),
            "label": pa.array(names, pa.string()),
            **{
                f"p_{name.lower()}": pa.array(probabilities[:, number], mask=silent)
                for number, name in enumerate(LABELS)
            },
        }
        place = definition_key("labels", "device", "kind_of")
        open_lake(self.settings).write_table(place, pseudonymise(self.settings, pa.table(rows)))

    def put_feature(self, name: str, columns: dict[str, Any], rows: Sequence[int] | None = None):
        """A feature for some of the devices."""
        table = pa.table({"mac_address": keys(N), **columns})
        self.put("features", name, table if rows is None else table.take(pa.array(rows)))


def sure(label: np.ndarray, most: float = 0.9) -> np.ndarray:
    """Probabilities in which the label has ``most``."""
    rest = (1 - most) / (len(LABELS) - 1)
    return np.where(np.arange(len(LABELS)) == label[:, None], most, rest)


def habits(seed: int = 1) -> dict[str, Any]:
    """Columns that correlate with the truth; hours are missing for one in ten."""
    rng = np.random.default_rng(seed)
    hours = np.choose(truth(N), [20.0, 4.0, 0.5]) * rng.uniform(0.5, 1.5, N)
    return {
        "hours": pa.array(hours, mask=np.arange(N) % 10 == 0),
        "weekend": pa.array(rng.random(N)),
    }


def rooms() -> dict[str, Any]:
    rng = np.random.default_rng(2)
    kinds = np.array(["office", "lab", "hall"])
    at = np.where(rng.random(N) < 0.7, truth(N), rng.integers(0, 3, N))
    return {"room": pa.array(kinds[at]), "places": pa.array(rng.integers(1, 9, N))}


def fill(world: Learned) -> None:
    """Three of four labels are confident; the last devices have no row in ``rooms``."""
    world.put("indexes", "devices", pa.table({"mac_address": keys(N)}))
    world.put_feature("habits", habits())
    world.put_feature("rooms", rooms(), range(N - 5))
    label = truth(N).astype(np.int8)
    label[::40] = -1
    most = np.where(np.arange(N) % 4 == 0, 0.6, 0.9)[:, None]
    world.put_labels(label, sure(np.maximum(label, 0), most))


@pytest.fixture
def learned(stack: Settings) -> Iterator[Learned]:
    """The tables, untrained, without MLflow."""
    with dg.DagsterInstance.ephemeral() as instance:
        world = Learned(stack, instance)
        fill(world)
        yield world


@pytest.fixture
def logged(learned: Learned, own_mlflow: str) -> Learned:
    """The same, with a separate MLflow."""
    learned.settings = get_settings()
    return learned


__all__ = ["learned", "logged"]
