"""Chooses the devices that a people count counts, and counts them in a space."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.campus.identities import MAC, DeviceIds
from tippers_dagster.campus.local_time import DAY, PUBLISHED_WIDTHS, chunk_bounds
from tippers_dagster.catalog.kinds import PeopleCount
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.labels import labels_of
from tippers_dagster.occupancy.reading import (
    ALL_DEVICES,
    DeviceGroups,
    GroupCounts,
    PeopleCounts,
    When,
    chunks_in_range,
    read_counts,
    read_people_counts,
)
from tippers_dagster.people.by_label.devices import labels_table
from tippers_dagster.people.by_label.reading import read_label_counts
from tippers_dagster.platform.keys import device_key
from tippers_dagster.platform.warehouse.engine import read_arrow
from tippers_dagster.settings import Settings

Floats = NDArray[np.float64]

_STEPS = 100
"""Probabilities are rounded to this many steps."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """A partition of all devices, and which groups are counted.

    Attributes
    ----------
    groups
        None: all devices are counted, regardless of labels.
    counted
        bool [groups]: the group's devices have one of the labels.
    probability
        float64 [groups]: probability that a device has one of the labels; None if not requested.
    """

    groups: DeviceGroups | None
    counted: NDArray[np.bool_]
    probability: Floats | None


@dataclass(frozen=True, eq=False)
class Devices:
    """Distinct devices of a space over its bins, and the people who are known.

    Attributes
    ----------
    edges
        n + 1 for n bins, UTC seconds.
    groups
        int32 [groups, bins]: devices of people who are not known.
    every, counted
        int64 [bins]: all devices, and those that the people count counts: of people who are not
        known.
    people
        int64 [bins]: people who are known.
    computed
        bool [bins].
    missing
        The chunks that are not computed.
    """

    edges: NDArray[np.int64]
    groups: NDArray[np.int32]
    every: NDArray[np.int64]
    counted: NDArray[np.int64]
    people: NDArray[np.int64]
    computed: NDArray[np.bool_]
    missing: list[str]


def chosen_devices(settings: Settings, body: PeopleCount, *, probabilities: bool) -> Chosen:
    """The devices that a people count counts, by their current labels.

    Parameters
    ----------
    probabilities
        Also group devices by the probability of the labels. A device without a label gets the mean
        probability of those that have one.

    Raises
    ------
    NotLabelled
        When the label model or classifier has given no labels yet.
    BadInput
        When its entities are not devices, or it does not give the labels.
    """
    if body.by is None:
        return Chosen(None, np.ones(1, np.bool_), np.ones(1) if probabilities else None)
    device, has, chance = _of_labels(settings, body.by, body.labels)
    device, first = np.unique(device, return_index=True)
    has, chance = has[first], chance[first]
    if not probabilities:
        groups = DeviceGroups(device[has], np.zeros(int(has.sum()), np.int32), 1)
        return Chosen(groups, np.array([True, False]), None)
    unknown = np.isnan(chance)
    prior = float(chance[~unknown].mean()) if (~unknown).any() else 0.0
    step = np.rint(np.where(unknown, prior, chance) * _STEPS).astype(np.int64)
    codes, group = np.unique(step * 2 + has, return_inverse=True)
    probability = np.append(codes // 2 / _STEPS, prior)
    groups = DeviceGroups(device, group.astype(np.int32), len(codes))
    return Chosen(groups, np.append(codes % 2 == 1, False), probability)


def count_devices(
    settings: Settings,
    chosen: Chosen,
    spaces: Sequence[str],
    start: When,
    end: When,
    interval_seconds: int,
) -> Iterator[Devices]:
    """Exact numbers of distinct devices and known people in each space; arguments as for
    ``read_groups``.

    Raises
    ------
    BadInput
        When a space is unknown, or the time, range or width is invalid.
    OnlyCountsKept
        When the presence of a chunk is deleted, and counts would not do.
    """
    asked = (spaces, start, end, interval_seconds)
    if chosen.groups is None and interval_seconds in PUBLISHED_WIDTHS:
        found = _published(settings, *asked)
    else:
        groups = chosen.groups or ALL_DEVICES
        found = read_people_counts(*asked, groups, settings=settings)
    return (_devices(of_space, chosen.counted) for of_space in found)


def _published(
    settings: Settings, spaces: Sequence[str], start: When, end: When, width: int
) -> Iterator[PeopleCounts]:
    """The same of all devices, from the counts that are stored."""
    asked = (list(spaces), start, end, width)
    devices = read_counts(*asked, settings=settings)
    people = read_counts(*asked, settings=settings, count="people")
    # Between the two, a chunk may have been counted for the first time.
    computed = devices.computed & people.computed
    for i, missing in enumerate(devices.missing):
        numbers = (people.counts[i], devices.counts[i], people.others[i])
        of_people, every, others = (np.where(computed[i], n, 0) for n in numbers)
        yield PeopleCounts(devices.edges, of_people, every, others[None], computed[i], missing)


def _devices(found: PeopleCounts, wanted: NDArray[np.bool_]) -> Devices:
    """``wanted``: bool [groups], those that are counted."""
    return Devices(
        found.edges,
        found.others,
        found.devices.astype(np.int64),
        found.others[wanted].sum(axis=0, dtype=np.int64),
        found.people.astype(np.int64),
        found.computed,
        found.missing,
    )


def is_anyone_known(
    settings: Settings, spaces: Sequence[str], start: When, end: When, interval_seconds: int
) -> bool:
    """Whether anyone is known in one of the spaces, in one of the chunks of a range."""
    chunks = chunks_in_range(start, end, interval_seconds, settings)
    first, _ = chunk_bounds(chunks[0], settings.chunk)
    _, last = chunk_bounds(chunks[-1], settings.chunk)
    found = read_counts(list(spaces), first, last, DAY, settings=settings, count="people")
    return bool(np.where(found.computed, found.counts, 0).any())


def count_labelled(
    settings: Settings,
    body: PeopleCount,
    spaces: Sequence[str],
    start: When,
    end: When,
    interval_seconds: int,
) -> Iterator[Devices]:
    """The same for devices with certain labels, using counts that labelled occupancy published.

    For spaces in which nobody is known. It also works for chunks of which only counts are kept.

    Raises
    ------
    NotLabelled, BadInput, OnlyCountsKept
        As ``read_labelled_occupancy``; BadInput also if it does not give the labels.
    """
    assert body.by is not None
    names, found = read_label_counts(
        spaces, start, end, interval_seconds, body.by, settings=settings
    )
    _check_given(body.by, body.labels, names)
    wanted = np.isin(names, body.labels)
    return (_labelled(of_space, wanted) for of_space in found)


def _labelled(found: GroupCounts, wanted: NDArray[np.bool_]) -> Devices:
    every = found.counts.sum(axis=0, dtype=np.int64)
    counted = found.counts[wanted].sum(axis=0, dtype=np.int64)
    nobody = np.zeros_like(every)
    return Devices(found.edges, found.counts, every, counted, nobody, found.computed, found.missing)


def _check_given(by: str, labels: Sequence[str], given: Sequence[str]) -> None:
    unknown = [label for label in labels if label not in given]
    if unknown:
        raise BadInput(
            f"{by} does not give the label {unknown[0]}.",
            f"It gives {', '.join(given)}. If it was changed, materialise it again.",
        )


def _of_labels(
    settings: Settings, by: str, labels: Sequence[str]
) -> tuple[NDArray[np.uint64], NDArray[np.bool_], Floats]:
    """Device ids, whether each has one of the labels, and its probability; NaN if unknown."""
    table, columns = labels_table(settings, by)
    if columns[0] != MAC:
        raise BadInput(
            f"{by} does not label devices: its key is {columns[0]}.",
            f"People counts need labels with the key {MAC}.",
        )
    _check_given(by, labels, labels_of(columns))
    chances = " + ".join(f'"p_{label.lower()}"' for label in labels)
    rows = read_arrow(settings, f"SELECT {MAC}, label, {chances} AS chance FROM {table}")
    device = DeviceIds(device_key(settings))(rows[MAC].cast(pa.string()).combine_chunks())
    wanted = pa.array(labels, pa.string())
    has = pc.is_in(rows["label"].cast(pa.string()), value_set=wanted)
    chance = rows["chance"].cast(pa.float64()).to_numpy(zero_copy_only=False)
    return device, np.asarray(has), np.clip(chance, 0.0, 1.0)
