"""Labels by the window of the log that they are about, kept in the lake.

Each window of a label model keeps the labels that it last got, with the entities' pseudonyms. What
looks at an earlier time can thus use the labels of that time. A label model of everything keeps
none.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from tippers_dagster.automation.state import load_states
from tippers_dagster.campus.identities import pseudonymise
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import LabelModel
from tippers_dagster.catalog.model import Ref
from tippers_dagster.catalog.window import Read
from tippers_dagster.errors import LakeFileMissing
from tippers_dagster.labelling.labels import SCHEMA, LabelTable
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key, encode
from tippers_dagster.settings import Settings

_COLUMNS = ("label", "outcome", "confidence")


@dataclass(frozen=True)
class KeptWindow:
    """The labels of one window.

    Attributes
    ----------
    read
        The window, and its dates.
    version, run_id
        Of the materialisation that gave them.
    at
        When they were kept.
    entities
        How many have a row.
    """

    read: Read
    version: str
    run_id: str
    at: dt.datetime
    entities: int

    def contains(self, start: dt.date, end: dt.date) -> bool:
        """Whether all of the dates [start, end) are in the window."""
        return self.read.start <= start and end <= self.read.end


def log_read(settings: Settings, catalog: Catalog, ref: Ref) -> Read | None:
    """What the index and the rules of a label model last read of the log; None if unknown.

    Rules with another window than the label model's do not count.
    """
    body = catalog.definitions[ref].body
    assert isinstance(body, LabelModel)
    functions = (catalog.resolve(name, ref.concept).ref for name in body.labelling_functions)
    behind = {catalog.dependencies(function)[0] for function in functions}
    index = catalog.index_of(ref)
    states, window = load_states(settings), catalog.window(ref)
    recorded = (states[r.asset_name] for r in (*behind, index) if r and r.asset_name in states)
    found = (Read.in_details(state.details) for state in recorded)
    return max(
        (read for read in found if read and read.window == window), key=_latest, default=None
    )


def _latest(read: Read) -> tuple[dt.date, dt.date]:
    return read.end, read.start


# --- keeping ------------------------------------------------------------------------------------
def keep_window(settings: Settings, table: LabelTable, rows: pa.Table, read: Read | None) -> None:
    """Keep the labels of a window, in place of those that it had.

    Parameters
    ----------
    rows
        The rows of the table of labels.
    read
        What they are about. If it is everything, or unknown, the windows kept so far are removed:
        these labels are about all times.
    """
    place = definition_key(SCHEMA, table.concept, table.name)
    before = kept_windows(settings, table.concept, table.name)
    if read is None or read.window.is_everything:
        _write(settings, place, before, [])
        return
    version, run_id = rows["version"][0].as_py(), rows["run_id"][0].as_py()
    one = KeptWindow(read, version, run_id, dt.datetime.now(dt.UTC), rows.num_rows)
    kept = rows.select([table.key, *_COLUMNS])
    open_lake(settings).write_table(_key(place, one), pseudonymise(settings, kept))
    others = [w for w in before if (w.read.start, w.read.end) != (read.start, read.end)]
    _write(settings, place, before, [*others, one])


def _write(
    settings: Settings, place: str, before: Sequence[KeptWindow], after: Sequence[KeptWindow]
) -> None:
    """Write the list of windows, then delete the files that it does not name.

    Those that it named until now stay until the next time: they may be being read.
    """
    lake = open_lake(settings)
    if not before and not after:
        return
    listed = [
        {
            **window.read.to_json(),
            "version": window.version,
            "run_id": window.run_id,
            "at": window.at.isoformat(),
            "entities": window.entities,
        }
        for window in after
    ]
    lake.write_bytes(_list_key(place), json.dumps(listed).encode())
    named = {_key(place, window) for window in (*before, *after)} if after else set()
    for key in lake.list(place.removesuffix("data.parquet")):
        if "/window=" in key and key not in named:
            lake.delete(key)


# --- reading ------------------------------------------------------------------------------------
def kept_windows(settings: Settings, concept: str, name: str) -> list[KeptWindow]:
    """The windows with labels of a label model, the latest first."""
    place = definition_key(SCHEMA, concept, name)
    try:
        listed = json.loads(open_lake(settings).read_bytes(_list_key(place)))
    except LakeFileMissing:
        return []
    found = [
        KeptWindow(
            Read.from_json(one),
            one["version"],
            one["run_id"],
            dt.datetime.fromisoformat(one["at"]),
            one["entities"],
        )
        for one in listed
    ]
    return sorted(found, key=lambda window: (*_latest(window.read), window.at), reverse=True)


def window_at(kept: Sequence[KeptWindow], start: dt.date, end: dt.date) -> KeptWindow:
    """The window whose labels count for some dates.

    The latest that contains them; without one, the latest before them, or else the first after. So
    a window that is later than all others changes nothing for the dates before it.

    Parameters
    ----------
    kept
        From ``kept_windows``; not empty.
    start, end
        Local dates [start, end).
    """
    containing = (window for window in kept if window.contains(start, end))
    before = (window for window in kept if window.read.end <= start)
    return next(containing, next(before, kept[-1]))


def read_window(settings: Settings, concept: str, name: str, window: KeptWindow) -> pa.Table:
    """The labels of a window: the key (a pseudonym), label, outcome and confidence.

    Raises
    ------
    LakeFileMissing
        They are no longer kept: newer labels of the same window took their place.
    """
    return open_lake(settings).read_table(_key(definition_key(SCHEMA, concept, name), window))


def _key(place: str, window: KeptWindow) -> str:
    dates = f"{window.read.start}--{window.read.end}"
    return place.replace("data.parquet", f"window={dates}/{encode(window.version)}.parquet")


def _list_key(place: str) -> str:
    return place.replace("data.parquet", "windows.json")
