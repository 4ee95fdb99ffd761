"""People instead of devices, and the head counts that they are learned from, as pages show them."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from streamlit_app.services.app import App
from streamlit_app.services.occupancy import Format, Log, Series, Window, local_seconds
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.kinds import Kind, PeopleCount
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.errors import BadInput
from tippers_dagster.occupancy.export import write_export
from tippers_dagster.people.counts import head_counts as store
from tippers_dagster.people.counts.calibration import Calibration
from tippers_dagster.people.counts.head_counts import Counted, Given, Imported
from tippers_dagster.people.counts.reading import (
    Made,
    PeopleCounter,
    read_compared,
    read_made,
)
from tippers_dagster.people.counts.sharing import read_shared_people
from tippers_dagster.platform.text import shown
from tippers_dagster.settings import Settings

LARGEST_UPLOAD = 64 << 20
"""Bytes of a file of head counts."""

MOST_DRAWN = 3000
"""Points of a scatter; more are drawn by lot."""


# --- people in a space --------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class InSpace:
    """People and devices of a space over the same bins.

    Attributes
    ----------
    devices
        All of them.
    people
        As a series of the estimate; ``low`` and ``high`` of its interval, float64 [bins], NaN where
        nothing tells how sure it is.
    """

    made: Made
    devices: Series
    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def sure(self) -> bool:
        """Whether there is an interval at all."""
        return bool(self.devices.computed.any()) and not np.isnan(self.low).all()


@dataclass(frozen=True)
class Summary:
    """The main numbers of a window, over its computed bins.

    Attributes
    ----------
    peak, low, high
        The most people in a bin, and the interval of that bin; None where there is none.
    at
        Position of that bin.
    mean, devices
        People, and devices, per bin.
    """

    peak: float
    low: int | None
    high: int | None
    at: int
    mean: float
    devices: float


def people_counts(settings: Settings) -> dict[str, Made | None]:
    """Every people count that is defined, by name, as it was made last; None: it never was."""
    made = read_made(settings)
    defined = load_catalog(settings).of_kind(Kind.PEOPLE_COUNT)
    return {d.ref.name: made.get(d.ref.name) for d in defined}


def in_space(
    settings: Settings, space: str, window: Window, width: int, made: Made, log: Log | None = None
) -> InSpace:
    """People of a space in a window.

    Parameters
    ----------
    log
        What the log spans; of bins outside of it nothing is known.

    Raises
    ------
    TippersError
        When its labels are gone, or who was there is not kept any more.
    """
    counter = PeopleCounter(settings, made.body, made.calibration)
    found = counter.read(space, window.start, window.end, width)
    devices = found.devices
    local = local_seconds(settings, devices.edges)
    known = devices.computed if log is None else devices.computed & log.covers(local)
    every = devices.every.astype(np.int32)
    series = Series(space, width, local, every, known, tuple(devices.missing))
    return InSpace(made, series, found.people, found.low, found.high)


def summary(found: InSpace) -> Summary | None:
    """The main numbers; None when nothing is computed."""
    known = np.flatnonzero(found.devices.computed)
    if not known.size:
        return None
    at = int(known[np.argmax(found.estimate[known])])
    sure = not np.isnan(found.low[at])
    return Summary(
        peak=float(found.estimate[at]),
        low=int(found.low[at]) if sure else None,
        high=int(found.high[at]) if sure else None,
        at=at,
        mean=float(found.estimate[known].mean()),
        devices=float(found.devices.counts[known].mean()),
    )


def points(found: InSpace, most: int) -> tuple[pd.DataFrame, int]:
    """What a chart draws, and how many bins a point has.

    Columns ``name`` (people, devices), ``time``, ``until``, ``mean``, ``low``, ``high``. The band
    of people is the mean of the bins' intervals; devices have none.
    """
    drawn = found.devices.points(most)
    frame = drawn.table.to_pandas()
    unknown = frame["mean"].isna()
    first = np.searchsorted(found.devices.local[:-1] * 1000.0, frame["time"].to_numpy())
    lengths = np.diff(np.append(first, len(found.estimate)))
    people = frame.assign(name="people")
    for name, values in (("mean", found.estimate), ("low", found.low), ("high", found.high)):
        sums = np.add.reduceat(values, first) if len(first) else values
        people[name] = np.where(unknown, np.nan, sums / np.maximum(lengths, 1))
    devices = frame.assign(name="devices", low=frame["mean"], high=frame["mean"])
    if not found.sure:
        people = people.assign(low=people["mean"], high=people["mean"])
    return pd.concat([people, devices], ignore_index=True), drawn.together


def counted_in_words(body: PeopleCount) -> str:
    """Which devices stand for people."""
    return "all devices" if body.by is None else f"{', '.join(body.labels)} of {body.by}"


def quality_in_words(made: Made) -> str:
    """Whether it is calibrated, and how good it is on days that it has not seen."""
    found = made.evaluation
    if found is None:
        return f"Not calibrated: {made.reason}"
    return (
        f"Calibrated on {found.fitted:,} head counts of {found.fitted_days:,} days in "
        f"{found.spaces:,} spaces. On {found.days:,} days held out it is "
        f"{found.calibrated.mae:.2f} people off on average ({found.uncalibrated.mae:.2f} if "
        f"each of these devices were taken for a person), and "
        f"{found.coverage:.0%} of the head counts are in the interval of "
        f"{made.body.confidence:.0%}."
    )


def export(
    app: App, space: str, window: Window, width: int, people_count: str, kind: Format
) -> bytes:
    """The people of a window, every bin, as a file; small counts are hidden as the settings say.

    Raises
    ------
    NotAllowed
        Who may not even look.
    """
    app.person.require(Role.VIEWER, "download people counts")
    found = read_shared_people(
        space, window.start, window.end, width, people_count, settings=app.settings
    )
    with tempfile.TemporaryDirectory(prefix="tippers-download-") as folder:
        out = Path(folder) / f"people.{kind}"
        write_export(space, found, out)
        return out.read_bytes()


# --- head counts --------------------------------------------------------------------------------
def look_at(app: App, name: str, content: bytes) -> Given:
    """What an uploaded file of head counts holds; nothing is stored.

    Raises
    ------
    NotAllowed
        Who may not import it.
    BadInput
        When it cannot be read.
    """
    app.person.require(Role.ANALYST, "import head counts")
    if len(content) > LARGEST_UPLOAD:
        raise BadInput(f"{name} is larger than {LARGEST_UPLOAD:,} bytes.", "Split it.")
    # Named by its kind alone: what an upload is called does not reach the disk.
    ending = ".parquet" if Path(name).suffix.lower() in (".parquet", ".pq") else ".csv"
    with tempfile.TemporaryDirectory(prefix="tippers-upload-") as folder:
        path = Path(folder) / f"head_counts{ending}"
        path.write_bytes(content)
        try:
            return store.read_file(app.settings, path)
        except BadInput as error:
            message = error.message.replace(str(path), shown(name))
            raise BadInput(message, error.hint) from None


def import_uploaded(app: App, name: str, content: bytes) -> Imported:
    """Store the head counts of an uploaded file; what cannot be used is kept with its reason.

    Raises
    ------
    NotAllowed, BadInput
        As ``look_at``; or no row can be used, and nothing was stored.
    """
    given = look_at(app, name, content)
    if not given.usable.num_rows:
        raise BadInput("No row of this file can be used; nothing was stored.")
    digest = hashlib.sha256(content).hexdigest()
    return store.store(app.settings, given, name=name, sha256=digest, by=app.person.name)


def clear(app: App, space: str | None = None) -> int:
    """Remove all head counts, or those of a space; returns how many.

    Raises
    ------
    NotAllowed
        Who may not.
    """
    app.person.require(Role.ANALYST, "remove head counts")
    return store.clear_head_counts(app.settings, space)


def counted(settings: Settings) -> list[Counted]:
    """What was counted, by space."""
    return store.counted_spaces(settings)


def compared(settings: Settings, name: str) -> pd.DataFrame:
    """Head counts beside the estimates that were made of them: space_id, people, estimated,
    devices_counted ... as ``read_compared``; of very many, some by lot.
    """
    frame = read_compared(settings, name).to_pandas()
    return frame.sample(MOST_DRAWN, random_state=0) if len(frame) > MOST_DRAWN else frame


def ratios(made: Made) -> dict[str, pd.DataFrame]:
    """People per device by kind of spaces: ``hours``, ``level`` (devices from which on), ``ratio``.

    Empty when it is not calibrated.
    """
    found = made.calibration
    if found is None:
        return {}
    if found.above is None:
        return {"All spaces": _ratios(found)}
    return {"Rooms": _ratios(found), "Floors, buildings": _ratios(found.above)}


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


def usable_rows(settings: Settings, given: Given, most: int = 200) -> pd.DataFrame:
    """The first rows that can be used, in local time."""
    frame = given.usable.slice(0, most).to_pandas()
    local = frame["time"].dt.tz_convert(settings.timezone).dt.tz_localize(None)
    width = frame["interval_seconds"].map(lambda s: "a moment" if s == 0 else f"{s} s")
    columns = {"Space": frame["space_id"], "Local time": local, "Counted in": width}
    return pd.DataFrame({**columns, "People": frame["people"]})


def rejected_rows(given: Given, most: int = 200) -> pd.DataFrame:
    """The first rows that cannot be used."""
    frame = given.rejected.slice(0, most).to_pandas()
    shown = frame.rename(columns={"row_number": "Row", "reason": "Why not"})
    return shown.dropna(axis="columns", how="all")
