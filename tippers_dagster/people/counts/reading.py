"""Reads the number of people in a space at any time, without a running Dagster."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from numpy.typing import NDArray

from tippers_dagster.campus.local_time import DAY, LocalClock
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.catalog.kinds import PeopleCount
from tippers_dagster.errors import TippersError
from tippers_dagster.occupancy.reading import MISSING_METADATA, When
from tippers_dagster.people.counts.calibration import Calibration, Evaluation
from tippers_dagster.people.counts.devices import (
    Chosen,
    Devices,
    chosen_devices,
    count_devices,
    count_labelled,
    is_anyone_known,
)
from tippers_dagster.people.counts.sums import quantiles
from tippers_dagster.people.counts.tables import people_calibration
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import encode
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings, get_settings

NOT_CALIBRATED = "not calibrated"

Floats = NDArray[np.float64]


class NotCounted(TippersError):
    """The people count was never materialised."""


@dataclass(frozen=True)
class Made:
    """The last materialisation of a people count.

    Attributes
    ----------
    version, run_id, made_at
        Version of its asset, id of the Dagster run, and time.
    body
        The body of the definition at that time.
    reason
        Why it is not calibrated; None if it is.
    calibration, evaluation
        None if it is not calibrated.
    """

    name: str
    version: str
    run_id: str
    made_at: dt.datetime
    body: PeopleCount
    reason: str | None
    calibration: Calibration | None
    evaluation: Evaluation | None


@dataclass(frozen=True, eq=False)
class People:
    """Estimated people in a space; all arrays are [bins].

    Attributes
    ----------
    devices
        Edges and counts of the bins, and which are computed.
    people
        float64: those who are known, and an estimate of all others; meaningless where not computed.
    low, high
        Interval, float64 whole numbers; NaN if the uncertainty is unknown.
    """

    devices: Devices
    people: Floats
    low: Floats
    high: Floats


def read_people_counts(settings: Settings) -> dict[str, Made]:
    """All materialised people counts by name."""
    with warehouse_engine(settings).connect() as connection:
        query = sa.select(people_calibration).order_by(people_calibration.c.name)
        return {row["name"]: _made(row) for row in connection.execute(query).mappings()}


def read_people_count(settings: Settings, name: str) -> Made:
    """The last materialisation of one people count.

    Raises
    ------
    NotCounted
        When there is none.
    """
    found = read_people_counts(settings)
    if name not in found:
        raise NotCounted(
            f"There is no materialised people count {name!r}.",
            f"Materialised: {', '.join(found) or 'none'}. `tippers people-count list` shows all "
            "that are defined.",
        )
    return found[name]


def fit_data_key(name: str) -> str:
    """Key of the head counts that a people count was fitted on, with its estimates."""
    return f"people_counts/{encode(name)}/data.parquet"


def read_fit_data(settings: Settings, name: str) -> pa.Table:
    """Head counts with the estimates of a materialised people count.

    Only head counts with computed occupancy: space_id, day, second (of the day), interval_seconds,
    people (as counted), people_known (by their user names), devices_counted (of all others),
    estimated, low and high (null if not calibrated).

    Raises
    ------
    LakeFileMissing
        When it was never materialised.
    """
    return open_lake(settings).read_table(fit_data_key(name))


def _made(row: sa.RowMapping) -> Made:
    calibration, evaluation = row["calibration"], row["evaluation"]
    return Made(
        name=row["name"],
        version=row["version"],
        run_id=row["run_id"],
        made_at=row["made_at"],
        body=PeopleCount.model_validate(row["body"]),
        reason=row["reason"],
        calibration=None if calibration is None else Calibration.from_json(calibration),
        evaluation=None if evaluation is None else Evaluation.from_json(evaluation),
    )


class PeopleCounter:
    """Counts people in many spaces, reading the labels once. ``people_counter`` creates one.

    Parameters
    ----------
    body
        The devices to count.
    calibration
        None: each device counts as one person, and the interval follows from the probabilities of
        the labels.
    """

    def __init__(
        self, settings: Settings, body: PeopleCount, calibration: Calibration | None
    ) -> None:
        self._settings, self._body, self.calibration = settings, body, calibration
        self._clock, self._tree = LocalClock(settings.timezone), load_tree(settings)
        self._chosen = None
        if calibration is None or body.by is None:
            self._chosen = chosen_devices(settings, body, probabilities=calibration is None)

    def read(self, space: str, start: When, end: When, interval_seconds: int) -> People:
        """People in a space per bin; arguments as for ``read_people``."""
        (found,) = self.read_many([space], start, end, interval_seconds)
        return found

    def read_many(
        self, spaces: Sequence[str], start: When, end: When, interval_seconds: int
    ) -> Iterator[People]:
        """The same of each space; files are read for many spaces at once."""
        asked, chosen = (spaces, start, end, interval_seconds), self._chosen
        if chosen is None and is_anyone_known(self._settings, *asked):
            chosen = chosen_devices(self._settings, self._body, probabilities=False)
        if chosen is None:
            counted = count_labelled(self._settings, self._body, *asked)
        else:
            counted = count_devices(self._settings, chosen, *asked)
        for space, found in zip(spaces, counted, strict=True):
            yield self._people(space, found, interval_seconds)

    def _people(self, space: str, found: Devices, interval_seconds: int) -> People:
        if self.calibration is None:
            assert self._chosen is not None
            return _uncalibrated(found, self._chosen, self._body)
        begin = found.edges[:-1]
        second = (begin + self._clock.utc_offset(begin)) % DAY
        devices = found.counted.astype(np.float64)
        calibration = self.calibration.of(self._above(space))
        others = calibration.people(devices, second, interval_seconds)
        low, high = calibration.interval(devices, others, found.people.astype(np.float64))
        return People(found, found.people + others, low, high)

    def _above(self, space: str) -> bool:
        """Whether a space has children."""
        return not self._tree.is_leaf[self._tree.position(space)]


def people_counter(settings: Settings, name: str) -> PeopleCounter:
    """The counter of a materialised people count.

    Raises
    ------
    NotCounted, NotLabelled, BadInput
        If it was never materialised, or its labels no longer exist or are not of devices.
    """
    last = read_people_count(settings, name)
    return PeopleCounter(settings, last.body, last.calibration)


def read_people(
    space: str,
    start: When,
    end: When,
    interval_seconds: int,
    people_count: str,
    *,
    settings: Settings | None = None,
) -> pa.Table:
    """People in a space, per bin.

    Parameters
    ----------
    space, start, end, interval_seconds
        As for ``read_occupancy``.
    people_count
        Name of a materialised people count.

    Returns
    -------
    pa.Table
        ``interval_begin_time`` (timestamp[s] in the deployment's zone), in order;
        ``number_connections`` (int32), all devices; ``people_known`` (int32), people who are known
        by their user names; ``devices_counted`` (int32), the devices of all others that the people
        count counts; ``people`` (double), the known ones and an estimate of the others;
        ``people_low`` and ``people_high`` (int32), its interval, null if the uncertainty is
        unknown. Bins that are not computed are
        null, and the schema's metadata (``MISSING_METADATA``) list their chunks.

    Raises
    ------
    NotCounted, NotLabelled, BadInput
        If the people count was never materialised, its labels no longer exist, the space is
        unknown, or the range is invalid.
    """
    settings = settings or get_settings()
    counter = people_counter(settings, people_count)
    return people_table(settings, counter.read(space, start, end, interval_seconds))


def people_table(settings: Settings, found: People) -> pa.Table:
    """The table that ``read_people`` returns."""
    devices, absent = found.devices, ~found.devices.computed
    unknown = absent | np.isnan(found.low)
    low, high = (np.where(unknown, 0, bound).astype(np.int32) for bound in (found.low, found.high))
    begins = pa.array(devices.edges[:-1]).cast(pa.timestamp("s", settings.timezone))
    table = pa.table(
        {
            "interval_begin_time": begins,
            "number_connections": pa.array(devices.every.astype(np.int32), mask=absent),
            "people_known": pa.array(devices.people.astype(np.int32), mask=absent),
            "devices_counted": pa.array(devices.counted.astype(np.int32), mask=absent),
            "people": pa.array(found.people, mask=absent),
            "people_low": pa.array(low, mask=unknown),
            "people_high": pa.array(high, mask=unknown),
        }
    )
    return table.replace_schema_metadata({MISSING_METADATA: json.dumps(devices.missing)})


def _uncalibrated(found: Devices, chosen: Chosen, body: PeopleCount) -> People:
    """Each device counted as one person; the interval always contains their number."""
    others = found.counted.astype(np.float64)
    if body.by is None or chosen.probability is None:
        unknown = np.full(len(others), np.nan)
        return People(found, found.people + others, unknown, unknown)
    tail = (1 - body.confidence) / 2
    low, high = quantiles(found.groups, chosen.probability, (tail, 1 - tail))
    low, high = np.minimum(low, others), np.maximum(high, others)
    return People(found, found.people + others, found.people + low, found.people + high)
