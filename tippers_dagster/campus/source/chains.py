"""Turns observations (a device seen at an access point at an instant) into sessions.

The rule, per device, with its observations ordered by time (at the same instant by name of the
access point; duplicates count once):

1. Consecutive observations at one access point form a session as long as each is at most ``gap``
   seconds after the previous one.
2. A move to another access point within the gap ends the session at the first observation there:
   until then, the device counts where it was last seen.
3. Otherwise the session ends at its last observation. A single observation is a session of length
   zero, which counts in the bin that contains it.
4. An observation of another person ends the session as a move does. One without a person is of
   whoever has the device.
5. What is kept of a session is that of its last observation of which anything is kept.

Times are local, and the gap is measured on the wall clock, even across clock changes. A session
does not continue from one file to the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.campus.devices import normalise_devices

PART_ROWS = 1 << 20

Number = TypeVar("Number", bound=np.integer)


@dataclass
class Observations:
    """Clean observations, encoded: the device of row ``i`` is ``device_names[devices[i]]``."""

    devices: NDArray[np.int32]
    device_names: pa.Array
    access_points: NDArray[np.int32]
    access_point_names: pa.Array
    micros: NDArray[np.int64]
    """Microseconds since 1970-01-01 00:00, all local or all UTC."""
    persons: NDArray[np.uint64]
    """0 where none is known."""
    kept: NDArray[np.int32]
    """Places in ``kept_texts``; 0 where nothing is kept."""
    kept_texts: pa.Array


@dataclass(frozen=True)
class Chains:
    """Encoded sessions, ordered by device and start; times as in ``Observations``."""

    devices: NDArray[np.int32]
    access_points: NDArray[np.int32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    persons: NDArray[np.uint64]
    kept: NDArray[np.int32]
    duplicates: int

    def parts(self) -> Iterator[Chains]:
        """The same, some rows after the other."""
        for at in range(0, len(self.start), PART_ROWS):
            part = slice(at, at + PART_ROWS)
            yield replace(
                self,
                devices=self.devices[part],
                access_points=self.access_points[part],
                start=self.start[part],
                end=self.end[part],
                persons=self.persons[part],
                kept=self.kept[part],
            )


@dataclass
class Reading:
    """Clean observations, read part by part."""

    devices: list[pa.Array] = field(default_factory=list)
    access_points: list[pa.Array] = field(default_factory=list)
    micros: list[NDArray[np.int64]] = field(default_factory=list)
    persons: list[NDArray[np.uint64]] = field(default_factory=list)
    kept: list[pa.Array] = field(default_factory=list)

    def add(
        self,
        devices: pa.ChunkedArray,
        access_points: pa.ChunkedArray,
        micros: NDArray[np.int64],
        persons: NDArray[np.uint64] | None = None,
        kept: pa.ChunkedArray | None = None,
    ) -> None:
        """Add a part; it takes some 28 bytes per observation, however long the names are."""
        self.devices += devices.dictionary_encode().chunks
        self.access_points += access_points.dictionary_encode().chunks
        self.micros.append(micros)
        self.persons.append(np.zeros(len(micros), np.uint64) if persons is None else persons)
        texts = pa.chunked_array([pa.nulls(len(micros), pa.string())]) if kept is None else kept
        self.kept += pc.fill_null(texts, "").dictionary_encode().chunks

    def observations(self) -> Observations:
        """All of them."""
        devices, device_names = joined_codes(self.devices)
        access_points, access_point_names = joined_codes(self.access_points)
        micros = np.concatenate([np.empty(0, np.int64), *self.micros])
        persons = np.concatenate([np.empty(0, np.uint64), *self.persons])
        nothing = pa.array([""]).dictionary_encode()
        kept, kept_texts = joined_codes([nothing, *self.kept])
        return Observations(
            devices,
            device_names,
            access_points,
            access_point_names,
            micros,
            persons,
            kept[1:],
            kept_texts,
        )


def joined_codes(parts: list[pa.Array]) -> tuple[NDArray[np.int32], pa.Array]:
    """Dictionary-encoded parts, with codes into one common dictionary."""
    if not parts:
        return np.empty(0, np.int32), pa.array([], pa.string())
    unified = pa.chunked_array(parts).unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in unified.chunks])
    return codes, unified.chunk(0).dictionary


def join_spellings(observations: Observations) -> None:
    """Make one device of those whose names are spellings of one address."""
    names = normalise_devices(observations.device_names)[0].dictionary_encode()
    observations.devices = names.indices.to_numpy()[observations.devices]
    observations.device_names = names.dictionary


def chain(observations: Observations, gap_seconds: int) -> Chains:
    """Turn observations, in any order, into sessions; see the module for the rule."""
    # Ranks instead of codes, which depend on the order of the file's rows.
    rank = pc.rank(observations.access_point_names).to_numpy()
    place_rank = rank[observations.access_points]
    # Of the same observation, the one with a person comes first, then one with kept values.
    keys = [~observations.persons, place_rank, observations.micros, observations.devices]
    if observations.kept.any():
        rank = pc.rank(observations.kept_texts, "descending").to_numpy()
        keys.insert(0, rank[observations.kept])
    order = np.lexsort(keys)
    device = observations.devices[order]
    place = observations.access_points[order]
    time = observations.micros[order]
    person = observations.persons[order]
    kept = observations.kept[order]

    same_device = device[1:] == device[:-1]
    same_place = place[1:] == place[:-1]
    repeated = np.append(False, same_device & same_place & (time[1:] == time[:-1]))
    if repeated.any():
        device, place, time, person, kept = (
            column[~repeated] for column in (device, place, time, person, kept)
        )
        same_device = device[1:] == device[:-1]
        same_place = place[1:] == place[:-1]
    near = same_device & (time[1:] - time[:-1] <= gap_seconds * 1_000_000)

    # Position i is between observations i and i + 1.
    same = near & same_place
    if person.any():
        person = _last_known(person, np.append(False, same)[: len(person)])
        same &= (person[1:] == person[:-1]) | (person[:-1] == 0)
    if kept.any():
        kept = _last_known(kept, np.append(False, same)[: len(kept)])
    breaks = np.flatnonzero(~same)
    first = np.append(0, breaks + 1) if len(time) else np.empty(0, np.int64)
    last = np.append(breaks, len(time) - 1) if len(time) else np.empty(0, np.int64)
    end = time[last].copy()
    # A break with a next observation within the gap is a move.
    moved = np.flatnonzero(near[breaks])
    end[moved] = time[breaks[moved] + 1]
    # Its last observation has the person, even if its first ones have none, and what is kept.
    return Chains(
        device[first],
        place[first],
        time[first],
        end,
        person[last],
        kept[last],
        int(repeated.sum()),
    )


def _last_known(values: NDArray[Number], follows: NDArray[np.bool_]) -> NDArray[Number]:
    """Each value, or the last one before it among observations that follow each other; 0: none."""
    rows = np.arange(len(values))
    begins = np.maximum.accumulate(np.where(follows, 0, rows))
    known = np.maximum.accumulate(np.where(values > 0, rows, 0))
    return np.where(known >= begins, values[known], values.dtype.type(0))
