"""The only way from a device's id in the lake to its address: a table of the warehouse.

It is filled by the pass over the source that writes the log, and forgets devices when no session in
the lake refers to them any more.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from tippers_dagster.campus.devices import KINDS, device_kinds, vendor_prefixes
from tippers_dagster.campus.makers import makers, makers_of
from tippers_dagster.campus.tables import device_address
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import SESSIONS_PREFIX
from tippers_dagster.platform.warehouse.engine import copy_rows, read_arrow, warehouse_engine
from tippers_dagster.settings import Settings

ADDRESSES = pa.schema({"device": pa.int64(), "mac_address": pa.string()})
"""Devices and their normalised ids, as they are recorded: the hash is a signed integer."""

BY_DEVICE = pa.schema({"device": pa.uint64(), "mac_address": pa.string()})
"""The same with devices as in the lake."""

_SAID = ("device_kind", "vendor_prefix", "maker", "maker_kind")
DEVICES = pa.schema(
    [*BY_DEVICE, *((name, pa.dictionary(pa.int32(), pa.string())) for name in _SAID)]
)
"""Devices with what their addresses say: one of ``KINDS``; the vendor prefix of universal ones, its
maker, and what the maker's devices usually are, each null if not known."""


def record_addresses(connection: sa.Connection, path: Path) -> None:
    """Record the devices of an Arrow file (``ADDRESSES``, rows may be repeated).

    Call it after the files of the lake that refer to them are written.
    """
    connection.execute(_staging())
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        copy_rows(
            connection, "staged_device", pa.RecordBatchReader.from_batches(ADDRESSES, batches)
        )
    # In order, so that two runs that record the same devices cannot deadlock.
    connection.execute(
        sa.text(
            f"INSERT INTO {device_address} SELECT device, mac_address FROM staged_device "
            "ORDER BY device ON CONFLICT DO NOTHING"
        )
    )
    connection.execute(sa.text("DROP TABLE staged_device"))


def device_addresses(settings: Settings) -> pa.Table:
    """All devices' addresses, with the columns of ``BY_DEVICE``."""
    found = read_arrow(settings, f"SELECT device, mac_address FROM {device_address}")
    devices = found["device"].combine_chunks().view(pa.uint64())
    return pa.table([devices, found["mac_address"]], schema=BY_DEVICE)


def described_devices(settings: Settings) -> pa.Table:
    """All devices with what their addresses say, with the columns of ``DEVICES``."""
    found = device_addresses(settings)
    addresses = found["mac_address"].combine_chunks()
    kinds = pa.array(device_kinds(addresses), pa.int32())
    # Names are looked up once per prefix, not once per device.
    encoded = vendor_prefixes(addresses).dictionary_encode()
    prefixes, places = encoded.dictionary, encoded.indices
    named = (prefixes, *makers_of(prefixes, makers(settings)))
    said = [
        pa.DictionaryArray.from_arrays(kinds, pa.array(KINDS)),
        *(names.take(places).dictionary_encode() for names in named),
    ]
    return pa.table([*found.columns, *said], schema=DEVICES)


def forget_addresses(settings: Settings) -> int:
    """Delete the addresses of devices that no session in the lake refers to; returns their number.

    Nothing is recorded meanwhile. A run that writes a device's session records its address only
    afterwards: either the session is seen here, or its address is recorded after the deletion.

    Raises
    ------
    LakeError
        When sessions cannot be read; then nothing is deleted.
    """
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.text(f"LOCK TABLE {device_address} IN SHARE ROW EXCLUSIVE MODE"))
        connection.execute(_staging())
        seen = pa.array(_devices_in_lake(settings).view(np.int64))
        copy_rows(connection, "staged_device", pa.table({"device": seen}))
        forgotten = connection.execute(
            sa.text(
                f"DELETE FROM {device_address} a WHERE NOT EXISTS "
                "(SELECT FROM staged_device s WHERE s.device = a.device)"
            )
        ).rowcount
        connection.execute(sa.text("DROP TABLE staged_device"))
    return forgotten


def _staging() -> sa.TextClause:
    return sa.text(
        "CREATE TEMP TABLE staged_device (device bigint, mac_address text) ON COMMIT DROP"
    )


def _devices_in_lake(settings: Settings) -> np.ndarray:
    """uint64, distinct: the devices of all sessions in the lake."""
    lake = open_lake(settings)
    found = np.empty(0, np.uint64)
    for key in lake.list(SESSIONS_PREFIX):
        found = np.union1d(found, lake.read_columns(key, ["device"])["device"].unique())
    return found
