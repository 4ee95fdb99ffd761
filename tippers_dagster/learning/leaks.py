"""Features that give the answer away.

A feature leaks if it is computed from the label that is predicted. Three things show this:

1. Its lineage: its query reads the label model that the classifier learns from, directly or
  indirectly (``catalog/checking.py``). Its index does not count: it only determines which entities
  there are.
2. Its name: the key, a label, a vote, a probability.
3. Its values: they are the label model's labels under other names (one to one, for every labelled
  entity), one of its probabilities, or the key.

A feature that predicts well on its own is not a leak: a label model's functions look at a few
numbers, and these numbers are good features. But if a column says exactly what the label says, no
model is needed, and none would learn anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.identities import DEVICE_ID, MAC
from tippers_dagster.learning.errors import LeakingFeature
from tippers_dagster.learning.features import FeatureRows

MIN_ENTITIES = 20
"""With fewer labelled entities, values may agree by chance."""

_NAMES = frozenset({"label", "gold", "gold_label", "outcome", "confidence", "majority_label"})
_CLOSE = 1e-9


def check_leaks(
    rows: FeatureRows,
    label: np.ndarray,
    probabilities: np.ndarray,
    labels: Sequence[str],
    label_model: str,
) -> None:
    """Refuse features that leak by their names or values.

    Parameters
    ----------
    rows
        n entities.
    label, probabilities
        Of all labelled entities, not only the confident ones: int [n], -1 for none; float64
        [n, labels].
    label_model
        The label model's name without the concept.

    Raises
    ------
    LeakingFeature
        Names the columns and the reasons.
    """
    found = [*_by_name(rows, labels, label_model), *_by_value(rows, label, probabilities)]
    if found:
        raise LeakingFeature(
            "\n".join(f"{rows.sources[name]}: the column {name} {why}" for name, why in found),
            "Remove these columns from the feature's query.",
        )


def _by_name(
    rows: FeatureRows, labels: Sequence[str], label_model: str
) -> Iterator[tuple[str, str]]:
    probabilities = {f"p_{label.lower()}" for label in labels}
    for name in rows.columns.column_names:
        plain = name.lower()
        if plain == rows.key or plain in (MAC, DEVICE_ID) or plain.endswith(f"_{DEVICE_ID}"):
            yield name, "identifies an entity."
        elif plain in _NAMES or plain == label_model or plain.startswith("vote_"):
            yield name, "has the name of a label or a vote."
        elif plain in probabilities:
            yield name, "has the name of a label's probability."


def _by_value(
    rows: FeatureRows, label: np.ndarray, probabilities: np.ndarray
) -> Iterator[tuple[str, str]]:
    labelled = label >= 0
    if labelled.sum() < MIN_ENTITIES:
        return
    given, mask = label[labelled].astype(np.int64), pa.array(labelled)
    known = probabilities[labelled]
    for name, column in zip(rows.columns.column_names, rows.columns.columns, strict=True):
        values = column.filter(mask)
        if _is_key(column, rows.keys):
            yield name, "identifies an entity: no two have the same value."
        elif _is_label(values, given):
            yield name, "reveals the label: each of its values corresponds to one label."
        elif _is_probability(values, known):
            yield name, "is a probability of the label model."


def _is_key(column: pa.ChunkedArray, keys: pa.Array) -> bool:
    """Whether it is a text that is unique per entity, or the key's number."""
    known = len(column) - column.null_count
    if pa.types.is_string(column.type):
        return known >= MIN_ENTITIES and pc.count_distinct(column).as_py() == known
    if not pa.types.is_integer(keys.type) or column.null_count:
        return False
    return bool(pc.all(pc.equal(column, keys.cast(pa.float64(), safe=False))).as_py())


def _is_label(values: pa.ChunkedArray, label: np.ndarray) -> bool:
    """Whether values (including null) and labels correspond one to one."""
    encoded = values.combine_chunks().dictionary_encode(null_encoding="encode")
    n_labels = len(np.unique(label))
    if n_labels < 2 or len(encoded.dictionary) != n_labels:
        return False
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return len(np.unique(codes * (label.max() + 1) + label)) == n_labels


def _is_probability(values: pa.ChunkedArray, probabilities: np.ndarray) -> bool:
    """Whether they are one label's probabilities, their complements, or the largest ones."""
    if not pa.types.is_float64(values.type) or values.null_count:
        return False
    column = values.to_numpy()[:, None]
    candidates = np.column_stack([probabilities, 1 - probabilities, probabilities.max(axis=1)])
    varying = candidates.max(axis=0) - candidates.min(axis=0) > _CLOSE
    close = (np.abs(candidates - column) < _CLOSE).all(axis=0)
    return bool((close & varying).any())
