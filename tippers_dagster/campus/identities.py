"""Device ids: the lake contains no MAC addresses.

A MAC address is normalised, then replaced by a keyed 64-bit hash: a device has the same id in all
files of a deployment, however its address is spelled, and cannot be identified without the key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.campus.devices import DEVICE_REASONS, NO_DEVICE, normalise_devices
from tippers_dagster.errors import LakeError
from tippers_dagster.platform.keys import device_key
from tippers_dagster.settings import Settings

MAC = "mac_address"
DEVICE_ID = "device_id"

KNOWN_VALUES = 1 << 20
"""Distinct values remembered with their hashes: some 200 MB."""

_LOOKS_LIKE_A_MAC = (
    r"^\s*([0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{4}(\.[0-9A-Fa-f]{4}){2})\s*$"
)
"""The common spellings; twelve digits alone could be anything."""

Note = Callable[[NDArray[np.uint64], pa.Array], None]


class DeviceIds:
    """Keyed 64-bit hashes of normalised device ids, computed once per distinct value.

    Parameters
    ----------
    key
        The deployment's device key.
    note
        Called with hashes (uint64 [n]) and normalised ids (text [n]) of devices when they are first
        met, or met again after many others.
    """

    def __init__(self, key: bytes, note: Note = lambda *_: None) -> None:
        self._key, self._note = key, note
        self._known: dict[str, int] = {}
        self._rejected: dict[str, int] = {}

    def __call__(self, ids: pa.Array) -> NDArray[np.uint64]:
        """uint64 per row; 0 where it is null."""
        return self.read(ids)[0]

    def read(self, ids: pa.Array) -> tuple[NDArray[np.uint64], NDArray[np.int8]]:
        """Hashes uint64 [n], and int8 [n]: the code in ``DEVICE_REASONS`` of why a value names no
        device, or -1.
        """
        encoded = ids.dictionary_encode()
        values = encoded.dictionary.to_pylist()
        known, rejected = self._learn(values)
        hashes = np.fromiter((known[value] for value in values), np.uint64, len(values))
        reasons = np.full(len(values), -1, np.int8)
        if rejected:
            get = rejected.get
            reasons = np.fromiter((get(value, -1) for value in values), np.int8, len(values))
        # Rows without a value find what is appended at the end.
        rows = encoded.indices.fill_null(len(values)).to_numpy()
        missing = np.int8(DEVICE_REASONS.index(NO_DEVICE))
        return np.append(hashes, np.uint64(0))[rows], np.append(reasons, missing)[rows]

    def column(self, macs: pa.Array | pa.ChunkedArray) -> pa.Array:
        """uint64 per row; null where the MAC address is null."""
        combined = macs.combine_chunks() if isinstance(macs, pa.ChunkedArray) else macs
        missing = np.asarray(combined.is_null())
        return pa.array(self(combined.cast(pa.string())), mask=missing)

    def _learn(self, values: list[str]) -> tuple[dict[str, int], dict[str, int]]:
        """The hashes of every value met so far, these included, and why some were rejected."""
        known, rejected = self._known, self._rejected
        new = [value for value in values if value not in known]
        if not new:
            return known, rejected
        if len(known) + len(new) > KNOWN_VALUES:
            # Other ones: a thread may still use those.
            known, rejected, new = {}, {}, values
        names, reasons = normalise_devices(pa.array(new, pa.string()))
        hashes = keyed_hashes(names.to_pylist(), self._key)
        bad = np.flatnonzero(reasons >= 0).tolist()
        rejected.update((new[i], int(reasons[i])) for i in bad)
        known.update(zip(new, hashes, strict=True))
        self._known, self._rejected = known, rejected
        good = reasons < 0
        self._note(np.array(hashes, np.uint64)[good], names.filter(pa.array(good)))
        return known, rejected


@lru_cache(maxsize=1)
def _kept_ids(key: bytes) -> DeviceIds:
    """Ids that stay known in this process: a run exports dozens of tables of the same devices."""
    return DeviceIds(key)


def keyed_hashes(names: Iterable[str], key: bytes, domain: bytes = b"") -> list[int]:
    """Keyed 64-bit hashes of names (BLAKE2b).

    Parameters
    ----------
    names
        In one form per entity.
    key
        The deployment's device key.
    domain
        What the names are of; up to 16 bytes. Hashes of different domains are independent: equal
        names have other hashes, so that no one can be recognised in another domain. Devices have
        none, as their hashes are older.
    """
    blake2b = hashlib.blake2b
    digests = (blake2b(name.encode(), digest_size=8, key=key, person=domain) for name in names)
    return [int.from_bytes(digest.digest(), "little") for digest in digests]


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
        self._ids = _kept_ids(device_key(settings))

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
