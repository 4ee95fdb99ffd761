"""Unfinished runs of definition assets, and starting new ones."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from streamlit_app.services.app import App
from streamlit_app.services.pipeline.graph import Graph
from tippers_dagster.access.model import Role
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.text import counted


@dataclass(frozen=True)
class ActiveRun:
    """An unfinished run of definition assets.

    Attributes
    ----------
    names, done
        The assets that it covers, and how many of them it has computed.
    by
        The person who started it; empty for automation and runs started in Dagster.
    """

    run_id: str
    queued: bool
    done: int
    names: tuple[str, ...]
    by: str

    @property
    def in_words(self) -> str:
        """Its progress."""
        assets = counted(len(self.names), "asset")
        progress = f"{assets}, queued" if self.queued else f"{self.done:,} of {assets} computed"
        by = f", started by {self.by}" if self.by else ""
        return f"Run {self.run_id[:8]}: {progress}{by}."


def active_runs(app: App, graph: Graph) -> list[ActiveRun]:
    """Unfinished runs, the oldest first."""
    running = graph.snapshot.running
    if not running:
        return []
    from dagster import RunsFilter

    from tippers_dagster.graph.start import BY_TAG

    records = app.instance.get_run_records(RunsFilter(run_ids=sorted(set(running.values()))))
    found = []
    for record in reversed(records):
        run = record.dagster_run
        names = tuple(sorted(n for n, run_id in running.items() if run_id == run.run_id))
        done = sum(graph.items[n].standing == "fresh" for n in names if n in graph.items)
        queued = record.start_time is None
        found.append(ActiveRun(run.run_id, queued, done, names, run.tags.get(BY_TAG, "")))
    return found


def materialise(app: App, graph: Graph, names: Collection[str], *, stale_only: bool) -> str | None:
    """Start one run of some nodes and of all stale nodes that they depend on.

    Parameters
    ----------
    stale_only
        Leave out nodes that are up to date, even if they are among ``names``.

    Returns
    -------
    str or None
        The run's id; None if everything is up to date or already running.

    Raises
    ------
    BadInput
        One of ``names`` is broken, and ``stale_only`` is not set.
    TippersError
        The deployment is not running.
    """
    app.person.require(Role.ANALYST, "materialise definitions")
    from tippers_dagster.automation.sensor import run_tags
    from tippers_dagster.graph.launch import to_compute
    from tippers_dagster.graph.start import start_run

    known = graph.pipeline.by_name
    chosen = {n for n in names if n in known and known[n].source is None}
    if not stale_only:
        _refuse_broken(graph, chosen)
    wanted = to_compute(graph.snapshot, chosen, stale_only=stale_only)
    wanted = {n for n in wanted - set(graph.snapshot.running) if known[n].broken is None}
    if not wanted:
        return None
    asked = [known[name] for name in sorted(wanted)]
    tags = run_tags(graph.snapshot, asked, stale_only=stale_only)
    return start_run(app.settings, wanted, by=app.person.name, tags=tags)


def _refuse_broken(graph: Graph, chosen: set[str]) -> None:
    for name in sorted(chosen):
        node = graph.pipeline.by_name[name]
        if node.broken is not None:
            raise BadInput(
                f"{name.replace('/', '.')} cannot be computed: {node.broken}",
                "Fix its definition first.",
            )
