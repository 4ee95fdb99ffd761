"""Devices and persons that are left out of the log: a list of keyed hashes.

The hashes are not those of the lake, so that the list leads nobody to files of an earlier backup.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from tippers_dagster.campus.identities import keyed_hashes
from tippers_dagster.campus.tables import forgotten
from tippers_dagster.platform.keys import device_key
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

Forgettable = Literal["device", "person"]

_DOMAIN = b"tippers forgot"
_MAX_KNOWN = 1 << 20


def list_hashes(key: bytes, kind: Forgettable, hashes: Iterable[int]) -> list[int]:
    """Hashes as they are on the list.

    Parameters
    ----------
    hashes
        Of devices or persons, as in the lake.
    """
    return keyed_hashes((f"{kind} {value}" for value in hashes), key, _DOMAIN)


class Forgotten:
    """The list.

    Parameters
    ----------
    key
        The deployment's device key.
    listed
        Hashes on it.
    """

    def __init__(self, key: bytes, listed: Iterable[int]) -> None:
        self._key, self._listed = key, frozenset(listed)
        self._known: dict[Forgettable, dict[int, bool]] = {"device": {}, "person": {}}

    @classmethod
    def read(cls, settings: Settings) -> Forgotten:
        """The list as it is now."""
        with warehouse_engine(settings).connect() as connection:
            listed = connection.scalars(sa.select(forgotten.c.hash)).all()
        return cls(device_key(settings), (value % 2**64 for value in listed))

    def rows(self, devices: NDArray[np.uint64], persons: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """bool [n]: the row is left out. ``persons``: 0 where none is known."""
        return self._are_listed("device", devices) | self._are_listed("person", persons)

    def devices(self, devices: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """bool [n]: the device is on the list."""
        return self._are_listed("device", devices)

    def _are_listed(self, kind: Forgettable, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        if not self._listed:
            return np.zeros(len(hashes), bool)
        values, places = np.unique(hashes, return_inverse=True)
        known = self._known[kind]
        new = [value for value in values.tolist() if value and value not in known]
        if len(known) + len(new) > _MAX_KNOWN:
            known.clear()
            new = [value for value in values.tolist() if value]
        found = list_hashes(self._key, kind, new)
        known.update((v, h in self._listed) for v, h in zip(new, found, strict=True))
        answers = np.fromiter((known.get(v, False) for v in values.tolist()), bool, len(values))
        return answers[places]
