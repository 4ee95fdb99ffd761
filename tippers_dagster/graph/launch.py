"""Materializes definition assets in this process, without a running deployment."""

from __future__ import annotations

import datetime as dt
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tippers_dagster.automation.nodes import Node
from tippers_dagster.automation.orphaned_runs import (
    fail_dead_runs_of_assets,
    failure_reason,
    materialize_in_process,
)
from tippers_dagster.automation.runs import STALE_ONLY_TAG, being_computed
from tippers_dagster.automation.snapshot import Snapshot
from tippers_dagster.automation.state import NEVER, AssetState, load_states
from tippers_dagster.automation.unreported import report_recorded_materializations
from tippers_dagster.errors import BadInput
from tippers_dagster.graph.load import Loaded, Pipeline, load
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

POLL_SECONDS = 1.0

Progress = Callable[[str, int, int], None]
"""Called with a description, the number of finished assets, and the number of all assets."""

_NAMED = re.compile(r"(\+?)([a-z0-9_]+)\.([a-z0-9_]+)(\+?)")
_CONCEPT = re.compile(r"[a-z0-9_]+")


@dataclass(frozen=True)
class Outcome:
    """The result for one asset.

    ``skipped``: an input failed, or the run ended before its turn, as ``why`` says. ``above`` is
    the input that was not computed. ``unchanged``: the earlier result was kept, as its inputs
    have the same content.
    """

    name: str
    state: Literal["computed", "failed", "skipped"]
    seconds: float | None = None
    rows: int | None = None
    why: str = ""
    above: str | None = None
    unchanged: bool = False


def materialize_definitions(
    settings: Settings,
    instance: dg.DagsterInstance,
    selection: str | None = None,
    *,
    stale_only: bool = True,
    on_progress: Progress = lambda what, done, total: None,
) -> list[Outcome]:
    """Compute stale definition assets in one run, inputs first.

    If an asset fails, assets that do not depend on it are computed nevertheless, if necessary in
    another run: when one asset of a step fails, Dagster skips everything downstream of the step.

    Parameters
    ----------
    selection
        A concept (``device``), a definition (``people.visitor_or_resident``, with ``+`` before
        or after it to include everything upstream or downstream), or Dagster's own syntax; None:
        all. Stale inputs of the selection are computed first.
    stale_only
        If false, the selected assets are computed even if they are up to date.

    Returns
    -------
    list[Outcome]
        One per asset to compute; empty when all are up to date.

    Raises
    ------
    BadInput
        When the selection matches no asset.
    """
    loaded = load(settings)
    chosen = _chosen(loaded, selection)
    launch = _Launch(settings, instance, loaded, on_progress)
    return launch.run(chosen, stale_only=stale_only)


def select(loaded: Loaded, selection: str) -> set[str]:
    """The names of the assets that a selection matches; see :func:`materialize_definitions`.

    Raises
    ------
    BadInput
        When the selection is invalid or matches no asset.
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
        raise BadInput(f"{selection!r} is not a valid asset selection: {error}") from None
    found = {"/".join(key.path) for key in keys}
    assets = {node.name for node in loaded.pipeline.nodes if node.source is None}
    if not found & assets:
        raise BadInput(
            f"{selection!r} matches no asset.",
            "`tippers pipeline status --all` lists all names. Select a definition, such as "
            "device.devices, or a concept, such as device.",
        )
    return found & assets


def to_compute(snapshot: Snapshot, chosen: Collection[str], *, stale_only: bool) -> set[str]:
    """The chosen assets and their inputs that are stale; unless ``stale_only``, all chosen ones."""
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
        """Run what is left, again and again, until a run computes nothing."""
        fail_dead_runs_of_assets(self.settings, self.instance, set(chosen))
        report_recorded_materializations(self.settings, self.instance, self.pipeline.nodes, set())
        snapshot = self._wait_for_runs(chosen)
        wanted = to_compute(snapshot, chosen, stale_only=stale_only)
        todo = [n for n in self.pipeline.nodes if n.name in wanted]
        while todo:
            self._run_once(todo, wanted, {STALE_ONLY_TAG: "true"} if stale_only else {})
            outcomes = self._outcomes(wanted)
            left = {o.name for o in outcomes if o.state == "skipped" and not o.why}
            if left >= {n.name for n in todo}:
                break
            todo = [n for n in todo if n.name in left]
        return [
            replace(o, why=o.why or self.why or "The run ended before its turn.")
            if o.state == "skipped"
            else o
            for o in self._outcomes(wanted)
        ]

    def _wait_for_runs(self, chosen: Collection[str]) -> Snapshot:
        """A snapshot, once no other run computes any of the chosen assets.

        Does not wait for queued runs, as they may be waiting for a daemon that is not running.
        """
        while True:
            if not being_computed(self.instance, chosen, queued=False):
                nodes = self.pipeline.nodes
                return Snapshot.take(self.settings, self.instance, nodes, check_sources_now=True)
            fail_dead_runs_of_assets(self.settings, self.instance, set(chosen))
            time.sleep(POLL_SECONDS)

    def _run_once(self, todo: list[Node], wanted: Collection[str], tags: Mapping[str, str]) -> None:
        import dagster as dg

        # dbt's output is in the step's log; on the terminal it would break the progress bars.
        with (
            self._progress(wanted),
            Path(os.devnull).open("w") as nowhere,
            redirect_stdout(nowhere),
        ):
            chosen = [dg.AssetKey(n.key) for n in todo]
            result = materialize_in_process(
                self.settings, self.instance, self.loaded.assets, chosen, tags
            )
        self.runs.append(result.run_id)
        self.why = "" if result.success else failure_reason(result)

    def _outcomes(self, wanted: Collection[str]) -> list[Outcome]:
        """The recorded results of this launch's runs."""
        states = load_states(self.settings)
        outcomes: dict[str, Outcome] = {}
        for node in self.pipeline.nodes:
            if node.name in wanted:
                above = (outcomes.get("/".join(dep)) for dep in node.deps)
                blocking = next((o for o in above if o is not None and self._blocks(o)), None)
                state = states.get(node.name, NEVER)
                outcomes[node.name] = self._outcome(node.name, state, blocking)
        return list(outcomes.values())

    def _outcome(self, name: str, state: AssetState, above: Outcome | None) -> Outcome:
        if state.run_id in self.runs and state.error is None:
            return Outcome(name, "computed", state.seconds, state.rows, unchanged=state.unchanged)
        if state.error and state.failed_at is not None and state.failed_at >= self.began:
            return Outcome(name, "failed", why=state.error)
        if above is not None:
            why = f"It depends on {above.name.replace('/', '.')}."
            return Outcome(name, "skipped", why=why, above=above.name)
        return Outcome(name, "skipped")

    @staticmethod
    def _blocks(outcome: Outcome) -> bool:
        return outcome.state == "failed" or bool(outcome.why)

    @contextmanager
    def _progress(self, wanted: Collection[str]) -> Iterator[None]:
        """Report assets as they are recorded during the run; Dagster reports them at its end."""
        stop = threading.Event()

        def report() -> None:
            before = load_states(self.settings)
            while not stop.wait(POLL_SECONDS):
                now = load_states(self.settings)
                done = [n for n in wanted if n in now and now[n] != before.get(n)]
                self.on_progress("definitions", len(done), len(wanted))

        self.on_progress("definitions", 0, len(wanted))
        thread = threading.Thread(target=report, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        self.on_progress("definitions", len(wanted), len(wanted))
