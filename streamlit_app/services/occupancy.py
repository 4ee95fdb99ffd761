"""What the occupancy page shows: counts of a window of time, summed up to what a screen holds.

Times of windows are local to the deployment, without a zone. For drawing, an instant becomes
milliseconds of the local wall clock counted as if it were UTC, so that a browser in another zone
shows the campus's own time.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from streamlit_app.services.app import App
from tippers_dagster.access.model import Role
from tippers_dagster.campus.local_time import (
    PUBLISHED_WIDTHS,
    LocalClock,
    check_width,
    chunk_bounds,
)
from tippers_dagster.campus.spaces.facts import Facts
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.errors import BadInput, LakeFileMissing
from tippers_dagster.occupancy.export import write_export
from tippers_dagster.occupancy.reading import read_counts
from tippers_dagster.occupancy.sharing import SUPPRESSED, is_sealed, read_shared_occupancy
from tippers_dagster.occupancy.tables import partition_figures
from tippers_dagster.people.by_label.sharing import read_shared_labelled_occupancy
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import sessions_key
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

SCREEN_POINTS = 1200
"""More points than this cannot be told apart on a screen."""

MOST_CHILDREN = 400
"""Children that are ranked and placed; of more, those with the highest recorded peaks."""

LONGEST_DAYS = 20 * 366

SESSIONS, SOURCE, DERIVED = "sessions", "source_occupancy", "derived_occupancy"

Format = Literal["csv", "parquet"]
MIME: Mapping[Format, str] = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}


# --- what there is -------------------------------------------------------------------------------
@dataclass(frozen=True)
class Window:
    """Local times [start, end)."""

    start: dt.datetime
    end: dt.datetime

    @property
    def length(self) -> dt.timedelta:
        """By the wall clock."""
        return self.end - self.start

    def moved(self, by: dt.timedelta) -> Window:
        """As long, earlier or later."""
        return Window(self.start + by, self.end + by)

    def wider(self, by: dt.timedelta) -> Window:
        """With as much more on both sides."""
        return Window(self.start - by, self.end + by)


@dataclass(frozen=True)
class Extent:
    """Local dates [first, until) of the chunks that are computed for a space."""

    first: dt.date
    until: dt.date


def extents(settings: Settings, spaces: Sequence[str]) -> dict[str, Extent]:
    """Of each space, from its first computed chunk to its last; those with none are left out."""
    figures = partition_figures.c
    query = (
        sa.select(figures.space, sa.func.min(figures.chunk), sa.func.max(figures.chunk))
        .where(figures.asset.in_((SOURCE, DERIVED)), figures.space.in_(spaces))
        .group_by(figures.space)
    )
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(query).all()
    return {
        space: Extent(chunk_bounds(first, settings.chunk)[0], chunk_bounds(last, settings.chunk)[1])
        for space, first, last in rows
    }


@dataclass(frozen=True)
class Log:
    """Local times at which the first and the last computed session begin.

    Of bins before and after nothing is known, though they may lie in a computed chunk.
    """

    begin: dt.datetime
    end: dt.datetime

    def covers(self, local: np.ndarray) -> np.ndarray:
        """Bool per bin between edges in seconds of the wall clock: any of the log is in it."""
        return (local[:-1] <= _seconds(self.end)) & (local[1:] > _seconds(self.begin))


def log_span(settings: Settings) -> Log | None:
    """What the computed sessions span; None when there is none."""
    figures = partition_figures.c
    query = (
        sa.select(figures.chunk)
        .where(figures.asset == SESSIONS, figures.rows > 0)
        .order_by(figures.chunk)
    )
    with warehouse_engine(settings).connect() as connection:
        chunks = list(connection.scalars(query))
    begins = _session_begins(settings, chunks)
    first = next(begins, None)
    last = first
    for chunk_begin, earliest, latest in _session_begins(settings, chunks[::-1][:_LOOKED_AT]):
        last = (chunk_begin, earliest, latest)
        # One that begins with its chunk may be the rest of an earlier chunk's.
        if latest > chunk_begin:
            break
    if first is None or last is None:
        return None
    return Log(local_time(settings, first[1]), local_time(settings, last[2]))


_LOOKED_AT = 5


def _session_begins(settings: Settings, chunks: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Of each chunk in the lake: its begin, and those of its first and last session (UTC).

    The sessions of a sealed chunk are gone: they are taken to have filled it.
    """
    lake = open_lake(settings)
    for chunk in chunks:
        begin, end = _clock(settings.timezone).chunk_seconds(chunk, settings.chunk)
        try:
            starts = lake.read_table(sessions_key(chunk), columns=["start"])["start"]
        except LakeFileMissing:
            if is_sealed(settings, chunk):
                yield begin, begin, end - 1
            continue
        ends = pc.min_max(starts).as_py()
        yield begin, int(ends["min"]), int(ends["max"])


def default_window(settings: Settings, extent: Extent) -> Window:
    """The last seven days of which there are sessions, as far as they are computed."""
    end, log = extent.until, log_span(settings)
    if log is not None and extent.first < log.end.date() + dt.timedelta(1) < end:
        end = log.end.date() + dt.timedelta(1)
    start = max(extent.first, end - dt.timedelta(7))
    return Window(_midnight(start), _midnight(end))


def parse_window(start: str, end: str) -> Window | None:
    """A window of two ISO texts, as an address has them; None when they are none."""
    try:
        window = Window(dt.datetime.fromisoformat(start), dt.datetime.fromisoformat(end))
    except ValueError:
        return None
    zoned = window.start.tzinfo or window.end.tzinfo
    if zoned or not dt.timedelta(0) < window.length <= dt.timedelta(LONGEST_DAYS):
        return None
    return window if window.start.year > 1900 and window.end.year < 2100 else None


def choose_width(window: Window, most: int = SCREEN_POINTS // 2) -> int:
    """The finest published width of which the window has no more bins than a screen shows."""
    seconds = window.length.total_seconds()
    return next((w for w in PUBLISHED_WIDTHS if seconds / w <= most), PUBLISHED_WIDTHS[-1])


def parse_width(text: str) -> int | None:
    """A width in seconds of an address; None: choose one."""
    try:
        width = int(text)
        check_width(width)
    except (ValueError, BadInput):
        return None
    return width


_UNITS = {"": 60, "s": 1, "sec": 1, "min": 60, "m": 60, "h": 3600, "hour": 3600, "day": 86400}


def read_width(text: str) -> int:
    """The width in seconds that somebody wrote, as ``10 min``, ``2 h``, ``1 day`` or ``600 s``.

    Raises
    ------
    BadInput
        When it is none, or bins cannot be so wide.
    """
    number = text.strip().rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ").strip()
    unit = text.strip()[len(number) :].strip().lower()
    unit = unit if unit in _UNITS else unit.removesuffix("s").removesuffix("ute")
    try:
        seconds = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        raise BadInput(f"{text!r} is not a width of bins.", "Write 10 min, 2 h or 1 day.") from None
    if not 0 < seconds < 1e9 or seconds != int(seconds):
        raise BadInput(f"{text!r} is not a width of bins.", "Write 10 min, 2 h or 1 day.")
    check_width(int(seconds))
    return int(seconds)


# --- a series ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Figures:
    """The main numbers of a series. ``peak`` and ``mean`` are None when nothing is computed."""

    peak: int | None
    peak_at: dt.datetime | None
    mean: float | None
    bins: int
    missing_bins: int


@dataclass(frozen=True)
class Gap:
    """Local times [start, end) of which nothing is computed."""

    start: dt.datetime
    end: dt.datetime


@dataclass(frozen=True)
class Points:
    """What is drawn of a series: one row per bin, or per run of bins when there are too many.

    ``table``: ``time`` and ``until`` (milliseconds of the wall clock), ``mean``, ``low``, ``high``
    (null where not computed). ``together`` is the number of bins in a point.
    """

    table: pa.Table
    together: int


@dataclass(frozen=True, eq=False)
class Series:
    """Distinct devices of one space per bin.

    ``local`` are the bins' edges in seconds of the wall clock, n + 1; ``counts`` int32;
    ``computed`` bool.
    """

    space: str
    width: int
    local: np.ndarray
    counts: np.ndarray
    computed: np.ndarray
    missing: tuple[str, ...]

    def within(self, window: Window) -> Series:
        """Only the bins that begin in a window."""
        begins = self.local[:-1]
        inside = (begins >= _seconds(window.start)) & (begins < _seconds(window.end))
        at = np.flatnonzero(inside)
        low, high = (int(at[0]), int(at[-1]) + 1) if at.size else (0, 0)
        return Series(
            self.space,
            self.width,
            self.local[low : high + 1],
            self.counts[low:high],
            self.computed[low:high],
            self.missing,
        )

    @property
    def figures(self) -> Figures:
        """Peak and mean over the computed bins."""
        known = np.flatnonzero(self.computed)
        lacking = len(self.counts) - len(known)
        if not known.size:
            return Figures(None, None, None, len(self.counts), lacking)
        at = known[np.argmax(self.counts[known])]
        return Figures(
            peak=int(self.counts[at]),
            peak_at=_datetime(self.local[at]),
            mean=float(self.counts[known].mean()),
            bins=len(self.counts),
            missing_bins=lacking,
        )

    @property
    def gaps(self) -> list[Gap]:
        """The stretches that are not computed."""
        absent = np.concatenate([[False], ~self.computed, [False]]).astype(np.int8)
        begins, ends = (np.flatnonzero(np.diff(absent) == step) for step in (1, -1))
        return [
            Gap(_datetime(self.local[b]), _datetime(self.local[e]))
            for b, e in zip(begins, ends, strict=True)
        ]

    def points(self, most: int = SCREEN_POINTS) -> Points:
        """About so many points at most; each tells lowest, mean and highest of the bins in it."""
        n = len(self.counts)
        begins = self.local[:-1]
        size = _point_seconds(self.width, n, most)
        first = np.flatnonzero(np.diff(begins // size, prepend=-1)) if n else np.zeros(0, int)
        counts = np.where(self.computed, self.counts, 0).astype(np.float64)
        lengths = np.diff(np.append(first, n))
        mean, low, high, known = (
            op.reduceat(values, first) if n else values
            for op, values in (
                (np.add, counts),
                (np.minimum, counts),
                (np.maximum, counts),
                (np.add, self.computed.astype(np.int64)),
            )
        )
        # Known is only what is known whole: else the lowest could be one of those that lack.
        lacking = pa.array(known < lengths)
        table = pa.table(
            {
                "time": begins[first] * 1000.0,
                "until": self.local[np.append(first[1:], n)] * 1000.0 if n else np.zeros(0),
                "mean": _known(mean / np.maximum(lengths, 1), lacking),
                "low": _known(low, lacking),
                "high": _known(high, lacking),
            }
        )
        return Points(table, size // self.width)


_POINT_SECONDS = (*PUBLISHED_WIDTHS, 2 * 86400, 7 * 86400, 28 * 86400)


def _point_seconds(width: int, bins: int, most: int) -> int:
    """How much time a point covers: the bins' width, or as much as makes them few enough.

    Parts of a day, or days, so that a point is not of other hours than the next.
    """
    if bins <= most:
        return width
    needed = width * bins / most
    fitting = (s for s in _POINT_SECONDS if s >= needed and s % width == 0)
    return next(fitting, width * -(-bins // most))


def series(
    settings: Settings,
    spaces: Sequence[str],
    window: Window,
    width: int,
    log: Log | None = None,
) -> list[Series]:
    """The counts of some spaces in a window.

    Parameters
    ----------
    log
        What the log spans; of bins outside of it nothing is known.

    Raises
    ------
    BadInput
        An unknown space, or a width that bins cannot have.
    """
    found = read_counts(list(spaces), window.start, window.end, width, settings=settings)
    local = local_seconds(settings, found.edges)
    known = found.computed
    if log is not None:
        known = known & log.covers(local)
    return [
        Series(space, width, local, found.counts[i], known[i], tuple(found.missing[i]))
        for i, space in enumerate(spaces)
    ]


def files_to_read(tree: SpaceTree, space: str, window: Window, width: int) -> int:
    """About how many files a count of a width that is not published has to read."""
    if width in PUBLISHED_WIDTHS:
        return 0
    return int(tree.size[tree.position(space)]) * (window.length.days // 7 + 1)


# --- the week ------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Week:
    """Mean devices by weekday (0 is Monday) and hour, null where never computed, and how often
    the hour was computed: ``table`` has ``weekday``, ``hour``, ``mean``, ``hours``.
    """

    table: pa.Table
    busiest: tuple[int, int, float] | None


def week(hourly: Series) -> Week:
    """The usual week of a series of bins of an hour."""
    at = hourly.local[:-1][hourly.computed]
    counts = hourly.counts[hourly.computed].astype(np.float64)
    cell = ((at // 86400 + 3) % 7) * 24 + at % 86400 // 3600
    hours = np.bincount(cell, minlength=168)
    mean = np.bincount(cell, weights=counts, minlength=168) / np.maximum(hours, 1)
    table = pa.table(
        {
            "weekday": np.arange(168) // 24,
            "hour": np.arange(168) % 24,
            "mean": _known(mean, pa.array(hours == 0)),
            "hours": hours,
        }
    )
    if not hours.any():
        return Week(table, None)
    best = int(np.argmax(np.where(hours > 0, mean, -1)))
    return Week(table, (best // 24, best % 24, float(mean[best])))


# --- what is inside ------------------------------------------------------------------------------
@dataclass(frozen=True)
class Rank:
    """One child of a space in a window; None where nothing is computed."""

    space: str
    name: str
    children: int
    type: str
    capacity: float | None
    peak: int | None
    peak_at: dt.datetime | None
    mean: float | None
    missing_bins: int


def ranking(
    settings: Settings,
    tree: SpaceTree,
    known: Mapping[str, Facts],
    space: str,
    window: Window,
    log: Log | None = None,
) -> list[Rank]:
    """The children of a space, busiest first, by hours."""
    children = shown_children(settings, tree, space)
    found = series(settings, children, window, 3600, log)
    ranks = [_rank(tree, known.get(s.space, Facts()), s) for s in found]
    return sorted(
        ranks, key=lambda r: (-1 if r.peak is None else r.peak, r.mean or 0), reverse=True
    )


def _rank(tree: SpaceTree, known: Facts, one: Series) -> Rank:
    figures, at = one.figures, tree.index[one.space]
    return Rank(
        space=one.space,
        name=tree.names[at],
        children=int(tree.size[at]) - 1,
        type=known.type,
        capacity=known.capacity,
        peak=figures.peak,
        peak_at=figures.peak_at,
        mean=figures.mean,
        missing_bins=figures.missing_bins,
    )


def shown_children(settings: Settings, tree: SpaceTree, space: str) -> list[str]:
    """The children of a space; of very many, those with the highest recorded peaks."""
    children = tree.children(space)
    if len(children) <= MOST_CHILDREN:
        return children
    figures = partition_figures.c
    query = (
        sa.select(figures.space)
        .where(figures.space.in_(children))
        .group_by(figures.space)
        .order_by(sa.func.max(figures.peak).desc().nulls_last())
        .limit(MOST_CHILDREN)
    )
    with warehouse_engine(settings).connect() as connection:
        return list(connection.scalars(query))


@dataclass(frozen=True, eq=False)
class Floor:
    """The spaces of a floor over one day.

    Attributes
    ----------
    spaces, names
        In the order of the tree.
    times
        Local times at which the bins begin.
    counts, computed
        [spaces, bins].
    places
        x, y, width, height of each space, in a square of side 1 from the top left; None where the
        space is a point without extent.
    by_coordinates
        Whether the places are those of the source, or tiles of a treemap, by the day's peak.
    """

    spaces: list[str]
    names: list[str]
    times: list[dt.datetime]
    counts: np.ndarray
    computed: np.ndarray
    places: np.ndarray
    by_coordinates: bool


def floor(
    settings: Settings,
    tree: SpaceTree,
    known: Mapping[str, Facts],
    space: str,
    day: dt.date,
    width: int = 900,
    log: Log | None = None,
) -> Floor:
    """The children of a space over a day; of a space without any, it and its neighbours."""
    above = space if not tree.is_leaf[tree.position(space)] else _parent(tree, space)
    spaces = shown_children(settings, tree, above) if above else [space]
    window = Window(_midnight(day), _midnight(day + dt.timedelta(1)))
    found = series(settings, spaces, window, width, log)
    counts = np.stack([s.counts for s in found])
    computed = np.stack([s.computed for s in found])
    at = [known.get(s, Facts()).at for s in spaces]
    by_coordinates = len(spaces) > 1 and all(place is not None for place in at)
    peaks = np.where(computed, counts, 0).max(axis=1)
    return Floor(
        spaces=spaces,
        names=[tree.names[tree.index[s]] for s in spaces],
        times=[_datetime(t) for t in found[0].local[:-1]],
        counts=counts,
        computed=computed,
        places=_scaled(at) if by_coordinates else squarify(np.maximum(peaks, 0.04 * peaks.max())),
        by_coordinates=by_coordinates,
    )


def _parent(tree: SpaceTree, space: str) -> str | None:
    at = int(tree.parent[tree.position(space)])
    return tree.ids[at] if at >= 0 else None


def _scaled(at: Sequence[tuple[float, float] | None]) -> np.ndarray:
    """Coordinates within the unit square, upwards turned down; without extent."""
    points = np.array([p for p in at if p is not None], np.float64)
    span = max(float(np.ptp(points, axis=0).max()), 1e-9)
    scaled = (points - points.min(axis=0)) / span
    scaled[:, 1] = np.ptp(points[:, 1]) / span - scaled[:, 1]
    return np.column_stack([scaled, np.zeros_like(scaled)])


def squarify(sizes: np.ndarray, width: float = 1.0, height: float = 1.0) -> np.ndarray:
    """Rectangles [n, (x, y, width, height)] of areas proportional to sizes, as square as they go.

    Bruls, Huizing and van Wijk, "Squarified treemaps" (2000). Sizes of nothing are taken to be
    equal.
    """
    sizes = np.asarray(sizes, np.float64)
    if not sizes.sum():
        sizes = np.ones_like(sizes)
    order = np.argsort(-sizes, kind="stable")
    areas = sizes[order] / sizes.sum() * width * height
    placed = np.zeros((len(sizes), 4))
    x, y, done = 0.0, 0.0, 0
    while done < len(areas):
        short = min(width, height)
        row = _row(areas[done:], short)
        thick = areas[done : done + row].sum() / short if short else 0.0
        lengths = areas[done : done + row] / thick if thick else np.zeros(row)
        offsets = np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
        for i, (length, offset) in enumerate(zip(lengths, offsets, strict=True)):
            upright = width >= height
            box = (x, y + offset, thick, length) if upright else (x + offset, y, length, thick)
            placed[order[done + i]] = box
        if width >= height:
            x, width = x + thick, max(width - thick, 0.0)
        else:
            y, height = y + thick, max(height - thick, 0.0)
        done += row
    return placed


def _row(areas: np.ndarray, short: float) -> int:
    """How many of the areas one row takes before its worst rectangle grows longer again."""
    best, total, n = np.inf, 0.0, 0
    for area in np.maximum(areas, 1e-9 * short**2):  # one of nothing has no shape
        total += area
        worst = max(short**2 * areas[0] / total**2, total**2 / (short**2 * area))
        if worst > best:
            return n
        best, n = worst, n + 1
    return n


# --- a file --------------------------------------------------------------------------------------
def export(
    app: App, space: str, window: Window, width: int, kind: Format, by: str | None = None
) -> bytes:
    """The counts of a window, every bin, as a file; what is not known is empty there.

    They are exact, but for small ones, which are hidden where the settings say so.

    Parameters
    ----------
    by
        Split by the labels of this label model or classifier.

    Raises
    ------
    NotAllowed
        Who may not even look.
    """
    app.person.require(Role.VIEWER, "download counts")
    asked = (space, window.start, window.end, width)
    if by is None:
        found = read_shared_occupancy(*asked, settings=app.settings, on_missing="report")
    else:
        found = read_shared_labelled_occupancy(
            *asked, by, settings=app.settings, on_missing="report"
        )
    log = log_span(app.settings)
    if log is not None:
        known = pa.array(series(app.settings, [space], window, width, log)[0].computed)
        for i, name in enumerate(found.column_names[1:], 1):
            unknown = False if name == SUPPRESSED else None
            values = pc.if_else(known, found[name], unknown)
            found = found.set_column(i, found.schema.field(i), values)
    with tempfile.TemporaryDirectory(prefix="tippers-download-") as folder:
        out = Path(folder) / f"counts.{kind}"
        write_export(space, found, out)
        return out.read_bytes()


def file_name(tree: SpaceTree, space: str, window: Window, width: int, kind: Format) -> str:
    """A name that tells what is in the file, of plain characters."""
    name = tree.names[tree.index[space]]
    plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in name).strip("_") or "space"
    return f"{plain}_{window.start:%Y-%m-%d}_{window.end:%Y-%m-%d}_{width}s.{kind}"


def chunks_behind(settings: Settings, tree: SpaceTree, space: str) -> tuple[str, str | None]:
    """The asset that a space's counts come from, and the partition of its newest chunk."""
    asset = SOURCE if tree.is_leaf[tree.position(space)] else DERIVED
    figures = partition_figures.c
    query = sa.select(sa.func.max(figures.chunk)).where(
        figures.asset == asset, figures.space == space
    )
    with warehouse_engine(settings).connect() as connection:
        chunk = connection.scalar(query)
    return asset, f"{space}|{chunk}" if chunk else None


# --- time ----------------------------------------------------------------------------------------
@lru_cache(maxsize=4)
def _clock(timezone: str) -> LocalClock:
    return LocalClock(timezone)


def local_seconds(settings: Settings, utc: np.ndarray) -> np.ndarray:
    """Seconds of the wall clock of UTC seconds."""
    return utc + _clock(settings.timezone).utc_offset(utc)


def local_time(settings: Settings, utc: int) -> dt.datetime:
    """The local time, without zone, of UTC seconds."""
    return _datetime(int(local_seconds(settings, np.array([utc]))[0]))


def now(settings: Settings) -> dt.datetime:
    """The present local time, without zone."""
    return local_time(settings, int(dt.datetime.now(dt.UTC).timestamp()))


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time())


def _seconds(local: dt.datetime) -> int:
    return int((local - dt.datetime(1970, 1, 1)).total_seconds())


def _datetime(local: int | np.integer) -> dt.datetime:
    return dt.datetime(1970, 1, 1) + dt.timedelta(seconds=int(local))


def _known(values: np.ndarray, lacking: pa.Array) -> pa.Array:
    return pc.if_else(lacking, None, pa.array(values, pa.float64()))
