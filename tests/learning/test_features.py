"""Features prepared for models."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from tests.labelling.small import keys
from tests.learning.trained import Learned, N, habits, learned, rooms
from tippers_dagster.campus.identities import pseudonymise
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import BadInput
from tippers_dagster.learning.errors import DuplicateColumns
from tippers_dagster.learning.features import FeatureRows, model_column, read_features
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key

__all__ = ["learned"]

INDEX = Ref("device", "devices", Kind.INDEX)
HABITS, ROOMS = (Ref("device", name, Kind.FEATURE) for name in ("habits", "rooms"))


def read(world: Learned, *features: Ref) -> FeatureRows:
    return read_features(world.settings, world.catalog, INDEX, features or (HABITS, ROOMS))


def test_every_entity_has_a_row_with_nulls_for_missing_values(learned: Learned) -> None:
    shuffled = np.random.default_rng(0).permutation(N - 5)
    learned.put_feature("rooms", rooms(), shuffled)
    found = read(learned)
    devices = pseudonymise(learned.settings, pa.table({"mac_address": keys(N)})).column(0)
    assert found.key == "device_id"
    assert found.keys.to_pylist() == devices.to_pylist()
    assert found.numeric == ("hours", "weekend", "places")
    assert found.categorical == ("room",)
    assert found.sources["room"] == ROOMS
    there = rooms()
    assert found.columns["room"].to_pylist() == [*there["room"].to_pylist()[:-5], *[None] * 5]
    assert found.columns["hours"].to_pylist() == habits()["hours"].to_pylist()
    frame = found.frame()
    assert frame["hours"].isna().sum() == found.columns["hours"].null_count == 24
    assert frame["room"].tolist()[-1] is None
    assert frame.dtypes.astype(str).tolist() == ["float64", "float64", "object", "float64"]
    some = found.take(np.arange(N) % 2 == 1)
    assert len(some) == N // 2
    assert some.frame()["places"].equals(frame["places"][1::2].reset_index(drop=True))


def test_columns_become_numbers_or_text() -> None:
    given = {
        "truth": (pa.array([True, None]), [1.0, None]),
        "whole": (pa.array([7, None], pa.int16()), [7.0, None]),
        "fraction": (pa.array([0.5, float("nan")]), [0.5, None]),
        "time": (pa.array([dt.datetime(1970, 1, 2, 0, 0, 1), None]), [86401.0, None]),
        "date": (pa.array([dt.date(1970, 1, 2), None]), [86400.0, None]),
        "clock": (pa.array([dt.time(1, 0, 5), None]), [3605.0, None]),
        "duration": (pa.array([dt.timedelta(minutes=2), None]), [120.0, None]),
        "text": (pa.array(["x", None]), ["x", None]),
        "dictionary": (pa.array(["x", None]).dictionary_encode(), ["x", None]),
        "nothing": (pa.array([None, None]), [None, None]),
    }
    for name, (column, expected) in given.items():
        assert model_column(pa.chunked_array([column]), name).to_pylist() == expected, name
    with pytest.raises(BadInput, match="places has the type list<item: int64>"):
        model_column(pa.chunked_array([pa.array([[1]])]), "places")
    with pytest.raises(BadInput, match="ratio contains infinite numbers"):
        model_column(pa.chunked_array([pa.array([1.0, float("inf")])]), "ratio")


def test_features_that_cannot_be_joined(learned: Learned) -> None:
    learned.put_feature("rooms", {**rooms(), "hours": pa.array(np.ones(N))})
    with pytest.raises(DuplicateColumns, match=r"device.habits and device.rooms both .* hours"):
        read(learned)
    twice = pa.array([*range(N), 0])
    learned.put("features", "rooms", pa.table({"mac_address": keys(N), **rooms()}).take(twice))
    with pytest.raises(BadInput, match=r"device.rooms has more than one row"):
        read(learned)
    place = definition_key("features", "device", "rooms")
    open_lake(learned.settings).write_table(place, pa.table({"room": ["a"]}))
    with pytest.raises(BadInput, match=r"device.rooms has no column device_id"):
        read(learned)
    open_lake(learned.settings).write_table(place, pa.table({"device_id": ["a"], "room": ["a"]}))
    with pytest.raises(BadInput, match="has keys of type string, but the index of type uint64"):
        read(learned)
