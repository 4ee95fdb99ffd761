"""Reports to Dagster which partitions were computed: each once, and none that was not.

The warehouse's records are authoritative. A run that dies after it has recorded partitions leaves a
row in ``tippers.unreported``, and they are reported from the records; so are all partitions of an
asset whose materializations were wiped on Dagster's pages. Nothing is computed for that.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import dagster as dg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.automation.unreported import unfinished_runs
from tippers_dagster.occupancy.describe import describe_partition
from tippers_dagster.occupancy.partitions import CHUNK, SPACE, partition_key
from tippers_dagster.occupancy.state import ASSETS, COUNTS
from tippers_dagster.occupancy.tables import partition_figures, unreported, wipe
from tippers_dagster.occupancy.work import Outcome
from tippers_dagster.platform.dagster.internals import (
    log_materializations,
    report_materializations,
)
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

DATA_VERSION = "dagster/data_version"

AT_ONCE = 20_000
"""Partitions that a tick reports, and those of one run at least: it should not take minutes."""


def report_computed(
    context: dg.AssetExecutionContext, settings: Settings, outcome: Outcome
) -> None:
    """Log a materialization of each partition that this run has computed."""
    log_materializations(context, list(_computed(outcome)))
    done = sa.delete(unreported).where(
        unreported.c.run_id == context.run.run_id, unreported.c.asset == outcome.asset
    )
    with warehouse_engine(settings).begin() as connection:
        connection.execute(done)


def report_missing(settings: Settings, instance: dg.DagsterInstance) -> int:
    """Report recorded partitions whose materializations Dagster lacks; returns their number."""
    engine = warehouse_engine(settings)
    _notice_wipes(engine, instance)
    with engine.connect() as connection:
        left = connection.execute(sa.select(unreported)).all()
    if not left:
        return 0
    unfinished = unfinished_runs(instance, {row.run_id for row in left})
    ended = [(row.asset, row.run_id) for row in left if row.run_id not in unfinished]
    of_record = sa.tuple_(partition_figures.c.asset, partition_figures.c.run_id)
    with engine.begin() as connection:
        ended = _first(connection, ended)
        rows = connection.execute(sa.select(partition_figures).where(of_record.in_(ended))).all()
        for asset in ASSETS:
            events = [_recorded(row) for row in rows if row.asset == asset]
            report_materializations(instance, events)
        of_row = sa.tuple_(unreported.c.asset, unreported.c.run_id)
        connection.execute(sa.delete(unreported).where(of_row.in_(ended)))
    return len(rows)


def _first(connection: sa.Connection, runs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """As many of the runs (asset, run id) as a tick reports."""
    figures = partition_figures.c
    pair = (figures.asset, figures.run_id)
    query = sa.select(*pair, sa.func.count()).where(sa.tuple_(*pair).in_(runs)).group_by(*pair)
    numbers = {(asset, run): n for asset, run, n in connection.execute(query)}
    chosen, total = [], 0
    for run in runs:
        chosen.append(run)
        total += numbers.get(run, 0)
        if total >= AT_ONCE:
            break
    return chosen


def _notice_wipes(engine: sa.Engine, instance: dg.DagsterInstance) -> None:
    """Mark everything that was computed of an asset as unreported if Dagster forgot it since."""
    records = {
        record.asset_entry.asset_key.to_user_string(): record.asset_entry
        for record in instance.get_asset_records([dg.AssetKey(asset) for asset in ASSETS])
    }
    with engine.begin() as connection:
        known = dict(connection.execute(sa.select(wipe.c.asset, wipe.c.wiped_at)).all())
        for asset, entry in records.items():
            details = entry.asset_details
            if details is None or details.last_wipe_timestamp is None:
                continue
            wiped_at = dt.datetime.fromtimestamp(details.last_wipe_timestamp, dt.UTC)
            if asset not in known or known[asset] < wiped_at:
                _mark_unreported(connection, asset, wiped_at)
        for asset in set(ASSETS).difference(records):  # just wiped, or Dagster has a new storage
            _mark_unreported(connection, asset, dt.datetime.now(dt.UTC))


def mark_lost(settings: Settings, instance: dg.DagsterInstance) -> int:
    """Mark the runs of recorded partitions that Dagster does not list as materialized, such as
    after somebody deleted a run on its pages; returns the number of partitions.
    """
    engine, figures = warehouse_engine(settings), partition_figures.c
    lost = 0
    for asset in ASSETS:
        listed = instance.get_materialized_partitions(dg.AssetKey(asset))
        query = sa.select(figures.space, figures.chunk, figures.run_id)
        with engine.begin() as connection:
            rows = connection.execute(query.where(figures.asset == asset)).all()
            runs = [
                run_id
                for space, chunk, run_id in rows
                if partition_key(asset, space, chunk) not in listed
            ]
            lost += len(runs)
            for run_id in set(runs):
                row = insert(unreported).values(run_id=run_id, asset=asset)
                connection.execute(row.on_conflict_do_nothing())
    return lost


def _mark_unreported(connection: sa.Connection, asset: str, wiped_at: dt.datetime) -> None:
    row = insert(wipe).values(asset=asset, wiped_at=wiped_at)
    connection.execute(
        row.on_conflict_do_update(index_elements=["asset"], set_={"wiped_at": wiped_at})
    )
    figures = partition_figures.c
    runs = sa.select(figures.run_id, figures.asset).where(figures.asset == asset).distinct()
    row = insert(unreported).from_select(["run_id", "asset"], runs)
    connection.execute(row.on_conflict_do_nothing())


def _computed(outcome: Outcome) -> Iterator[dg.AssetMaterialization]:
    asset = outcome.asset
    for s in outcome.sessions:
        figures = describe_partition(asset, s.rows, s.devices)
        figures["rejected"] = dg.IntMetadataValue(s.rejected)
        figures["repeated"] = dg.IntMetadataValue(s.repeated)
        yield _materialization(asset, "", s.chunk, s.fingerprint, figures)
    for chunk, f in outcome.figures.items():
        columns = (f.rows, f.devices, f.peak, f.peak_time, f.output)
        values = (column.tolist() for column in columns)
        for space, rows, devices, peak, peak_time, output in zip(f.spaces, *values, strict=True):
            figures = describe_partition(asset, rows, devices, peak, peak_time)
            yield _materialization(asset, space, chunk, output, figures)


def _recorded(row: sa.Row) -> dg.AssetMaterialization:
    peak_time = None if row.peak_time is None else row.peak_time.timestamp()
    figures = describe_partition(row.asset, row.rows, row.devices, row.peak, peak_time)
    figures["run"] = dg.DagsterRunMetadataValue(row.run_id)
    return _materialization(row.asset, row.space, row.chunk, row.output_fingerprint, figures)


def _materialization(
    asset: str, space: str, chunk: str, output: int, figures: dict[str, dg.MetadataValue]
) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        asset,
        partition=dg.MultiPartitionKey({SPACE: space, CHUNK: chunk}) if asset in COUNTS else chunk,
        metadata=figures,
        tags={DATA_VERSION: f"{output % 2**64:016x}"},
    )
