"""The entities of an index, and the current votes of the labelling functions on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pandas as pd
import pyarrow as pa

from streamlit_app.services.definitions.preview import version_of
from tippers_dagster.campus.identities import lake_name, pseudonymise
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import LakeFileMissing
from tippers_dagster.labelling.analysis import ABSTAIN
from tippers_dagster.labelling.work import VOTE, read_entities
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key
from tippers_dagster.settings import Settings


@dataclass(frozen=True, eq=False)
class CurrentVotes:
    """The entities of an index, and the votes of the concept's labelling functions.

    ``keys`` identify the entities in the warehouse and ``ids`` in the lake, in the same order.
    ``votes`` is int8 [entities, functions], in the concept's class numbers. ``uncomputed`` names
    functions without votes.
    """

    keys: pa.Array
    ids: np.ndarray
    functions: tuple[Ref, ...]
    votes: np.ndarray
    uncomputed: tuple[str, ...]


def current_votes(
    settings: Settings, catalog: Catalog, ref: Ref, versions: dict[str, str]
) -> CurrentVotes:
    """The votes on the index of a labelling function or label model; cached by their versions.

    Raises
    ------
    NeverComputed
        If the index has never been computed.
    """
    index = catalog.index_of(ref)
    assert index is not None
    version = version_of(versions, index)
    functions = tuple(
        (d.ref, versions.get(d.ref.asset_name, ""))
        for d in catalog.of_kind(Kind.LABELLING_FUNCTION)
        if d.ref.concept == ref.concept and catalog.index_of(d.ref) == index
    )
    return _read(_Request(settings, index, version, functions, ref, catalog))


@dataclass(frozen=True)
class _Request:
    """What ``CurrentVotes`` depend on: the versions of the index and of each function's votes."""

    settings: Settings
    index: Ref
    version: str
    functions: tuple[tuple[Ref, str], ...]
    ref: Ref
    catalog: Catalog = field(compare=False, repr=False)


@lru_cache(maxsize=4)
def _read(request: _Request) -> CurrentVotes:
    key = request.catalog.key_column(request.ref)
    keys, _ = read_entities(request.settings, request.catalog, request.ref)
    ids = pseudonymise(request.settings, pa.table({key: keys})).column(0).to_numpy()
    lake = open_lake(request.settings)
    found, votes, uncomputed = [], [], []
    for function, _ in request.functions:
        try:
            table = lake.read_table(definition_key("votes", function.concept, function.name))
            votes.append(_by_entity(ids, table[lake_name(key)], table[VOTE].to_numpy()))
            found.append(function)
        except LakeFileMissing:
            uncomputed.append(function.name)
    matrix = np.stack(votes, axis=1) if votes else np.empty((len(ids), 0), np.int8)
    return CurrentVotes(keys, ids, tuple(found), matrix, tuple(uncomputed))


def _by_entity(ids: np.ndarray, keys: pa.ChunkedArray, votes: np.ndarray) -> np.ndarray:
    """int8 [entities]. The index may be newer than the votes: unknown keys are left out."""
    places = pd.Index(ids).get_indexer(keys.to_numpy())
    result = np.full(len(ids), ABSTAIN, np.int8)
    known = places >= 0
    result[places[known]] = votes[known]
    return result
