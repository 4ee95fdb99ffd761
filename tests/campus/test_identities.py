"""The lake contains no MAC addresses."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from tippers_dagster.campus.identities import DeviceIds, keyed_hashes, pseudonymise
from tippers_dagster.errors import LakeError
from tippers_dagster.platform.keys import device_key
from tippers_dagster.settings import Settings, get_settings

MACS = ["aa:bb:cc:dd:ee:01", "aa:bb:cc:dd:ee:02", "aa:bb:cc:dd:ee:01"]


@pytest.fixture
def settings() -> Settings:
    return get_settings()


def test_a_mac_address_becomes_the_id_that_sessions_have(settings: Settings) -> None:
    table = pseudonymise(settings, pa.table({"hours": [1.0, 2.0, 3.0], "mac_address": MACS}))
    assert table.column_names == ["hours", "device_id"]
    ids = DeviceIds(device_key(settings))(pa.array(MACS))
    np.testing.assert_array_equal(table["device_id"].to_numpy(), ids)
    assert table["device_id"].type == pa.uint64()
    assert ids[0] == ids[2] != ids[1]


def test_columns_ending_in_mac_address_are_replaced_and_nulls_stay(settings: Settings) -> None:
    table = pa.table({"mac_address": MACS, "partner_mac_address": [None, MACS[0], None]})
    found = pseudonymise(settings, table)
    assert found["partner_device_id"].null_count == 2
    assert found["partner_device_id"][1] == found["device_id"][0]


def test_other_columns_and_an_empty_table_stay_as_they_are(settings: Settings) -> None:
    table = pa.table({"space": pa.array([], pa.string()), "mac_address": pa.array([], pa.string())})
    assert pseudonymise(settings, table).schema == pa.schema(
        {"space": pa.string(), "device_id": pa.uint64()}
    )
    plain = pa.table({"sensor_id": ["ap-1", "3143-clwa-3099"], "count": [1, 2]})
    assert pseudonymise(settings, plain) == plain


@pytest.mark.parametrize("mac", [MACS[0], "AA-BB-CC-DD-EE-01", "aabb.ccdd.ee01"])
def test_mac_addresses_under_another_name_are_refused(settings: Settings, mac: str) -> None:
    table = pa.table({"mac_address": MACS[:1], "partner": [mac]})
    with pytest.raises(LakeError, match="partner contains MAC addresses") as caught:
        pseudonymise(settings, table)
    assert mac not in str(caught.value)


def test_two_columns_with_the_same_name_are_refused(settings: Settings) -> None:
    with pytest.raises(LakeError, match="would have the same name"):
        pseudonymise(settings, pa.table({"mac_address": MACS, "device_id": [1, 2, 3]}))


def test_hashes_of_other_domains_are_independent() -> None:
    key, name = b"k" * 16, "aa:bb:cc:dd:ee:01"
    plain = hashlib.blake2b(name.encode(), digest_size=8, key=key).digest()
    assert keyed_hashes([name, name], key) == [int.from_bytes(plain, "little")] * 2
    assert DeviceIds(key)(pa.array([name])).tolist() == keyed_hashes([name], key)
    domains = [keyed_hashes([name], key, domain)[0] for domain in (b"", b"one", b"two")]
    assert len(set(domains)) == 3
