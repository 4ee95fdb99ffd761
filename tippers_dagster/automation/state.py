"""The recorded state of every definition asset: its version, or why it failed.

A run reads all versions before it reads any data, so the version that it records is never newer
than the data: an input that changes meanwhile makes the asset stale. If a run dies, its assets are
stale, too: before it replaces the first row or file of an asset, it voids the asset's version.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.automation.nodes import (
    Node,
    lineage_of,
    seen_version,
    version_of,
    without_added,
)
from tippers_dagster.automation.retries import retry_wait
from tippers_dagster.automation.tables import asset_state, source_token
from tippers_dagster.automation.tokens import check_new_sources, record_tokens, source_tokens
from tippers_dagster.errors import TippersError
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.locks.locks import hold_run_lock
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

MAX_ERROR_CHARACTERS = 4000
"""Longer errors are cut."""

COMPUTED_FROM = "made_from"
"""The detail with the hash of the definition's content, the versions of the inputs, the lineage,
and a time before anything was read."""

COMPUTED_IN = "computed_in"
"""The detail with the run of a result that later runs kept, as nothing had changed."""

REPLACED = "replaced by "
"""Prefix of the version of an asset that a run is replacing, or was replacing when it died."""

OVERTAKEN = "overtaken in "
"""Prefix of the version of an asset whose inputs were computed again while it was computed."""


@dataclass(frozen=True)
class AssetState:
    """The recorded state of one asset: the columns of ``asset_state``."""

    version: str | None = None
    materialized_at: dt.datetime | None = None
    run_id: str | None = None
    seconds: float | None = None
    rows: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    failed_version: str | None = None
    tries: int = 0
    failed_at: dt.datetime | None = None
    error: str | None = None
    retry_at: dt.datetime | None = None

    @property
    def void(self) -> bool:
        """Whether the inputs of its rows are unknown, so that it has to be computed again."""
        return self.version is not None and self.version.startswith((REPLACED, OVERTAKEN))

    @property
    def lineage(self) -> str | None:
        """The lineage that it was computed with; None: not recorded."""
        return self.details.get(COMPUTED_FROM, {}).get("lineage")

    @property
    def read_at(self) -> dt.datetime | None:
        """A time before its inputs were read; None: not recorded."""
        text = self.details.get(COMPUTED_FROM, {}).get("read_at")
        return None if text is None else dt.datetime.fromisoformat(text)

    @property
    def unchanged(self) -> bool:
        """Whether the last run kept an earlier result, as its inputs had the same content."""
        return COMPUTED_IN in self.details

    def tries_of(self, version: str) -> int:
        """The number of failed attempts at this version."""
        return self.tries if self.failed_version == version else 0

    def error_of(self, version: str) -> str | None:
        """Why this version failed; None also while the result of an attempt is pending."""
        return self.error if self.failed_version == version else None

    def next_try(self, settings: Settings, version: str) -> dt.datetime | None:
        """When the next attempt at this failed version is due; None: no automatic attempt.

        After the first attempts, an asset is retried occasionally, in case something is unavailable
        for longer. A failure of the environment is retried later and does not count.
        """
        if self.retry_at is not None and self.failed_version == version:
            return self.retry_at
        tries = self.tries_of(version)
        seconds = float(retry_wait(settings, tries))
        if self.failed_at is None or seconds == math.inf:
            return None
        return self.failed_at + dt.timedelta(seconds=seconds)

    def held_back(self, settings: Settings, version: str, now: dt.datetime) -> bool:
        """Whether this version failed, and has no attempt left or none due."""
        if not self.tries_of(version) and self.retry_at is None:
            return False
        due = self.next_try(settings, version)
        return due is None or now < due

    def due(self, node: Node, now: dt.datetime) -> bool:
        """Whether the external data of a node is due for a check."""
        if node.every_seconds is None or self.materialized_at is None:
            return False
        return now >= self.materialized_at + dt.timedelta(seconds=node.every_seconds)


NEVER = AssetState()
"""The state of an asset without any attempt."""


def load_states(settings: Settings) -> dict[str, AssetState]:
    """The recorded states, by asset name (``Node.name``)."""
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(sa.select(asset_state)).mappings().all()
    return {row["asset"]: AssetState(**{k: row[k] for k in row if k != "asset"}) for row in rows}


@dataclass(frozen=True)
class _Recorded:
    """A unique id of one materialisation of an asset."""

    version: str | None = None
    at: dt.datetime | None = None
    lineage: str | None = field(default=None, compare=False)


class Recorder:
    """Records the results of one run's assets. Create it with :func:`recorder`."""

    def __init__(
        self,
        settings: Settings,
        nodes: Mapping[tuple[str, ...], Node],
        recorded: dict[str, _Recorded],
        tokens: dict[str, str],
        run_id: str,
    ) -> None:
        self._settings, self._engine = settings, warehouse_engine(settings)
        self._nodes, self._recorded, self._tokens = nodes, recorded, tokens
        self._run_id, self._read_at = run_id, dt.datetime.now(dt.UTC)
        self._environment_wait = dt.timedelta(seconds=settings.environment_retry_seconds)

    def version(self, key: Iterable[str], token: str | None = None) -> str:
        """The version of a node if it is computed now.

        Raises
        ------
        TippersError
            When the node is not part of the run.
        """
        node = self._node(key)
        read = {dep: self._version_read("/".join(dep)) for dep in node.deps}
        if node.every_seconds is not None and token is None:
            token = self._tokens.get(node.name)
        return version_of(node, read, token)

    def look_again(self, key: Iterable[str]) -> None:
        """Check the sources with a query of a node just before they are read.

        Such tokens may recur, so an observation of minutes ago says nothing about the present rows.
        """
        read = [self._nodes[dep] for dep in self._node(key).deps if dep in self._nodes]
        queried = {n.name: n.source for n in read if n.source is not None and n.source.query}
        found = source_tokens(self._settings, queried)
        with self._engine.begin() as connection:
            record_tokens(connection, found)
        self._tokens |= found

    def replacing(self, key: Iterable[str]) -> None:
        """Void the record of a node, since its rows or files are about to be replaced.

        Call it as late as possible before the first replacement: until ``succeeded``, the node is
        stale, and its dependents wait.
        """
        name = self._node(key).name
        with self._engine.begin() as connection:
            for _, version, at in void(connection, [name], self._run_id):
                self._recorded[name] = _Recorded(version, at)

    def succeeded(
        self,
        key: Iterable[str],
        rows: int | None = None,
        seconds: float | None = None,
        details: Mapping[str, Any] | None = None,
        token: str | None = None,
    ) -> str:
        """Record that a node was computed, and return its version.

        If an input was computed again meanwhile, it is unknown which version was read. The node
        then gets a version that matches nothing, and is computed again.

        Parameters
        ----------
        rows, seconds, details
            Shown to users; ``details`` must be JSON.
        token
            For a node with ``every_seconds``: a text that differs whenever its rows may differ. If
            None, the rows may differ in every run.
        """
        node = self._node(key)
        if node.every_seconds is not None and token is None:
            token = self._run_id
        result = {"rows": rows, "seconds": seconds}
        return self._put_result(node, result, details or {}, token, f"{OVERTAKEN}{self._run_id}")

    def _put_result(
        self,
        node: Node,
        result: Mapping[str, Any],
        details: Mapping[str, Any],
        token: str | None,
        overtaken: str,
    ) -> str:
        """Record a result; ``overtaken``: the version if an input was computed meanwhile."""
        wanted, now = self.version(node.key, token), dt.datetime.now(dt.UTC)
        read = {"/".join(dep): self._version_read("/".join(dep)) for dep in node.deps}
        lineage = lineage_of(node, {dep: self._lineage_read(dep) for dep in node.deps})
        made_from = {
            "content": node.content,
            "read": read,
            "lineage": lineage,
            "read_at": self._read_at.isoformat(),
        }
        values = {
            "materialized_at": now,
            "run_id": self._run_id,
            **result,
            "details": {**details, COMPUTED_FROM: made_from},
            "failed_version": None,
            "tries": 0,
            "failed_at": None,
            "error": None,
            "retry_at": None,
        }
        open_lake(self._settings).sync()  # the files must survive a power cut, as the record does
        with self._engine.begin() as connection:
            version = overtaken if self._overtaken(connection, node) else wanted
            _put(connection, node.name, {"version": version, **values})
            if node.every_seconds is not None and token is not None:
                record_tokens(connection, {node.name: token})
                self._tokens[node.name] = token
        self._recorded[node.name] = _Recorded(version, now, lineage)
        return version

    def result(self, key: Iterable[str]) -> AssetState | None:
        """The recorded result of a node, if it is whole and of the present definition."""
        node = self._node(key)
        query = sa.select(asset_state).where(asset_state.c.asset == node.name)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            return None
        state = AssetState(**{name: row[name] for name in row if name != "asset"})
        content = state.details.get(COMPUTED_FROM, {}).get("content")
        whole = state.version is not None and not state.void
        return state if whole and content == node.content else None

    def unchanged(self, key: Iterable[str], state: AssetState) -> str:
        """Record that a node would be computed from the same content again, and return its version.

        Its rows, files and details stay, and the seconds that they took; the versions of its inputs
        are the present ones. If an input was computed again meanwhile, its version stays, too: it
        is stale as before.

        Parameters
        ----------
        state
            From ``result``.
        """
        node, token = self._node(key), self._tokens.get("/".join(key))
        result = {"rows": state.rows, "seconds": state.seconds}
        details = {COMPUTED_IN: state.run_id, **state.details}
        return self._put_result(node, result, details, token, str(state.version))

    def failed(self, key: Iterable[str], error: str, *, environment_failed: bool = False) -> None:
        """Record why a node could not be computed, as another attempt at its version.

        An attempt that automation counted when it requested the run is not counted again.

        Parameters
        ----------
        environment_failed
            Whether the environment failed, not the computation: this does not count as an attempt,
            and is retried later.
        """
        node = self._node(key)
        version, now = self.version(node.key), dt.datetime.now(dt.UTC)
        values = {
            "failed_version": version,
            "tries": 0 if environment_failed else 1,
            "failed_at": now,
            "error": error.replace("\0", "")[:MAX_ERROR_CHARACTERS],
            "retry_at": now + self._environment_wait if environment_failed else None,
        }
        c = asset_state.c
        pending = sa.and_(c.error.is_(None), c.tries > 0)
        again = sa.case((pending, c.tries), else_=c.tries + 1) - int(environment_failed)
        tries = sa.case((c.failed_version == version, again), else_=values["tries"])
        with self._engine.begin() as connection:
            _put(connection, node.name, values, {**values, "tries": tries})

    def _overtaken(self, connection: sa.Connection, node: Node) -> bool:
        """Whether an input, or the node itself, was computed or voided since its version was read.

        For an input that reads external data, the version is enough: it differs whenever the data
        does.
        """
        names = [node.name, *("/".join(dep) for dep in node.deps)]
        c = asset_state.c
        query = sa.select(c.asset, c.version, c.materialized_at).where(c.asset.in_(names))
        for name, *row in connection.execute(query):
            now, before = _Recorded(*row), self._recorded.get(name, _Recorded())
            dep = self._nodes.get(tuple(name.split("/")))
            if dep is None or dep.every_seconds is None or name == node.name:
                if now != before:
                    return True
            elif now.version != before.version and not dep.seen_by_token:
                return True
        return False

    def _version_read(self, name: str) -> str | None:
        node, token = self._nodes.get(tuple(name.split("/"))), self._tokens.get(name)
        recorded = self._recorded.get(name)
        version = token if recorded is None else without_added(recorded.version)
        return version if node is None else seen_version(node, version, token)

    def _lineage_read(self, key: tuple[str, ...]) -> str | None:
        node, name = self._nodes.get(key), "/".join(key)
        if node is not None and node.source is not None:
            return lineage_of(node, {}, self._tokens.get(name))
        return self._recorded.get(name, _Recorded()).lineage

    def _node(self, key: Iterable[str]) -> Node:
        node = self._nodes.get(tuple(key))
        if node is None:
            raise TippersError(f"{'/'.join(key)} is not part of this run.")
        return node


def void(
    connection: sa.Connection, names: Collection[str], run_id: str
) -> list[tuple[str, str, dt.datetime]]:
    """Void the records of assets whose rows or files a run replaces.

    Returns
    -------
    The new (name, version, time) of assets that had a record.
    """
    c = asset_state.c
    query = (
        sa.update(asset_state)
        .where(c.asset.in_(names), c.version.is_not(None))
        .values(version=f"{REPLACED}{run_id}")
        .returning(c.asset, c.version, c.materialized_at)
    )
    rows = connection.execute(query)
    return [(row.asset, row.version, row.materialized_at) for row in rows]


def recorder(settings: Settings, nodes: Iterable[Node], run_id: str) -> Recorder:
    """Read all recorded versions and tokens, before any data is read.

    From now on this process holds the run's lock, a sign that the run is alive.

    Parameters
    ----------
    nodes
        At least those that the run computes. Sources that were never checked are checked now.
    run_id
        Dagster's id of the run.
    """
    hold_run_lock(settings, run_id)
    by_key = {node.key: node for node in nodes}
    check_new_sources(settings, by_key.values())
    return _recorder(settings, by_key, run_id)


def errors_now(settings: Settings, nodes: Iterable[Node]) -> dict[str, str]:
    """Why assets could not be computed from their current inputs, by name.

    Failures of outdated versions are left out.

    Parameters
    ----------
    nodes
        At least the assets in question, and their inputs that are seen by token.
    """
    assets = [node for node in nodes if node.source is None]
    record = _recorder(settings, {node.key: node for node in assets}, "")
    states = load_states(settings)
    errors = {
        node.name: states.get(node.name, NEVER).error_of(record.version(node.key))
        for node in assets
    }
    return {name: error for name, error in errors.items() if error is not None}


def _recorder(settings: Settings, by_key: Mapping[tuple[str, ...], Node], run_id: str) -> Recorder:
    with warehouse_engine(settings).connect() as connection:
        c = asset_state.c
        lineage = c.details[COMPUTED_FROM]["lineage"].astext
        rows = connection.execute(sa.select(c.asset, c.version, c.materialized_at, lineage))
        recorded = {name: _Recorded(*of) for name, *of in rows}
        tokens = dict(
            connection.execute(sa.select(source_token.c.asset, source_token.c.token)).all()
        )
    return Recorder(settings, by_key, recorded, tokens, run_id)


def count_attempts(settings: Settings, wanted: Mapping[str, str]) -> None:
    """Count another attempt at these versions, by asset name, as automation requests them.

    A run whose process dies before it can record a failure thus counts, too.
    """
    if not wanted:
        return
    values = {"tries": 1, "failed_at": dt.datetime.now(dt.UTC), "error": None, "retry_at": None}
    rows = [{"asset": n, "failed_version": v, **values} for n, v in sorted(wanted.items())]
    insertion = insert(asset_state).values(rows)
    new = insertion.excluded
    again = asset_state.c.failed_version == new.failed_version
    query = insertion.on_conflict_do_update(
        index_elements=["asset"],
        set_={
            "failed_version": new.failed_version,
            "tries": sa.case((again, asset_state.c.tries + 1), else_=1),
            "failed_at": new.failed_at,
            "error": None,
            "retry_at": None,
        },
    )
    with warehouse_engine(settings).begin() as connection:
        connection.execute(query)


def forget_failures(settings: Settings) -> int:
    """Forget all failed attempts, so that automation retries; returns the number of such assets."""
    query = (
        sa.update(asset_state)
        .where(sa.or_(asset_state.c.tries > 0, asset_state.c.retry_at.is_not(None)))
        .values(failed_version=None, tries=0, failed_at=None, error=None, retry_at=None)
    )
    with warehouse_engine(settings).begin() as connection:
        return connection.execute(query).rowcount


def _put(
    connection: sa.Connection,
    name: str,
    values: Mapping[str, Any],
    changes: Mapping[str, Any] | None = None,
) -> None:
    """Insert an asset's row, or update it: with the same values, or with ``changes``."""
    connection.execute(
        insert(asset_state)
        .values(asset=name, **values)
        .on_conflict_do_update(index_elements=["asset"], set_=dict(changes or values))
    )
