"""From a device's id in the lake to its address, and what is forgotten."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from tippers_dagster.campus.addresses import (
    ADDRESSES,
    described_devices,
    forget_addresses,
    record_addresses,
)
from tippers_dagster.errors import LakeError
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import sessions_key
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

HIGH = 2**64 - 5
"""Ids are unsigned, PostgreSQL's integers are not."""


@pytest.fixture
def settings(stack: Settings) -> Settings:
    open_lake.cache_clear()
    return stack


def record(settings: Settings, folder: Path, *devices: tuple[int, str]) -> None:
    path = folder / "addresses"
    ids = np.array([device for device, _ in devices], np.uint64).view(np.int64)
    with pa.ipc.new_file(path, ADDRESSES) as writer:
        for i, (_, address) in enumerate(devices):
            writer.write(pa.record_batch([pa.array(ids[i : i + 1]), [address]], schema=ADDRESSES))
    with warehouse_engine(settings).begin() as connection:
        record_addresses(connection, path)


def recorded(settings: Settings) -> dict[int, str]:
    query = sa.text("SELECT device, mac_address FROM tippers.device_address")
    with warehouse_engine(settings).connect() as connection:
        return {device % 2**64: address for device, address in connection.execute(query)}


def test_devices_are_recorded_once(settings: Settings, tmp_path: Path) -> None:
    record(settings, tmp_path, (7, "a,b"), (HIGH, 'say "x"'), (7, "a,b"))
    record(settings, tmp_path, (HIGH, 'say "x"'), (8, "c"))
    assert recorded(settings) == {7: "a,b", HIGH: 'say "x"', 8: "c"}


def test_what_the_addresses_of_devices_say(settings: Settings, tmp_path: Path) -> None:
    assert described_devices(settings).num_rows == 0
    ids = ("00:1b:a9:00:00:01", "02:00:00:00:00:01", "pseudonym")
    record(settings, tmp_path, *zip((7, HIGH, 8), ids, strict=True))
    found = {row.pop("device"): row for row in described_devices(settings).to_pylist()}
    names = ("mac_address", "device_kind", "vendor_prefix", "maker", "maker_kind")
    assert {device: tuple(row[name] for name in names) for device, row in found.items()} == {
        7: (ids[0], "universal", "00:1b:a9", "Brother industries, LTD.", "printer"),
        HIGH: (ids[1], "randomised", None, None, None),
        8: (ids[2], "opaque", None, None, None),
    }


def test_devices_without_sessions_are_forgotten(settings: Settings, tmp_path: Path) -> None:
    record(settings, tmp_path, (7, "a"), (HIGH, "b"), (8, "c"))
    lake = open_lake(settings)
    for chunk, devices in (("2025-01-06", [7, 7]), ("2025-01-13", [7, HIGH]), ("2025-01-20", [])):
        lake.write_table(sessions_key(chunk), pa.table({"device": pa.array(devices, pa.uint64())}))
    assert forget_addresses(settings) == 1
    assert recorded(settings) == {7: "a", HIGH: "b"}
    lake.delete(sessions_key("2025-01-13"))
    assert forget_addresses(settings) == 1
    assert recorded(settings) == {7: "a"}


def test_nothing_is_forgotten_while_sessions_cannot_be_read(
    settings: Settings, tmp_path: Path
) -> None:
    record(settings, tmp_path, (7, "a"))
    open_lake(settings).write_bytes(sessions_key("2025-01-06"), b"damaged")
    with pytest.raises(LakeError):
        forget_addresses(settings)
    assert recorded(settings) == {7: "a"}
