"""Metadata in Dagster: a partition's figures; a run's totals, place, preview and plot."""

from __future__ import annotations

import dagster as dg
import numpy as np
import pyarrow as pa

from tippers_dagster.campus.local_time import LocalClock
from tippers_dagster.occupancy import files
from tippers_dagster.occupancy.chunk_tables import PLACE_DAYS, PREFIXES
from tippers_dagster.occupancy.state import COUNTS, DAYS, DERIVED, SESSIONS, SOURCE
from tippers_dagster.occupancy.work import Outcome
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import chunk_file, sessions_key
from tippers_dagster.platform.plots import as_markdown, as_png
from tippers_dagster.settings import Settings

PREVIEW_ROWS = 8

IDENTIFYING = ("device", "partner", "person", "kept")


def _columns(*columns: tuple[str, str, str]) -> dg.TableSchema:
    return dg.TableSchema([dg.TableColumn(name, kind, about) for name, kind, about in columns])


_COUNTS = _columns(
    ("interval_seconds", "int32", "width of the bin in seconds"),
    ("interval_begin_time", "timestamp[s, UTC]", "start of the bin"),
    ("number_connections", "int32", "distinct devices; empty bins have no row"),
)
SCHEMAS = {
    SESSIONS: _columns(
        ("device", "uint64", "keyed hash of the MAC address"),
        ("space", "string", "id of the space"),
        ("sensor", "string", "access point"),
        ("start", "int64", "first second of the whole session, as Unix time"),
        ("end", "int64", "end of the whole session, excluded, as Unix time"),
        ("start_time", "timestamp[us]", "local time at which it starts"),
        ("end_time", "timestamp[us]", "local time at which it ends, or is taken to end"),
        ("is_open", "bool", "the source has no end"),
        ("carried", "bool", "it starts in an earlier chunk, whose file has it too"),
    ),
    SOURCE: _COUNTS,
    DERIVED: _COUNTS,
    DAYS: _columns(
        ("device", "uint64", "keyed hash of the MAC address"),
        ("local_date", "date32", "date on which the sessions start"),
        ("space", "string", "id of the space (place_days)"),
        ("sensor", "string", "access point (place_days)"),
        ("sessions", "int32", "number of sessions"),
        ("seconds", "int64", "their length"),
        ("hours", "int32", "bit h is set if a session starts in hour h (place_days)"),
        ("first_start", "timestamp[us]", "first local start (device_days)"),
        ("last_end", "timestamp[us]", "last local end (device_days)"),
        ("partner", "uint64", "a device that shares many of the sessions (encounters/pairs)"),
        ("shared", "int32", "how many it shares (encounters/pairs)"),
        ("accompanied", "int32", "sessions with another device present (encounters/devices)"),
    ),
}


def describe_run(settings: Settings, outcome: Outcome) -> dict[str, dg.MetadataValue]:
    """What a run has computed, with keys ``run/...``."""
    return _totals(settings, outcome) | _rich(settings, outcome)


def describe_partition(
    asset: str, rows: int, devices: int, peak: int | None = None, peak_time: float | None = None
) -> dict[str, dg.MetadataValue]:
    """The figures of one partition.

    Parameters
    ----------
    peak_time
        Unix seconds.
    """
    counted = "presence_intervals" if asset in COUNTS else "sessions"
    figures: dict[str, dg.MetadataValue] = {
        "dagster/row_count" if asset == SESSIONS else counted: dg.IntMetadataValue(rows),
        "devices": dg.IntMetadataValue(devices),
    }
    if asset in COUNTS and peak is not None:
        figures["peak"] = dg.IntMetadataValue(peak)
        if peak and peak_time is not None:
            figures["peak_time"] = dg.TimestampMetadataValue(float(peak_time))
    return figures


def _totals(settings: Settings, outcome: Outcome) -> dict[str, dg.MetadataValue]:
    lake = open_lake(settings)
    rows = sum(s.rows for s in outcome.sessions)
    rows += sum(int(f.rows.sum()) for f in outcome.figures.values())
    totals: dict[str, dg.MetadataValue] = {
        "run/partitions_computed": dg.IntMetadataValue(outcome.computed),
        "run/partitions_fresh_already": dg.IntMetadataValue(outcome.skipped),
        "run/seconds": dg.FloatMetadataValue(round(outcome.seconds, 3)),
        "run/rows": dg.IntMetadataValue(rows),
    }
    if outcome.asset == SESSIONS:
        rejected = sum(s.rejected for s in outcome.sessions)
        totals["run/rows_rejected"] = dg.IntMetadataValue(rejected)
        totals["run/rows_without_start"] = dg.IntMetadataValue(outcome.undated)
        repeated = sum(s.repeated for s in outcome.sessions)
        totals["run/rows_repeated"] = dg.IntMetadataValue(repeated)
        totals["dagster/uri"] = dg.TextMetadataValue(lake.uri() + "/sessions")
    elif outcome.asset in COUNTS:
        totals["dagster/uri"] = dg.TextMetadataValue(lake.uri() + "/occupancy")
    else:
        folders = ", ".join(f"{lake.uri()}/{prefix}" for prefix in PREFIXES)
        totals["dagster/uri"] = dg.TextMetadataValue(folders)
    return totals


def _rich(settings: Settings, outcome: Outcome) -> dict[str, dg.MetadataValue]:
    """Preview and plot of the fullest partition; empty if none was computed."""
    if outcome.asset not in COUNTS:
        return _preview_of_fullest(settings, outcome)
    peaks = [
        (int(f.peak.max()), chunk, f.spaces[int(f.peak.argmax())])
        for chunk, f in outcome.figures.items()
        if f.peak.size
    ]
    if not peaks:
        return {}
    peak, chunk, space = max(peaks)
    dataset = files.SOURCE_COUNTS if outcome.asset == SOURCE else files.DERIVED_COUNTS
    found = files.read(open_lake(settings), dataset, {chunk: [space]}).get(chunk)
    if found is None or not found.spaces:  # a parent's own presence has no separate counts
        return {}
    return {
        "run/peak": dg.TextMetadataValue(f"{peak} devices in {space}, chunk {chunk}"),
        f"run/preview of {space}, {chunk}": _preview(found.table),
        f"run/plot of {space}, {chunk}": _plot(settings, space, chunk, found.table),
    }


def _preview_of_fullest(settings: Settings, outcome: Outcome) -> dict[str, dg.MetadataValue]:
    rows = {s.chunk: s.rows for s in outcome.sessions}
    rows |= {chunk: int(f.rows.sum()) for chunk, f in outcome.figures.items()}
    if not rows:
        return {}
    fullest = max(rows, key=rows.__getitem__)
    key = chunk_file(PLACE_DAYS, fullest) if outcome.asset == DAYS else sessions_key(fullest)
    return {f"run/preview of {fullest}": _preview(open_lake(settings).read_table(key))}


def _preview(table: pa.Table) -> dg.MetadataValue:
    """The first rows, without who: with places and times it would outlive retention in Dagster."""
    rows = table.slice(0, PREVIEW_ROWS).drop_columns(
        [name for name in table.column_names if name in IDENTIFYING]
    )
    names = rows.column_names
    lines = [names, ["---"] * len(names), *zip(*(c.to_pylist() for c in rows.columns), strict=True)]
    return dg.MarkdownMetadataValue(
        "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)
    )


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _plot(settings: Settings, space: str, chunk: str, table: pa.Table) -> dg.MetadataValue:
    """Hourly counts of one partition over local time, as an image in Markdown."""
    from matplotlib.figure import Figure

    clock = LocalClock(settings.timezone)
    first, end = clock.chunk_seconds(chunk, settings.chunk)
    hourly = table["interval_seconds"].to_numpy() == 3600
    begin = files.seconds(table["interval_begin_time"])[hourly]
    counts = np.zeros((end - first) // 3600, np.int64)
    counts[(begin - first) // 3600] = table["number_connections"].to_numpy()[hourly]
    hours = clock.to_local(np.arange(first, end, 3600) * 1_000_000)
    figure = Figure(figsize=(7, 1.8), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(hours.astype("datetime64[us]"), counts, step="post", color="#2f6f8f", lw=0)
    axes.set_title(f"{space}: devices per hour", fontsize=9, loc="left")
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(0)
    return dg.MarkdownMetadataValue(as_markdown(as_png(figure, 80), "devices per hour"))
