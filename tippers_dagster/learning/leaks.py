"""Features that give the answer away.

A feature leaks when it is made of what is to be predicted. Three things tell:

1. Its lineage: its query reads the label model that the classifier learns from, itself or through
   what it reads (``catalog/checking.py``). The index that it stands on is no such thing: an index
   says which entities there are.
2. Its name: the key, a label, a vote, a probability.
3. Its values: they are the label model's labels under other names (each value goes with one label
   and each label with one value, for every labelled entity), one of its probabilities, or the key.

That a feature alone predicts well is no leak: a label model's functions look at a few numbers, and
the numbers that they look at are good features. But where a column says just what the label says,
no model is needed, and none would learn anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.identities import DEVICE_ID, MAC
from tippers_dagster.learning.errors import LeakingFeature
from tippers_dagster.learning.features import FeatureRows

FEWEST_TO_TELL = 20
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
    """Refuse features that leak by their names or their values.

    Parameters
    ----------
    rows
        n entities.
    label, probabilities
        Of all labelled entities, not the confident ones alone: int [n], -1 for none; float64
        [n, labels].
    label_model
        Its name without the concept.

    Raises
    ------
    LeakingFeature
        Naming the columns, and why.
    """
    found = [*_by_name(rows, labels, label_model), *_by_value(rows, label, probabilities)]
    if found:
        raise LeakingFeature(
            "\n".join(f"{rows.sources[name]}: the column {name} {why}" for name, why in found),
            "Leave these columns out in the feature's query.",
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
    if labelled.sum() < FEWEST_TO_TELL:
        return
    given, mask = label[labelled].astype(np.int64), pa.array(labelled)
    known = probabilities[labelled]
    for name, column in zip(rows.columns.column_names, rows.columns.columns, strict=True):
        values = column.filter(mask)
        if _is_key(column, rows.keys):
            yield name, "identifies an entity: no two have the same value."
        elif _is_label(values, given):
            yield name, "says the label itself: each of its values goes with one label."
        elif _is_probability(values, known):
            yield name, "is a probability of the label model."


def _is_key(column: pa.ChunkedArray, keys: pa.Array) -> bool:
    """A text that no two entities share, or the key's own number."""
    there = len(column) - column.null_count
    if pa.types.is_string(column.type):
        return there >= FEWEST_TO_TELL and pc.count_distinct(column).as_py() == there
    if not pa.types.is_integer(keys.type) or column.null_count:
        return False
    return bool(pc.all(pc.equal(column, keys.cast(pa.float64(), safe=False))).as_py())


def _is_label(values: pa.ChunkedArray, label: np.ndarray) -> bool:
    """Whether values (null is one of them) and labels are one to one."""
    encoded = values.combine_chunks().dictionary_encode(null_encoding="encode")
    n_labels = len(np.unique(label))
    if n_labels < 2 or len(encoded.dictionary) != n_labels:
        return False
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return len(np.unique(codes * (label.max() + 1) + label)) == n_labels


def _is_probability(values: pa.ChunkedArray, probabilities: np.ndarray) -> bool:
    """Whether they are those of one label, those against it, or the largest."""
    if not pa.types.is_float64(values.type) or values.null_count:
        return False
    column = values.to_numpy()[:, None]
    candidates = np.column_stack([probabilities, 1 - probabilities, probabilities.max(axis=1)])
    varying = candidates.max(axis=0) - candidates.min(axis=0) > _CLOSE
    close = (np.abs(candidates - column) < _CLOSE).all(axis=0)
    return bool((close & varying).any())
