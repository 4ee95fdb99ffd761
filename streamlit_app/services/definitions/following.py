"""What happens after saving: the definition's asset and those that depend on it are computed."""

from __future__ import annotations

from dataclasses import dataclass

from streamlit_app.services.app import App
from streamlit_app.services.definitions.opened import dependents
from streamlit_app.services.pipeline.graph import load_graph
from streamlit_app.services.pipeline.runs import materialise
from tippers_dagster.access.model import Role
from tippers_dagster.automation.snapshot import Snapshot
from tippers_dagster.catalog.model import Ref
from tippers_dagster.graph.load import load_pipeline
from tippers_dagster.graph.status import AssetStatus, pipeline_status
from tippers_dagster.platform.dagster.addresses import web_address


@dataclass(frozen=True)
class Progress:
    """The status of a definition's asset and of its dependents.

    ``asset`` is None for a concept, and until the asset has been loaded. ``running`` says whether
    the deployment is up, ``automatic`` whether it recomputes definitions automatically.
    """

    asset: AssetStatus | None
    dependents: tuple[AssetStatus, ...]
    running: bool
    automatic: bool

    @property
    def unfinished(self) -> list[AssetStatus]:
        """The assets that are to be computed now or could not be, its own first."""
        return [s for s in self.all if s.standing not in ("fresh", "waiting")]

    @property
    def waiting(self) -> list[AssetStatus]:
        """The assets that wait for a refresh, its own first."""
        return [s for s in self.all if s.standing == "waiting"]

    @property
    def all(self) -> tuple[AssetStatus, ...]:
        """The status of its asset, and of all dependents."""
        return (*([] if self.asset is None else [self.asset]), *self.dependents)


def compute_now(app: App, ref: Ref) -> str | None:
    """Start a run of its asset and its dependents, as far as they are not up to date.

    Returns
    -------
    str or None
        The run's id; None if everything is up to date or already running.

    Raises
    ------
    TippersError
        The deployment is not running.
    """
    app.person.require(Role.ANALYST, "materialise definitions")
    names = [status.name for status in progress(app, ref).all]
    return materialise(app, load_graph(app), names, stale_only=True)


def progress(app: App, ref: Ref) -> Progress:
    """The current status of a definition's asset and its dependents; takes about 0.1 s."""
    pipeline = load_pipeline(app.settings)
    snapshot = Snapshot.take(app.settings, app.instance, pipeline.nodes)
    status = {s.name: s for s in pipeline_status(pipeline, snapshot)}
    own = ref.asset_name
    names = [r.asset_name for r in dependents(pipeline.catalog, ref)]
    # Some definitions have further assets, such as predictions or forecasts.
    further = [n for name in (own, *names) for n in status if n.startswith(f"{name}__")]
    return Progress(
        asset=status.get(own),
        dependents=tuple(status[name] for name in (*further, *names) if name in status),
        running=web_address(app.settings) is not None,
        automatic=app.settings.automate_definitions,
    )
