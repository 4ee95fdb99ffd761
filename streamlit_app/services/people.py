"""People counts, and the head counts that calibrate them."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from streamlit_app.services.app import App
from streamlit_app.services.occupancy.computed import Log
from streamlit_app.services.occupancy.local_time import local_seconds
from streamlit_app.services.occupancy.series import Series
from streamlit_app.services.occupancy.window import Window
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.kinds import Kind, PeopleCount
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.errors import BadInput
from tippers_dagster.occupancy.export import export_bytes
from tippers_dagster.people.counts import head_counts as store
from tippers_dagster.people.counts.calibration import Calibration
from tippers_dagster.people.counts.head_counts import Counted, Given, Imported
from tippers_dagster.people.counts.reading import (
    Made,
    PeopleCounter,
    read_fit_data,
    read_people_counts,
)
from tippers_dagster.people.counts.sharing import read_shared_people
from tippers_dagster.platform.table_files import Format
from tippers_dagster.platform.text import counted, shown
from tippers_dagster.settings import Settings

MAX_UPLOAD_BYTES = 64 << 20
"""Largest head-count file."""

MAX_DRAWN = 3000
"""Most points of a scatter plot; of more, a random sample is drawn."""


# --- people in a space --------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class PeopleInSpace:
    """People and devices of a space over the same bins.

    Attributes
    ----------
    devices
        All devices in the space.
    estimate
        Estimated people, float64 [bins].
    known
        People who are known by their user names, int64 [bins]; the estimate contains them.
    low, high
        Ends of the interval of the estimate, float64 [bins]; NaN where there is no interval.
    """

    made: Made
    devices: Series
    estimate: np.ndarray
    known: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def has_interval(self) -> bool:
        """Whether any bin has an interval."""
        return bool(self.devices.computed.any()) and not np.isnan(self.low).all()


@dataclass(frozen=True)
class Summary:
    """The main numbers of a window, over its computed bins.

    Attributes
    ----------
    peak, low, high
        The most people in a bin, and the interval of that bin; None without an interval.
    at
        Position of that bin.
    mean, known, devices
        Mean people, mean people who are known, and mean devices per bin.
    """

    peak: float
    low: int | None
    high: int | None
    at: int
    mean: float
    known: float
    devices: float


def people_counts(settings: Settings) -> dict[str, Made | None]:
    """Every people count that is defined, by name; None when it was never materialised."""
    made = read_people_counts(settings)
    defined = load_catalog(settings).of_kind(Kind.PEOPLE_COUNT)
    return {d.ref.name: made.get(d.ref.name) for d in defined}


def people_in_space(
    settings: Settings, space: str, window: Window, width: int, made: Made, log: Log | None = None
) -> PeopleInSpace:
    """People of a space in a window.

    Parameters
    ----------
    log
        The span of the log: bins outside count as not computed.

    Raises
    ------
    TippersError
        The labels are gone, or the presence that it needs was deleted (retention).
    """
    counter = PeopleCounter(settings, made.body, made.calibration)
    found = counter.read(space, window.start, window.end, width)
    devices = found.devices
    local = local_seconds(settings, devices.edges)
    known = devices.computed if log is None else devices.computed & log.covers(local)
    every = devices.every.astype(np.int32)
    series = Series(space, width, local, every, known, tuple(devices.missing))
    return PeopleInSpace(made, series, found.people, devices.people, found.low, found.high)


def summary(found: PeopleInSpace) -> Summary | None:
    """The main numbers; None when nothing is computed."""
    known = np.flatnonzero(found.devices.computed)
    if not known.size:
        return None
    at = int(known[np.argmax(found.estimate[known])])
    has_interval = not np.isnan(found.low[at])
    return Summary(
        peak=float(found.estimate[at]),
        low=int(found.low[at]) if has_interval else None,
        high=int(found.high[at]) if has_interval else None,
        at=at,
        mean=float(found.estimate[known].mean()),
        known=float(found.known[known].mean()),
        devices=float(found.devices.counts[known].mean()),
    )


def points(found: PeopleInSpace, max_points: int) -> tuple[pd.DataFrame, int]:
    """The points of a chart, and the number of bins per point.

    Columns ``name`` (people, devices), ``time``, ``until``, ``mean``, ``low``, ``high``. The band
    of people is the mean of the bins' intervals; devices have none.
    """
    drawn = found.devices.points(max_points)
    frame = drawn.table.to_pandas()
    unknown = frame["mean"].isna()
    first = np.searchsorted(found.devices.local[:-1] * 1000.0, frame["time"].to_numpy())
    lengths = np.diff(np.append(first, len(found.estimate)))
    people = frame.assign(name="people")
    for name, values in (("mean", found.estimate), ("low", found.low), ("high", found.high)):
        sums = np.add.reduceat(values, first) if len(first) else values
        people[name] = np.where(unknown, np.nan, sums / np.maximum(lengths, 1))
    devices = frame.assign(name="devices", low=frame["mean"], high=frame["mean"])
    if not found.has_interval:
        people = people.assign(low=people["mean"], high=people["mean"])
    return pd.concat([people, devices], ignore_index=True), drawn.bins_per_point


def counted_in_words(body: PeopleCount) -> str:
    """Which devices are counted as people."""
    if body.by is None:
        return "all devices"
    return f"devices labelled {' or '.join(body.labels)} by {body.by}"


def quality_in_words(made: Made) -> str:
    """Whether it is calibrated, and its error on held-out days."""
    found = made.evaluation
    if found is None:
        return f"Not calibrated: {made.reason}"
    return (
        f"Calibrated on {counted(found.fitted, 'head count')} from "
        f"{counted(found.fitted_days, 'day')} in {counted(found.spaces, 'space')}. On "
        f"{counted(found.days, 'held-out day')}, the mean error is "
        f"{found.calibrated.mae:.2f} people ({found.uncalibrated.mae:.2f} if each of these devices "
        f"counted as one person), and {found.coverage:.0%} of the head counts are within the "
        f"{made.body.confidence:.0%} interval."
    )


def export(
    app: App, space: str, window: Window, width: int, people_count: str, kind: Format
) -> bytes:
    """The people of every bin of a window, as a file; small counts are hidden if so set.

    Raises
    ------
    NotAllowed
        The person may not view counts.
    """
    app.person.require(Role.VIEWER, "download people counts")
    found = read_shared_people(
        space, window.start, window.end, width, people_count, settings=app.settings
    )
    return export_bytes(space, found, kind)


# --- head counts --------------------------------------------------------------------------------
def preview_file(app: App, name: str, content: bytes) -> Given:
    """Read an uploaded head-count file without storing anything.

    Raises
    ------
    NotAllowed
        The person may not import head counts.
    BadInput
        The file cannot be read.
    """
    app.person.require(Role.ANALYST, "import head counts")
    if len(content) > MAX_UPLOAD_BYTES:
        raise BadInput(
            f"{name} is larger than {MAX_UPLOAD_BYTES >> 20} MiB.",
            "Split the file and import the parts.",
        )
    # Only the ending of the upload's name is used on disk.
    ending = ".parquet" if Path(name).suffix.lower() in (".parquet", ".pq") else ".csv"
    with tempfile.TemporaryDirectory(prefix="tippers-upload-") as folder:
        path = Path(folder) / f"head_counts{ending}"
        path.write_bytes(content)
        try:
            return store.read_file(app.settings, path)
        except BadInput as error:
            message = error.message.replace(str(path), shown(name))
            raise BadInput(message, error.hint) from None


def import_file(app: App, name: str, content: bytes) -> Imported:
    """Store the head counts of an uploaded file; rejected rows are kept with their reason.

    Raises
    ------
    NotAllowed, BadInput
        As ``preview_file``; or no row can be used, and nothing was stored.
    """
    given = preview_file(app, name, content)
    if not given.usable.num_rows:
        raise BadInput("No row of this file can be used; nothing was stored.")
    digest = hashlib.sha256(content).hexdigest()
    return store.store(app.settings, given, name=name, sha256=digest, by=app.person.name)


def remove_head_counts(app: App, space: str | None = None) -> int:
    """Remove all head counts, or those of one space; returns how many were removed.

    Raises
    ------
    NotAllowed
        The person is not an analyst.
    """
    app.person.require(Role.ANALYST, "remove head counts")
    return store.clear_head_counts(app.settings, space)


def head_counts_by_space(settings: Settings) -> list[Counted]:
    """A summary of the head counts of each space."""
    return store.counted_spaces(settings)


def compared(settings: Settings, name: str) -> pd.DataFrame:
    """Head counts with their estimates, in the columns of ``read_fit_data``; a random sample if
    there are very many.
    """
    frame = read_fit_data(settings, name).to_pandas()
    return frame.sample(MAX_DRAWN, random_state=0) if len(frame) > MAX_DRAWN else frame


def ratios(made: Made) -> dict[str, pd.DataFrame]:
    """People per device, by kind of space: ``hours``, ``level`` (minimum devices), ``ratio``.

    Empty when the people count is not calibrated.
    """
    found = made.calibration
    if found is None:
        return {}
    if found.above is None:
        return {"All spaces": _ratios(found)}
    return {"Rooms": _ratios(found), "Floors and buildings": _ratios(found.above)}


def _ratios(found: Calibration) -> pd.DataFrame:
    step = 24 // len(found.hours)
    rows = [
        {
            "hours": f"{i * step:02d} to {(i + 1) * step:02d}",
            "level": f"from {bound:g}",
            "ratio": found.ratio * hour * level,
        }
        for i, hour in enumerate(found.hours)
        for bound, level in zip((0.0, *found.edges), found.levels, strict=True)
    ]
    return pd.DataFrame(rows)


def usable_rows(settings: Settings, given: Given, limit: int = 200) -> pd.DataFrame:
    """The first rows that can be used, in local time."""
    frame = given.usable.slice(0, limit).to_pandas()
    local = frame["time"].dt.tz_convert(settings.timezone).dt.tz_localize(None)
    width = frame["interval_seconds"].map(lambda s: "at that moment" if s == 0 else f"{s} s")
    columns = {"Space": frame["space_id"], "Local time": local, "Counted over": width}
    return pd.DataFrame({**columns, "People": frame["people"]})


def rejected_rows(given: Given, limit: int = 200) -> pd.DataFrame:
    """The first rejected rows, with their reasons."""
    frame = given.rejected.slice(0, limit).to_pandas()
    renamed = frame.rename(columns={"row_number": "Row", "reason": "Reason"})
    return renamed.dropna(axis="columns", how="all")
