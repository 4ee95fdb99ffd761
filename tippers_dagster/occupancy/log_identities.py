"""Reads the identities of the tracked log, by week."""

from __future__ import annotations

import pyarrow as pa

from tippers_dagster.automation.nodes import digest
from tippers_dagster.campus.addresses import device_addresses
from tippers_dagster.occupancy.chunk_tables import DEVICE_DAYS
from tippers_dagster.occupancy.identities import identities_by_week
from tippers_dagster.occupancy.log import recorded_chunks
from tippers_dagster.occupancy.log_window import LogIncomplete
from tippers_dagster.occupancy.state import DAYS
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import chunk_file
from tippers_dagster.settings import Settings


def log_token(settings: Settings) -> str:
    """A text that differs whenever the device days of the tracked log do."""
    recorded = recorded_chunks(settings, (DAYS,))
    return digest(*(part for chunk in recorded.items() for part in chunk))


def log_identities(settings: Settings) -> pa.Table:
    """The identities of all tracked time chunks, by week; see ``identities_by_week``.

    Raises
    ------
    LogIncomplete
        A run replaced device days meanwhile.
    LogOutdated, LakeError
        The log is of a previous version, or a file cannot be read.
    """
    lake, recorded = open_lake(settings), recorded_chunks(settings, (DAYS,))
    days = (
        lake.read_table(
            chunk_file(DEVICE_DAYS, chunk),
            ["device", "local_date", "sessions", "known"],
            optional={"known": pa.int32()},
        )
        for chunk in recorded
    )
    found = identities_by_week(days, device_addresses(settings))
    if recorded_chunks(settings, (DAYS,)) != recorded:
        raise LogIncomplete(
            "The device days of the log were computed again while they were read.",
            "Try again in a moment.",
        )
    return found
