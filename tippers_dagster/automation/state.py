"""What is recorded of every asset of the definitions: its version, or why it has none.

A run reads all versions before it reads any data, so that what it records is never newer than
what it read: an input that changes meanwhile makes the asset stale, it cannot hide. Nor can a run
that dies: before it replaces the first row or file of an asset, it gives it a version that nobody
wants.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.automation.nodes import Node, seen_version, version_of
from tippers_dagster.automation.tables import asset_state, source_token
from tippers_dagster.automation.tokens import look_at_new_sources, record_tokens, source_tokens
from tippers_dagster.errors import TippersError
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.locks.locks import hold_run_lock
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

LONGEST_ERROR = 4000
"""Characters of an error that are kept."""

MADE_FROM = "made_from"
"""The detail that tells the content of the definition and the versions that were read."""


REPLACED = "replaced by "
"""How the version begins of what a run replaces, or was replacing when it died."""

OVERTAKEN = "overtaken in "
"""How it begins of what was made while what it was made from was computed again."""


@dataclass(frozen=True)
class AssetState:
    """What is recorded of one asset; the columns of ``asset_state``."""

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
        """Whether nobody knows what it was made from, and so it is computed again."""
        return self.version is not None and self.version.startswith((REPLACED, OVERTAKEN))

    def tries_of(self, version: str) -> int:
        """How often this version was tried and not reached."""
        return self.tries if self.failed_version == version else 0

    def error_of(self, version: str) -> str | None:
        """Why this version was not reached; None also while the answer to a try is awaited."""
        return self.error if self.failed_version == version else None

    def next_try(self, settings: Settings, version: str) -> dt.datetime | None:
        """When this version, which failed, is due to be tried again; None: never by itself.

        After the tries in a row, an asset is retried now and then, in case something was
        unavailable for longer. A failure of the environment is retried later and does not count.
        """
        if self.retry_at is not None and self.failed_version == version:
            return self.retry_at
        tries = self.tries_of(version)
        in_a_row = tries < settings.max_tries
        if self.failed_at is None or not (in_a_row or settings.retry_later_seconds):
            return None
        doubled = settings.retry_delay_seconds * 2 ** max(tries - 1, 0)
        seconds = doubled if in_a_row else settings.retry_later_seconds
        return self.failed_at + dt.timedelta(seconds=seconds)

    def held_back(self, settings: Settings, version: str, now: dt.datetime) -> bool:
        """Whether this version failed and its next try is not due yet, or none is to be made."""
        if not self.tries_of(version) and self.retry_at is None:
            return False
        due = self.next_try(settings, version)
        return due is None or now < due

    def due(self, node: Node, now: dt.datetime) -> bool:
        """Whether what reads from outside is to look again."""
        if node.every_seconds is None or self.materialized_at is None:
            return False
        return now >= self.materialized_at + dt.timedelta(seconds=node.every_seconds)


NEVER = AssetState()
"""The state of what was never tried."""


def load_states(settings: Settings) -> dict[str, AssetState]:
    """What is recorded, by the assets' names (``Node.name``)."""
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(sa.select(asset_state)).mappings().all()
    return {row["asset"]: AssetState(**{k: row[k] for k in row if k != "asset"}) for row in rows}


@dataclass(frozen=True)
class _Recorded:
    """A unique id of one materialisation of an asset."""

    version: str | None = None
    at: dt.datetime | None = None


class Recorder:
    """Takes the results of one run's assets. Make one with :func:`recorder`."""

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
        self._run_id = run_id
        self._environment_wait = dt.timedelta(seconds=settings.environment_retry_seconds)

    def version(self, key: Iterable[str], token: str | None = None) -> str:
        """The version that a node gets when it is computed now.

        Raises
        ------
        TippersError
            When it is not one of the run's nodes.
        """
        node = self._node(key)
        read = {dep: self._version_read("/".join(dep)) for dep in node.deps}
        if node.every_seconds is not None and token is None:
            token = self._tokens.get(node.name)
        return version_of(node, read, token)

    def look_again(self, key: Iterable[str]) -> None:
        """Check the sources of a node that a query reports on, just before they are read.

        Such a token may recur, so an observation of minutes ago does not cover what is read now.
        """
        read = [self._nodes[dep] for dep in self._node(key).deps if dep in self._nodes]
        queried = {n.name: n.source for n in read if n.source is not None and n.source.query}
        found = source_tokens(self._settings, queried)
        with self._engine.begin() as connection:
            record_tokens(connection, found)
        self._tokens |= found

    def replacing(self, key: Iterable[str]) -> None:
        """Invalidate the record of a node, as its rows or files are about to be replaced.

        Call it as late as possible before the first replacement: until ``succeeded`` the node is
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

        If an input was computed again meanwhile, it is unknown which version was read: the node
        gets a version that matches nothing, and so is computed again.

        Parameters
        ----------
        rows, seconds, details
            Shown to people; ``details`` must be JSON.
        token
            For a node with ``every_seconds``: what differs whenever its rows may differ; none:
            they may differ from those of every other run.
        """
        node = self._node(key)
        if node.every_seconds is not None and token is None:
            token = self._run_id
        wanted, now = self.version(node.key, token), dt.datetime.now(dt.UTC)
        read = {"/".join(dep): self._version_read("/".join(dep)) for dep in node.deps}
        values = {
            "materialized_at": now,
            "run_id": self._run_id,
            "seconds": seconds,
            "rows": rows,
            "details": {**(details or {}), MADE_FROM: {"content": node.content, "read": read}},
            "failed_version": None,
            "tries": 0,
            "failed_at": None,
            "error": None,
            "retry_at": None,
        }
        open_lake(self._settings).sync()  # the record survives a power cut, so the files must too
        with self._engine.begin() as connection:
            overtaken = self._overtaken(connection, node)
            version = f"{OVERTAKEN}{self._run_id}" if overtaken else wanted
            _put(connection, node.name, {"version": version, **values})
            if node.every_seconds is not None and token is not None:
                record_tokens(connection, {node.name: token})
                self._tokens[node.name] = token
        self._recorded[node.name] = _Recorded(version, now)
        return version

    def failed(self, key: Iterable[str], error: str, *, excused: bool = False) -> None:
        """Record why a node could not be computed, as one more try of its version.

        A try that automation has counted when it asked is not counted again.

        Parameters
        ----------
        excused
            The environment failed, not the computation: it does not count, and is retried later.
        """
        node = self._node(key)
        version, now = self.version(node.key), dt.datetime.now(dt.UTC)
        values = {
            "failed_version": version,
            "tries": 0 if excused else 1,
            "failed_at": now,
            "error": error.replace("\0", "")[:LONGEST_ERROR],
            "retry_at": now + self._environment_wait if excused else None,
        }
        c = asset_state.c
        awaited = sa.and_(c.error.is_(None), c.tries > 0)
        again = sa.case((awaited, c.tries), else_=c.tries + 1) - int(excused)
        tries = sa.case((c.failed_version == version, again), else_=values["tries"])
        with self._engine.begin() as connection:
            _put(connection, node.name, values, {**values, "tries": tries})

    def _overtaken(self, connection: sa.Connection, node: Node) -> bool:
        """Whether an input was computed, or began to be replaced, since its version was read; or
        the node itself by a run that did not know of this one.

        An input that reads external data gets a version of its own for each state that it finds.
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
        version = token if recorded is None else recorded.version
        return version if node is None else seen_version(node, version, token)

    def _node(self, key: Iterable[str]) -> Node:
        node = self._nodes.get(tuple(key))
        if node is None:
            raise TippersError(f"{'/'.join(key)} is none of the assets of this run.")
        return node


def void(
    connection: sa.Connection, names: Collection[str], run_id: str
) -> list[tuple[str, str, dt.datetime]]:
    """Let nothing hold that is recorded of assets whose rows or files a run replaces.

    Returns
    -------
    (name, version, time) of those of which something was recorded, as they are now.
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
    """Read all versions and tokens that are recorded now, before any data is read.

    From here on this process holds the run's lock, which tells that the run is alive.

    Parameters
    ----------
    nodes
        At least those that the run computes; sources among them that nobody has looked at yet
        are looked at.
    run_id
        Dagster's id of the run.
    """
    hold_run_lock(settings, run_id)
    by_key = {node.key: node for node in nodes}
    look_at_new_sources(settings, by_key.values())
    return _recorder(settings, by_key, run_id)


def errors_now(settings: Settings, nodes: Iterable[Node]) -> dict[str, str]:
    """Why assets could not be computed from what they would read now, by their names.

    Failures of versions that nobody wants any more are left out.

    Parameters
    ----------
    nodes
        At least those that are asked about, and those seen by token that they read.
    """
    asked = [node for node in nodes if node.source is None]
    record = _recorder(settings, {node.key: node for node in asked}, "")
    states = load_states(settings)
    errors = {
        node.name: states.get(node.name, NEVER).error_of(record.version(node.key)) for node in asked
    }
    return {name: error for name, error in errors.items() if error is not None}


def _recorder(settings: Settings, by_key: Mapping[tuple[str, ...], Node], run_id: str) -> Recorder:
    with warehouse_engine(settings).connect() as connection:
        c = asset_state.c
        rows = connection.execute(sa.select(c.asset, c.version, c.materialized_at))
        recorded = {name: _Recorded(version, at) for name, version, at in rows}
        tokens = dict(
            connection.execute(sa.select(source_token.c.asset, source_token.c.token)).all()
        )
    return Recorder(settings, by_key, recorded, tokens, run_id)


def record_asked(settings: Settings, wanted: Mapping[str, str]) -> None:
    """Count one more try of these versions, by the assets' names: automation asks for them.

    So a run whose process dies before it can tell of a failure counts as one, too.
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
    """Forget the tries of all assets, so that automation tries anew; returns how many had any."""
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
    """Insert one asset's row, or change it: to the same values, or to ``changes``."""
    connection.execute(
        insert(asset_state)
        .values(asset=name, **values)
        .on_conflict_do_update(index_elements=["asset"], set_=dict(changes or values))
    )
