"""The work of a people count's asset: matches head counts with devices, and fits the ratio."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.campus.local_time import DAY, LocalClock, chunk_key
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.catalog.kinds import PeopleCount
from tippers_dagster.occupancy.reading import OnlyCountsKept
from tippers_dagster.people.counts.calibration import (
    Calibration,
    Evaluation,
    Observations,
    TooFewHeadCounts,
    calibrate,
)
from tippers_dagster.people.counts.devices import Chosen, chosen_devices, count_devices
from tippers_dagster.people.counts.head_counts import read_head_counts
from tippers_dagster.people.counts.reading import fit_data_key
from tippers_dagster.people.counts.tables import people_calibration
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

VERSION = 3
"""Raise it when the same labels and head counts would give another calibration."""

MOMENT = 60
"""Width in seconds of the bin whose devices are matched with people counted at a moment."""


@dataclass(frozen=True, eq=False)
class Calibrated:
    """The result of a materialisation.

    Attributes
    ----------
    body
        Body of the definition.
    head_counts
        Number of all head counts.
    observed, spaces
        Head counts with a computed device count, and the ids of their numbered spaces.
    uncomputed, unknown
        Numbers of head counts left out as their time is not computed, or their space is unknown.
    calibration, evaluation
        None if it is not calibrated; ``reason`` says why.
    """

    body: PeopleCount
    head_counts: int
    observed: Observations
    spaces: tuple[str, ...]
    uncomputed: int
    unknown: int
    reason: str | None
    calibration: Calibration | None
    evaluation: Evaluation | None


def calibrate_people(settings: Settings, body: PeopleCount) -> Calibrated:
    """Fit a people count on the stored head counts.

    Raises
    ------
    NotLabelled, BadInput
        When there are no labels to choose devices by.
    """
    chosen = chosen_devices(settings, body, probabilities=False)
    counts = read_head_counts(settings)
    known = pc.is_in(counts["space_id"], value_set=pa.array(load_tree(settings).ids, pa.string()))
    usable = counts.filter(known)
    spaces, observed = observe(settings, chosen, usable)
    reason, calibration, evaluation = None, None, None
    try:
        if not counts.num_rows:
            raise TooFewHeadCounts("There are no head counts.")
        calibration, evaluation = calibrate(observed, body.ratio, body.confidence)
    except TooFewHeadCounts as error:
        reason = str(error)
    return Calibrated(
        body=body,
        head_counts=counts.num_rows,
        observed=observed,
        spaces=spaces,
        uncomputed=usable.num_rows - len(observed),
        unknown=counts.num_rows - usable.num_rows,
        reason=reason,
        calibration=calibration,
        evaluation=evaluation,
    )


def observe(
    settings: Settings, chosen: Chosen, head_counts: pa.Table
) -> tuple[tuple[str, ...], Observations]:
    """Match head counts with devices at the same places and times, where these are computed.

    People who are known are taken off the head counts, as only the devices of all others are
    matched.

    Takes one pass over the presence of each width and chunk that has head counts.

    Parameters
    ----------
    head_counts
        Columns of ``counts.SCHEMA``, of known spaces.

    Returns
    -------
    (spaces, observations)
        The ids of the numbered spaces, and the head counts with devices.
    """
    clock = LocalClock(settings.timezone)
    time = head_counts["time"].cast(pa.int64()).to_numpy() // 1_000_000
    given = head_counts["interval_seconds"].to_numpy()
    width = np.where(given == 0, MOMENT, given).astype(np.int64)
    encoded = head_counts["space_id"].combine_chunks().dictionary_encode()
    spaces, space = tuple(encoded.dictionary.to_pylist()), encoded.indices.to_numpy()
    day = (time + clock.utc_offset(time)) // DAY
    counted = np.full(len(time), -1, np.int64)
    known = np.zeros(len(time), np.int64)
    for codes, one, first, until, rows in _stretches(settings, space, width, day):
        try:
            found = count_devices(settings, chosen, [spaces[c] for c in codes], first, until, one)
            for code, devices in zip(codes, found, strict=True):
                mine = rows[space[rows] == code]
                at = np.searchsorted(devices.edges, time[mine], side="right") - 1
                counted[mine] = np.where(devices.computed[at], devices.counted[at], -1)
                known[mine] = devices.people[at]
        except OnlyCountsKept:
            continue  # the presence is deleted
    is_computed = counted >= 0
    local = time + clock.utc_offset(time)
    everyone = head_counts["people"].to_numpy()
    # A bin may have more people than were there at once when somebody counted.
    others = np.maximum(everyone - known, 0).astype(np.float64)
    tree = load_tree(settings)
    above = ~tree.is_leaf[[tree.index[name] for name in spaces]] if spaces else np.zeros(0, bool)
    observations = Observations(
        others,
        counted.astype(np.float64),
        local % DAY,
        width,
        day,
        space,
        above[space],
        np.minimum(known, everyone).astype(np.float64),
    )
    return spaces, observations.of(is_computed)


def _stretches(
    settings: Settings, space: NDArray[np.integer], width: NDArray[np.int64], day: NDArray[np.int64]
) -> list[tuple[list[int], int, dt.date, dt.date, NDArray[np.int64]]]:
    """Head counts that are read together, per width and chunk.

    Their spaces, their width, their days [first, until), and their rows.
    """
    if not len(day):
        return []
    days, at = np.unique(day, return_inverse=True)
    dates = [dt.date(1970, 1, 1) + dt.timedelta(int(d)) for d in days]
    chunks = np.array([chunk_key(d, settings.chunk) for d in dates])
    _, chunk = np.unique(chunks, return_inverse=True)
    _, part = np.unique(np.stack([width, chunk[at]]), axis=1, return_inverse=True)
    order = np.argsort(part.ravel(), kind="stable")
    runs = np.split(order, np.flatnonzero(np.diff(part.ravel()[order])) + 1)
    return [
        (
            np.unique(space[rows]).tolist(),
            int(width[rows[0]]),
            dates[int(at[rows].min())],
            dates[int(at[rows].max())] + dt.timedelta(1),
            rows,
        )
        for rows in runs
    ]


def write_calibrated(
    settings: Settings, name: str, version: str, run_id: str, calibrated: Calibrated
) -> None:
    """Replace a people count's calibration, and write the data of the fit to the lake."""
    open_lake(settings).write_table(fit_data_key(name), _compared(calibrated))
    values = {
        "version": version,
        "run_id": run_id,
        "made_at": dt.datetime.now(dt.UTC),
        "body": calibrated.body.model_dump(mode="json"),
        "reason": calibrated.reason,
        "calibration": None if calibrated.calibration is None else calibrated.calibration.to_json(),
        "evaluation": None if calibrated.evaluation is None else calibrated.evaluation.to_json(),
    }
    values |= {n: sa.null() for n in ("calibration", "evaluation") if values[n] is None}
    statement = insert(people_calibration).values(name=name, **values)
    with warehouse_engine(settings).begin() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


def _compared(calibrated: Calibrated) -> pa.Table:
    """Head counts with their estimates."""
    observed, calibration = calibrated.observed, calibrated.calibration
    unknown = pa.nulls(len(observed), pa.float64())
    estimated, low, high = observed.devices, unknown, unknown
    if calibration is not None:
        estimated, low, high = calibration.estimates(observed)
    return pa.table(
        {
            "space_id": pa.array(calibrated.spaces, pa.string()).take(pa.array(observed.space)),
            "day": pa.array(observed.day).cast(pa.int32()).cast(pa.date32()),
            "second": observed.second,
            "interval_seconds": observed.width,
            "people": observed.people + observed.known,
            "people_known": observed.known,
            "devices_counted": observed.devices,
            "estimated": estimated + observed.known,
            "low": pc.add(pa.array(low), pa.array(observed.known)),
            "high": pc.add(pa.array(high), pa.array(observed.known)),
        }
    )
