"""Gold labels of entities by their keys in the lake."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.identities import pseudonymise
from tippers_dagster.labelling.evaluate import numbers
from tippers_dagster.labelling.gold import read_gold
from tippers_dagster.settings import Settings


def gold_in_lake(
    settings: Settings, concept: str, key: str, keys: pa.Array, labels: Sequence[str]
) -> np.ndarray:
    """int8 [n]: class numbers of entities' gold labels, -1 if there is none.

    Parameters
    ----------
    key
        Name of the key column in the warehouse, such as ``mac_address``.
    keys
        The entities' keys in the lake, [n].
    labels
        In the order of the class numbers.
    """
    gold = read_gold(settings, concept)
    return match_labels(settings, key, gold["entity"], gold["label"].to_pylist(), keys, labels)


def match_labels(
    settings: Settings,
    key: str,
    entities: pa.Array | pa.ChunkedArray,
    given: Sequence[str | None],
    keys: pa.Array,
    labels: Sequence[str],
) -> np.ndarray:
    """Like :func:`gold_in_lake`, for labels ``given`` to ``entities`` of the warehouse."""
    named = pseudonymise(settings, pa.table({key: entities})).column(0)
    known = named.combine_chunks().cast(pa.string())
    places = pc.index_in(keys.cast(pa.string()), value_set=known).fill_null(len(known))
    return np.append(numbers(labels, given), np.int8(-1))[places.to_numpy()]
