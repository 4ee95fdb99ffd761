"""Materializing definitions in this process: the same assets as the daemon's runs, without it."""

from __future__ import annotations

import datetime as dt
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tippers_dagster.automation.agreement import report_recorded
from tippers_dagster.automation.nodes import Node
from tippers_dagster.automation.orphaned_runs import (
    fail_dead_runs_of,
    failure_reason,
    materialize_here,
)
from tippers_dagster.automation.runs import being_computed
from tippers_dagster.automation.snapshot import Snapshot
from tippers_dagster.automation.state import NEVER, AssetState, load_states
from tippers_dagster.errors import BadInput
from tippers_dagster.graph.load import Loaded, Pipeline, load
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

POLL_SECONDS = 1.0

Progress = Callable[[str, int, int], None]
"""Called with what is being done, the assets finished, and those to do."""

_NAMED = re.compile(r"(\+?)([a-z0-9_]+)\.([a-z0-9_]+)(\+?)")
_CONCEPT = re.compile(r"[a-z0-9_]+")


@dataclass(frozen=True)
class Outcome:
    """What became of one asset.

    ``skipped``: something that it reads failed, or its run ended before its turn; ``why`` tells.
    ``above`` is what it reads that was not computed.
    """

    name: str
    state: Literal["computed", "failed", "skipped"]
    seconds: float | None = None
    rows: int | None = None
    why: str = ""
    above: str | None = None


def materialize_definitions(
    settings: Settings,
    instance: dg.DagsterInstance,
    selection: str | None = None,
    *,
    stale_only: bool = True,
    on_progress: Progress = lambda what, done, total: None,
) -> list[Outcome]:
    """Compute what is stale of the definitions, in one run; inputs first.

    Where something fails, what does not read it is computed all the same, if need be in another
    run: Dagster passes over everything below a step of many assets of which one failed.

    Parameters
    ----------
    selection
        A concept (``device``), a definition (``people.visitor_or_resident``, with ``+`` before
        or after it: and all above, below), or Dagster's own syntax; none: all. What is stale
        above the selection is computed first.
    stale_only
        Else also what is up to date, and that which is selected only.

    Returns
    -------
    list[Outcome]
        One per asset that was to be computed; empty when all is up to date.

    Raises
    ------
    BadInput
        When the selection names nothing.
    """
    loaded = load(settings)
    chosen = _chosen(loaded, selection)
    launch = _Launch(settings, instance, loaded, on_progress)
    return launch.run(chosen, stale_only=stale_only)


def select(loaded: Loaded, selection: str) -> set[str]:
    """Names of the assets that a selection means; see :func:`materialize_definitions`.

    Raises
    ------
    BadInput
        When it cannot be read or means none.
    """
    import dagster as dg

    text = selection.strip()
    if named := _NAMED.fullmatch(text):
        above, concept, name, below = named.groups()
        text = f'{above}key:"{concept}/{name}"{below}'
    elif _CONCEPT.fullmatch(text):
        text = f'group:"{text}"'
    try:
        graph = dg.Definitions(assets=loaded.assets).resolve_asset_graph()
        keys = dg.AssetSelection.from_string(text).resolve(graph)
    except (dg.DagsterInvalidDefinitionError, ValueError) as error:
        raise BadInput(f"{selection!r} is no selection of assets: {error}") from None
    found = {"/".join(key.path) for key in keys}
    assets = {node.name for node in loaded.pipeline.nodes if node.source is None}
    if not found & assets:
        raise BadInput(
            f"{selection!r} means no asset of the definitions.",
            "`tippers pipeline status --all` has all names; write device.devices, or device.",
        )
    return found & assets


def to_compute(snapshot: Snapshot, chosen: Collection[str], *, stale_only: bool) -> set[str]:
    """What is to be computed: stale and chosen, or above what is; else all that is chosen, too."""
    wanted: set[str] = set() if stale_only else set(chosen)
    needed = set(chosen)
    for node in reversed(snapshot.nodes):
        if node.name in needed:
            needed.update("/".join(dep) for dep in node.deps)
            if node.name in snapshot.stale:
                wanted.add(node.name)
    return wanted


def _chosen(loaded: Loaded, selection: str | None) -> set[str]:
    if selection is not None:
        return select(loaded, selection)
    return {node.name for node in loaded.pipeline.nodes if node.source is None}


class _Launch:
    def __init__(
        self,
        settings: Settings,
        instance: dg.DagsterInstance,
        loaded: Loaded,
        on_progress: Progress,
    ) -> None:
        self.settings, self.instance, self.loaded = settings, instance, loaded
        self.pipeline: Pipeline = loaded.pipeline
        self.on_progress = on_progress
        self.began = dt.datetime.now(dt.UTC)
        self.runs: list[str] = []
        self.why: str = ""

    def run(self, chosen: Collection[str], *, stale_only: bool) -> list[Outcome]:
        """Rounds, until one gets nothing done."""
        fail_dead_runs_of(self.settings, self.instance, set(chosen))
        report_recorded(self.settings, self.instance, self.pipeline.nodes, set())
        snapshot = self._settled(chosen, look_now=True)
        wanted = to_compute(snapshot, chosen, stale_only=stale_only)
        todo = [n for n in self.pipeline.nodes if n.name in wanted]
        while todo:
            self._run_once(todo, wanted)
            outcomes = self._outcomes(wanted)
            left = {o.name for o in outcomes if o.state == "skipped" and not o.why}
            if left >= {n.name for n in todo}:
                break
            todo = [n for n in todo if n.name in left]
        return [
            replace(o, why=o.why or self.why or "Its run ended before its turn.")
            if o.state == "skipped"
            else o
            for o in self._outcomes(wanted)
        ]

    def _settled(self, chosen: Collection[str], *, look_now: bool) -> Snapshot:
        """The state once no other process computes any of it.

        Queued runs may wait for a daemon that is not there, and are not waited for.
        """
        while True:
            going = being_computed(self.instance, chosen, queued=False)
            if not going:
                nodes = self.pipeline.nodes
                return Snapshot.take(self.settings, self.instance, nodes, look_now=look_now)
            fail_dead_runs_of(self.settings, self.instance, set(chosen))
            time.sleep(POLL_SECONDS)

    def _run_once(self, todo: list[Node], wanted: Collection[str]) -> None:
        import dagster as dg

        # What dbt says is in the step's log; on the terminal it would tear the progress apart.
        with (
            self._progress(wanted),
            Path(os.devnull).open("w") as nowhere,
            redirect_stdout(nowhere),
        ):
            chosen = [dg.AssetKey(n.key) for n in todo]
            result = materialize_here(self.settings, self.instance, self.loaded.assets, chosen, {})
        self.runs.append(result.run_id)
        self.why = "" if result.success else failure_reason(result)

    def _outcomes(self, wanted: Collection[str]) -> list[Outcome]:
        """What is recorded of this launch's runs."""
        states = load_states(self.settings)
        outcomes: dict[str, Outcome] = {}
        for node in self.pipeline.nodes:
            if node.name in wanted:
                above = (outcomes.get("/".join(dep)) for dep in node.deps)
                bad = next((o for o in above if o is not None and self._holds_up(o)), None)
                outcomes[node.name] = self._outcome(node.name, states.get(node.name, NEVER), bad)
        return list(outcomes.values())

    def _outcome(self, name: str, state: AssetState, above: Outcome | None) -> Outcome:
        if state.run_id in self.runs and state.error is None:
            return Outcome(name, "computed", state.seconds, state.rows)
        if state.error and state.failed_at is not None and state.failed_at >= self.began:
            return Outcome(name, "failed", why=state.error)
        if above is not None:
            why = f"It reads {above.name.replace('/', '.')}."
            return Outcome(name, "skipped", why=why, above=above.name)
        return Outcome(name, "skipped")

    @staticmethod
    def _holds_up(outcome: Outcome) -> bool:
        return outcome.state == "failed" or bool(outcome.why)

    @contextmanager
    def _progress(self, wanted: Collection[str]) -> Iterator[None]:
        """Tell of what is recorded while the run goes on; Dagster tells at its end only."""
        stop = threading.Event()

        def tell() -> None:
            before = load_states(self.settings)
            while not stop.wait(POLL_SECONDS):
                now = load_states(self.settings)
                done = [n for n in wanted if n in now and now[n] != before.get(n)]
                self.on_progress("definitions", len(done), len(wanted))

        self.on_progress("definitions", 0, len(wanted))
        thread = threading.Thread(target=tell, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        self.on_progress("definitions", len(wanted), len(wanted))
