"""The held-out entities of a classifier's last training, on which no version is trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import LakeFileMissing
from tippers_dagster.labelling.evaluate import numbers
from tippers_dagster.learning.errors import NotTrained
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key
from tippers_dagster.settings import Settings


@dataclass(frozen=True, eq=False)
class HeldOutRows:
    """Held-out entities.

    Attributes
    ----------
    labels
        Names of the labels in the order of the class numbers.
    keys
        The keys in the lake, [n].
    label
        int8 [n]: class numbers of the label model's confident labels, -1 if there is none.
    """

    labels: tuple[str, ...]
    keys: pa.Array
    label: np.ndarray


def held_out_key(ref: Ref) -> str:
    """The lake key of the held-out entities."""
    place = definition_key("classifiers", ref.concept, ref.name)
    return place.replace("data.parquet", "heldout.parquet")


def read_held_out(settings: Settings, catalog: Catalog, ref: Ref) -> HeldOutRows:
    """The held-out entities of a classifier's last training.

    Raises
    ------
    NotTrained
        When the classifier was never trained.
    """
    labels = catalog.model_labels(ref)
    rows = read_training_file(settings, ref, held_out_key(ref))
    label = numbers(labels, rows["label"].to_pylist())
    return HeldOutRows(labels, rows[0].combine_chunks(), label)


def read_training_file(settings: Settings, ref: Ref, key: str) -> pa.Table:
    """A file that each training of a classifier writes to the lake.

    Raises
    ------
    NotTrained
        When the classifier was never trained.
    """
    try:
        return open_lake(settings).read_table(key)
    except LakeFileMissing as error:
        raise NotTrained(ref) from error
