"""Device ids: the lake contains no MAC addresses.

A MAC address is replaced by a keyed 64-bit hash: a device has the same id in all files of a
deployment, and cannot be identified without the key.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.errors import LakeError
from tippers_dagster.platform.keys import device_key
from tippers_dagster.settings import Settings

MAC = "mac_address"
DEVICE_ID = "device_id"

_LOOKS_LIKE_A_MAC = (
    r"^\s*([0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{4}(\.[0-9A-Fa-f]{4}){2})\s*$"
)
"""The common spellings; twelve digits alone could be anything."""


class DeviceIds:
    """Keyed 64-bit hashes of MAC addresses, computed once per distinct value."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[str, int] = {}

    def __call__(self, macs: pa.Array) -> np.ndarray:
        """uint64 per row; rows must not be null."""
        encoded = macs.dictionary_encode()
        known, blake2b, key = self._known, hashlib.blake2b, self._key
        values = encoded.dictionary.to_pylist()
        for mac in values:
            if mac not in known:
                digest = blake2b(mac.encode(), digest_size=8, key=key).digest()
                known[mac] = int.from_bytes(digest, "little")
        hashes = np.fromiter((known[mac] for mac in values), np.uint64, len(values))
        return hashes[encoded.indices.to_numpy()]

    def column(self, macs: pa.Array | pa.ChunkedArray) -> pa.Array:
        """uint64 per row; null where the MAC address is null."""
        combined = macs.combine_chunks() if isinstance(macs, pa.ChunkedArray) else macs
        missing = np.asarray(combined.is_null())
        return pa.array(self(combined.cast(pa.string()).fill_null("")), mask=missing)


def lake_name(column: str) -> str:
    """A column's name in the lake: ``mac_address`` becomes ``device_id``, also at the end of a
    longer name: ``other_mac_address`` becomes ``other_device_id``.
    """
    if column == MAC or column.endswith(f"_{MAC}"):
        return column.removesuffix(MAC) + DEVICE_ID
    return column


def pseudonymise(settings: Settings, table: pa.Table) -> pa.Table:
    """The table as the lake may store it: with device ids (uint64) instead of MAC addresses.

    Columns named ``mac_address``, or ending in ``_mac_address``, are replaced in place.

    Raises
    ------
    LakeError
        When another column contains MAC addresses, or the table already has the new name.
    """
    return Pseudonyms(settings)(table)


class Pseudonyms:
    """``pseudonymise`` for a table in pieces."""

    def __init__(self, settings: Settings) -> None:
        self._ids = DeviceIds(device_key(settings))

    def __call__(self, piece: pa.Table) -> pa.Table:
        """A piece of the table as the lake may store it."""
        names = [lake_name(name) for name in piece.column_names]
        if len(set(names)) < len(names):
            raise LakeError(
                f"Two of the columns {', '.join(piece.column_names)} would have the same name: "
                f"in the lake {MAC} is called {DEVICE_ID}",
                "Leave one of them out, or rename it.",
            )
        columns = [
            self._ids.column(column) if name != old else _checked(old, column)
            for old, name, column in zip(piece.column_names, names, piece.columns, strict=True)
        ]
        return pa.table(columns, names=names)


def _checked(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    if pc.any(pc.match_substring_regex(column, _LOOKS_LIKE_A_MAC)).as_py():
        raise LakeError(
            f"The column {name} contains MAC addresses, which must not be stored in the lake",
            f"Leave it out, or let its name end in {MAC}: it is then replaced by device ids.",
        )
    return column
