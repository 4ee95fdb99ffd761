"""The log in the lake, written from usable sessions as plainly as possible."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tests.dbt_project.oracle import Session
from tests.occupancy.campus import compute_level, look_again
from tippers_dagster.campus.identities import DeviceIds
from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.campus.tables import device_address
from tippers_dagster.occupancy.state import DAYS, SESSIONS
from tippers_dagster.occupancy.tables import partition_figures
from tippers_dagster.occupancy.work import compute
from tippers_dagster.platform.keys import device_key
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.warehouse.engine import upsert, warehouse_engine
from tippers_dagster.settings import Settings

NAMES = pa.dictionary(pa.int32(), pa.string())
WEEK = dt.timedelta(days=7)


def write_lake(settings: Settings, sessions: Sequence[Session], opened: Iterable[Session]) -> None:
    """Sessions by week, with their days and encounters, and the devices' addresses.

    Parameters
    ----------
    opened
        The sessions that have no end in the source.
    """
    lake, opened = open_lake(settings), set(opened)
    addresses = sorted({s.device for s in sessions})
    hashes = DeviceIds(device_key(settings))(pa.array(addresses)).tolist()
    ids = dict(zip(addresses, hashes, strict=True))
    for week in sorted({day for s in sessions for day in weeks(s)}):
        inside = sorted(
            (s for s in sessions if week in weeks(s)), key=lambda s: (ids[s.device], s.began)
        )
        own = [s for s in inside if weeks(s)[0] == week]
        name = f"chunk={week}.parquet"
        lake.write_table(f"sessions/{name}", _sessions(inside, own, opened, ids))
        record_log(settings, str(week), hash(tuple(own)))
    write_addresses(settings, ids)
    _compute_days(settings, sorted({day for s in sessions for day in weeks(s)}))


def extract_log(settings: Settings, *, space: str | None, start: dt.date, end: dt.date) -> None:
    """The same from the source, as a deployment does: tracked, and extracted.

    Call it again after the source has changed.
    """
    track(settings, space=space, start=start, end=end)
    look_again(settings)
    compute_level(settings, SESSIONS)
    compute_level(settings, DAYS)


def record_log(settings: Settings, chunk: str, fingerprint: int) -> None:
    """Record a chunk of sessions, as extraction does."""
    row = {
        "asset": SESSIONS,
        "space": "",
        "chunk": chunk,
        **dict.fromkeys(
            ("input_fingerprint", "output_fingerprint", "log_fingerprint"), fingerprint
        ),
        **dict.fromkeys(("rows", "rejected", "devices"), 0),
        "run_id": "test",
        "computed_at": dt.datetime.now(dt.UTC),
    }
    insertion = insert(partition_figures).values(row)
    keys = ["asset", "space", "chunk"]
    with warehouse_engine(settings).begin() as connection:
        connection.execute(insertion.on_conflict_do_update(index_elements=keys, set_=row))


def write_addresses(settings: Settings, ids: dict[str, int]) -> None:
    """The warehouse's table of devices; the hash as a signed integer of the same bits."""
    signed = pa.array(list(ids.values()), pa.uint64()).view(pa.int64())
    with warehouse_engine(settings).begin() as connection:
        upsert(connection, device_address, pa.table({"device": signed, "mac_address": list(ids)}))


def _compute_days(settings: Settings, weeks: Sequence[dt.date]) -> None:
    track(settings, space=None, start=weeks[0], end=weeks[-1] + WEEK)
    chunks = [("", str(week)) for week in weeks]
    assert compute(settings, DAYS, chunks, "run", stale_only=True).failed == {}


def write_spaces(settings: Settings) -> None:
    """A hall with one room, `1`."""
    create_source_schema(settings)
    with warehouse_engine(settings).begin() as connection:
        connection.execute(
            sa.text("INSERT INTO source.space VALUES ('hall', 'Hall'), ('1', 'Room 1')")
        )


def weeks(session: Session) -> list[dt.date]:
    """The Mondays of the weeks that it overlaps, by the local clock."""
    monday = session.day - dt.timedelta(days=session.day.weekday())
    return [monday, *([monday + WEEK] if session.end.date() >= monday + WEEK else [])]


def _sessions(
    inside: Sequence[Session],
    own: Sequence[Session],
    opened: set[Session],
    ids: dict[str, int],
) -> pa.Table:
    starting = set(own)
    return pa.table(
        {
            "device": pa.array([ids[s.device] for s in inside], pa.uint64()),
            "space": pa.array([s.space for s in inside], NAMES),
            "sensor": pa.array([s.sensor for s in inside], NAMES),
            "start": [s.began for s in inside],
            "end": [s.ended for s in inside],
            "start_time": pa.array([s.start for s in inside], pa.timestamp("us")),
            "end_time": pa.array([s.end for s in inside], pa.timestamp("us")),
            "is_open": [s in opened for s in inside],
            "carried": [s not in starting for s in inside],
        }
    )
