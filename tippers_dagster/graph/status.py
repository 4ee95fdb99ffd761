"""The status of each definition asset, with a reason: a pure function of pipeline and snapshot."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo

from tippers_dagster.automation.nodes import Node, without_added
from tippers_dagster.automation.refresh import in_words
from tippers_dagster.automation.snapshot import Snapshot
from tippers_dagster.automation.state import COMPUTED_FROM, AssetState
from tippers_dagster.graph.load import Pipeline

Standing = Literal["fresh", "waiting", "stale", "running", "failed", "broken"]


@dataclass(frozen=True)
class AssetStatus:
    """The status of one asset.

    Attributes
    ----------
    name
        Its key, such as ``device/devices``.
    kind, concept
        Of its definition; empty for staging models and tables of connections.
    standing
        ``waiting``: its data changed, and a refresh policy makes it wait, its own or that of an
        input; ``stale``: it is computed as soon as possible; ``failed``: its current version could
        not be computed; ``broken``: it cannot be computed.
    why
        Why it is not fresh, in a sentence.
    rows, seconds, materialized_at, run_id
        Of the last computation.
    tries, next_try
        Attempts at its current version, and the next automatic one; None: no automatic attempt.
    due
        If it is waiting: when that is over at the earliest; None: when a person computes it.
    """

    name: str
    kind: str
    concept: str
    standing: Standing
    why: str
    rows: int | None
    seconds: float | None
    materialized_at: dt.datetime | None
    run_id: str | None
    tries: int = 0
    next_try: dt.datetime | None = None
    due: dt.datetime | None = None


def pipeline_status(pipeline: Pipeline, snapshot: Snapshot) -> list[AssetStatus]:
    """The status of every asset, each after its inputs."""
    return [_status(pipeline, snapshot, n) for n in pipeline.nodes if n.source is None]


def _status(pipeline: Pipeline, snapshot: Snapshot, node: Node) -> AssetStatus:
    state = snapshot.state(node.name)
    version = _attempted(snapshot, node, state)
    standing, why = _standing(snapshot, node, state)
    definition = pipeline.definitions.get(node.name)
    return AssetStatus(
        name=node.name,
        kind=definition.ref.kind.value if definition else "",
        concept=definition.ref.concept if definition else "",
        standing=standing,
        why=why,
        rows=state.rows,
        seconds=state.seconds,
        materialized_at=state.materialized_at,
        run_id=snapshot.running.get(node.name, state.run_id),
        tries=state.tries_of(version),
        next_try=state.next_try(snapshot.settings, version) if standing == "failed" else None,
        due=snapshot.next_refresh[node.name] if standing == "waiting" else None,
    )


def _attempted(snapshot: Snapshot, node: Node, state: AssetState) -> str:
    """The version that attempts are counted for.

    An earlier one while the asset is held back for a failure with other data.
    """
    if node.name in snapshot.held_back and state.failed_version is not None:
        return state.failed_version
    return snapshot.aimed(node.name)


def _standing(snapshot: Snapshot, node: Node, state: AssetState) -> tuple[Standing, str]:
    if node.broken is not None:
        return "broken", node.broken
    if node.name in snapshot.running:
        return "running", f"Run {snapshot.running[node.name]} is computing it."
    if node.name not in snapshot.stale:
        return "fresh", ""
    version = _attempted(snapshot, node, state)
    error = state.error_of(version)
    if error is not None:
        return "failed", error
    if node.name in snapshot.waiting:
        return "waiting", _why_waiting(snapshot, node, state)
    if state.tries_of(version) >= snapshot.settings.max_tries:
        return "failed", "Its runs ended without an error message. See their logs in Dagster."
    return "stale", _why_stale(snapshot, node, state)


def _why_waiting(snapshot: Snapshot, node: Node, state: AssetState) -> str:
    """What has changed, and when it is computed."""
    due = snapshot.next_refresh[node.name]
    if snapshot.waits_itself(node):
        why = _why_stale(snapshot, node, state)
        if due is None:
            return f"{why} It is computed by hand: materialise it."
        return f"{why} Refresh: {in_words(node.refresh)}, next {_local(snapshot, due)}."
    inputs = [name for name in _inputs(node) if name in snapshot.waiting]
    if due is None:
        return f"It waits for {_listed(inputs)}: to be computed by hand."
    return f"New data is due {_local(snapshot, due)}. It comes from {_listed(inputs)}."


def _local(snapshot: Snapshot, time: dt.datetime) -> str:
    """A time in the deployment's zone: ``at 11:00``, ``on Tue 1 Dec at 04:00``."""
    zone = ZoneInfo(snapshot.settings.timezone)
    local, now = time.astimezone(zone), snapshot.now.astimezone(zone)
    clock = f"at {local:%H:%M:%S}" if local.second else f"at {local:%H:%M}"
    if local.date() == now.date():
        return clock
    year = "" if local.year == now.year else f" {local.year}"
    return f"on {local:%a} {local.day} {local:%b}{year} {clock}"


def _why_stale(snapshot: Snapshot, node: Node, state: AssetState) -> str:
    if state.version is None:
        return _waits_for(snapshot, node) or "Not computed yet."
    made_from = state.details.get(COMPUTED_FROM, {})
    if made_from.get("content") != node.content:
        return "Its definition has changed."
    read = made_from.get("read", {})
    changed = [name for name in _inputs(node) if _present(snapshot, name) != read.get(name)]
    if changed:
        return f"Inputs have changed: {_listed(changed)}."
    waits, wanted = _waits_for(snapshot, node), snapshot.wanted[node.name]
    if waits is None and state.version == without_added(wanted) != wanted:
        return "It has gained columns. Nothing else is computed again because of them."
    if waits is None and state.version != wanted:
        return "Its last run did not finish, or its inputs were computed meanwhile."
    return waits or "It is due to read its external data again."


def _waits_for(snapshot: Snapshot, node: Node) -> str | None:
    """The inputs that must be computed first, in a sentence."""
    stale = [name for name in _inputs(node) if name in snapshot.stale]
    held = [name for name in stale if name in snapshot.held_back]
    if held:
        return f"{_listed(held)} could not be computed."
    return f"{_listed(stale)} must be computed first." if stale else None


def _present(snapshot: Snapshot, name: str) -> str | None:
    """The current version of an input."""
    if name in snapshot.by_token:
        return snapshot.tokens.get(name)
    state = snapshot.states.get(name)
    return snapshot.wanted.get(name) if state is None else without_added(state.version)


def _listed(names: list[str]) -> str:
    shown = ", ".join(name.replace("/", ".") for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def _inputs(node: Node) -> list[str]:
    return ["/".join(dep) for dep in node.deps]
