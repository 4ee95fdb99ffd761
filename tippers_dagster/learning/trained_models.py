"""Models that are already trained, kept in the lake until the whole bank is.

Training continues where a killed process stopped. Kept models belong to one state of labels,
features and definition; they are deleted when the classifier is done.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import LakeFileMissing
from tippers_dagster.learning.train import Outcome
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key, encode
from tippers_dagster.settings import Settings


@dataclass(frozen=True)
class Parts:
    """The kept models of one classifier.

    Parameters
    ----------
    state
        A hash of everything that the models are trained on: models of another state are ignored.
    """

    settings: Settings
    classifier: Ref
    state: str

    def keep(self, outcome: Outcome) -> None:
        """Keep a trained model; one that failed is tried again."""
        if outcome.error is not None:
            return
        sink = io.BytesIO()
        np.savez_compressed(
            sink,
            cross_validated=outcome.cross_validated,
            held_out=outcome.held_out,
            seconds=np.array(outcome.seconds),
            warned=np.array(outcome.warned, np.str_),
        )
        open_lake(self.settings).write_bytes(self._key(outcome.model), sink.getvalue())

    def kept(self, models: Sequence[str]) -> dict[str, Outcome]:
        """Those of the given models that are kept."""
        found = {}
        for model in models:
            try:
                data = open_lake(self.settings).read_bytes(self._key(model))
            except LakeFileMissing:
                continue
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                found[model] = Outcome(
                    model,
                    file["cross_validated"],
                    file["held_out"],
                    float(file["seconds"]),
                    tuple(file["warned"].tolist()),
                )
        return found

    def forget(self) -> None:
        """Remove all kept models of the classifier, of any state."""
        open_lake(self.settings).delete_prefix(_folder(self.classifier))

    def _key(self, model: str) -> str:
        return f"{_folder(self.classifier)}{encode(self.state)}/{encode(model)}.npz"


def _folder(ref: Ref) -> str:
    place = definition_key("classifiers", ref.concept, ref.name)
    return place.replace("data.parquet", "parts/")
