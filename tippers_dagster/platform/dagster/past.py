"""Deletes what Dagster's storage keeps of the past; its pages show every partition as before.

Dagster itself deletes only old ticks. These statements are for the tables of the version that is
pinned, on PostgreSQL; tests fail where they change.
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2

BATCH = 10_000
"""Rows of a statement: it holds up nobody for long."""

RUNS = 200

FINISHED = ("SUCCESS", "FAILURE", "CANCELED")

_LATER = """
    EXISTS (SELECT FROM event_logs n WHERE n.asset_key = e.asset_key
      AND n.dagster_event_type = e.dagster_event_type AND n.partition = e.partition AND n.id > e.id)
"""
"""Of an event of a partition; the index of these has no others."""

_OLD_EVENTS = f"""
    SELECT id FROM (SELECT * FROM event_logs WHERE id > %(after)s AND partition IS NOT NULL
      AND asset_key = ANY(%(assets)s) AND timestamp < %(before)s
      AND dagster_event_type IN ('ASSET_MATERIALIZATION', 'ASSET_OBSERVATION')
      ORDER BY id LIMIT %(batch)s) e
    WHERE {_LATER}
"""
"""Materializations and observations of partitions that have later ones."""

_LAST_OLD_EVENT = """
    SELECT max(id) FROM (SELECT id FROM event_logs WHERE id > %(after)s AND partition IS NOT NULL
      AND asset_key = ANY(%(assets)s) AND timestamp < %(before)s
      AND dagster_event_type IN ('ASSET_MATERIALIZATION', 'ASSET_OBSERVATION')
      ORDER BY id LIMIT %(batch)s) e
"""

_OLD_RUNS = """
    SELECT run_id FROM runs r WHERE update_timestamp < %(before)s AND status = ANY(%(statuses)s)
      AND (%(tag)s::text IS NULL
        OR EXISTS (SELECT FROM run_tags t WHERE t.run_id = r.run_id AND t.key = %(tag)s))
    ORDER BY id LIMIT %(limit)s
"""

_EVENTS_OF_RUNS = f"""
    SELECT id FROM event_logs e
    WHERE e.run_id = ANY(%(runs)s)
      AND (coalesce(e.dagster_event_type, '') NOT IN ('ASSET_MATERIALIZATION', 'ASSET_OBSERVATION')
        OR (e.partition IS NOT NULL AND {_LATER})
        OR (e.partition IS NULL AND e.id < (SELECT max(n.id) FROM event_logs n
          WHERE n.asset_key = e.asset_key AND n.dagster_event_type = e.dagster_event_type)))
      AND NOT EXISTS (SELECT FROM asset_check_executions c
        WHERE c.evaluation_event_storage_id = e.id)
"""
"""All but the latest materialization and observation of an asset or partition, and the results of
checks that are kept."""

_CHECKS_OF_RUNS = """
    DELETE FROM asset_check_executions c WHERE c.run_id = ANY(%(runs)s)
      AND EXISTS (SELECT FROM asset_check_executions n WHERE n.asset_key = c.asset_key
        AND n.check_name = c.check_name AND n.partition IS NOT DISTINCT FROM c.partition
        AND n.id > c.id)
"""

_DELETE_EVENTS = """
    WITH old AS ({old}),
    tags AS (DELETE FROM asset_event_tags WHERE event_id IN (SELECT id FROM old))
    DELETE FROM event_logs WHERE id IN (SELECT id FROM old)
"""

_TICKS = """
    DELETE FROM job_ticks WHERE id IN (
        SELECT id FROM job_ticks WHERE timestamp < %(before)s AND status = ANY(%(statuses)s)
        LIMIT %(batch)s)
"""

_EVALUATIONS = """
    DELETE FROM asset_daemon_asset_evaluations WHERE id IN (
        SELECT id FROM asset_daemon_asset_evaluations e WHERE create_timestamp < %(before)s
          AND EXISTS (SELECT FROM asset_daemon_asset_evaluations n
            WHERE n.asset_key = e.asset_key AND n.id > e.id)
        LIMIT %(batch)s)
"""

_SNAPSHOTS = """
    DELETE FROM snapshots s WHERE s.id < (SELECT max(id) FROM snapshots) - %(newest)s
      AND NOT EXISTS (SELECT FROM runs r WHERE r.snapshot_id = s.snapshot_id
        OR r.run_body LIKE '%%' || s.snapshot_id || '%%')
"""

NEWEST_SNAPSHOTS = 50
"""Never deleted: a run that is just being created may refer to one of them."""

_BACKFILLS = """
    WITH old AS (DELETE FROM bulk_actions WHERE timestamp < %(before)s
      AND status NOT IN ('REQUESTED', 'CANCELING', 'FAILING') RETURNING key)
    DELETE FROM backfill_tags WHERE backfill_id IN (SELECT key FROM old)
"""


class Past:
    """The tables of Dagster's storage.

    Parameters
    ----------
    url
        Of Dagster's storage, for libpq.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def delete_superseded_events(self, before: dt.datetime, assets: Sequence[str]) -> int:
        """Delete materializations and observations of partitions of these assets that have later
        ones.
        """
        values: dict[str, object] = {"before": _naive(before), "batch": BATCH, "after": 0}
        values["assets"] = [json.dumps([asset]) for asset in assets]
        total = 0
        while last := self._rows(_LAST_OLD_EVENT, values)[0][0]:
            total += self._execute(_DELETE_EVENTS.format(old=_OLD_EVENTS), values)
            values["after"] = last
        return total

    def delete_runs(self, before: dt.datetime, *, succeeded_with_tag: str | None = None) -> int:
        """Delete runs that finished before a moment, their events and the results of their checks.

        What is the latest of an asset, partition or check stays; its page names a run that is gone.

        Parameters
        ----------
        succeeded_with_tag
            Only those with this tag that succeeded.

        Returns
        -------
        int
            The number of runs.
        """
        values: dict[str, object] = {"before": before, "limit": RUNS}
        values |= {"statuses": list(FINISHED), "tag": succeeded_with_tag}
        if succeeded_with_tag is not None:
            values["statuses"] = ["SUCCESS"]
        total = 0
        while runs := [row[0] for row in self._rows(_OLD_RUNS, values)]:
            self._execute(_CHECKS_OF_RUNS, {"runs": runs})
            self._execute(_DELETE_EVENTS.format(old=_EVENTS_OF_RUNS), {"runs": runs})
            total += self._execute("DELETE FROM runs WHERE run_id = ANY(%(runs)s)", {"runs": runs})
        return total

    def delete_ticks(self, before: dt.datetime, statuses: Sequence[str]) -> int:
        """Delete ticks of sensors and schedules."""
        values = {"before": before, "statuses": list(statuses)}
        return self._batches(_TICKS, values)

    def delete_evaluations(self, before: dt.datetime) -> int:
        """Delete evaluations of automation conditions, but for the latest of each asset."""
        return self._batches(_EVALUATIONS, {"before": before})

    def delete_backfills(self, before: dt.datetime) -> int:
        """Delete backfills that ended."""
        return self._execute(_BACKFILLS, {"before": before})

    def delete_snapshots(self) -> int:
        """Delete snapshots of jobs and plans that no run refers to."""
        return self._execute(_SNAPSHOTS, {"newest": NEWEST_SNAPSHOTS})

    def delete_folders(self, storage: Path, before: dt.datetime) -> int:
        """Delete the folders of runs that are gone, as ``<storage>/<run id>``."""
        if not storage.is_dir():
            return 0
        folders = {path.name: path for path in storage.iterdir() if _is_of_run(path)}
        known = self._rows(
            "SELECT run_id FROM runs WHERE run_id = ANY(%(names)s)", {"names": list(folders)}
        )
        for (run_id,) in known:
            del folders[run_id]
        old = [p for p in folders.values() if p.stat().st_mtime < before.timestamp()]
        for path in old:
            shutil.rmtree(path)
        return len(old)

    def _batches(self, statement: str, values: dict[str, object]) -> int:
        total = 0
        while deleted := self._execute(statement, {**values, "batch": BATCH}):
            total += deleted
        return total

    def _rows(self, query: str, values: dict[str, object]) -> list[tuple[str, ...]]:
        with self._cursor() as cursor:
            cursor.execute(query, values)
            return list(cursor.fetchall())

    def _execute(self, statement: str, values: dict[str, object]) -> int:
        with self._cursor() as cursor:
            cursor.execute(statement, values)
            return int(cursor.rowcount)

    @contextmanager
    def _cursor(self) -> Iterator[psycopg2.extensions.cursor]:
        with (
            closing(psycopg2.connect(self._url)) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            yield cursor


def _naive(moment: dt.datetime) -> dt.datetime:
    """As the times of events are: in UTC.

    All other columns are in the server's zone; PostgreSQL compares them with an instant rightly.
    """
    return moment.astimezone(dt.UTC).replace(tzinfo=None)


def _is_of_run(path: Path) -> bool:
    try:
        uuid.UUID(path.name)
    except ValueError:
        return False
    return path.is_dir() and not path.is_symlink()
