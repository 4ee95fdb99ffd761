"""One MLflow run per materialisation of an asset, through dagster-mlflow.

A materialisation that fails leaves its MLflow run FAILED. If MLflow cannot be reached, the asset is
materialised anyway, and ``MlflowLog.problem`` has the reason, for a check to report: results matter
more than their log, but a missing log must be visible.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from tippers_dagster.automation.tables import asset_state
from tippers_dagster.platform.dagster.addresses import (
    asset_link,
    mlflow_run_link,
    run_link,
)
from tippers_dagster.platform.locks.locks import run_processes
from tippers_dagster.platform.mlflow.store import (
    NOT_CONFIGURED,
    make_experiment,
    shorten_timeouts,
    tracking_uri,
)
from tippers_dagster.platform.redaction import recordable
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

RUN_NOTE = "mlflow.note.content"
"""The tag that MLflow's run page shows as description, in Markdown."""

CHILD_TAG = "dagster_run"
"""The Dagster run of a child run. ``dagster_run_id`` is only for materialisations, which are found
by it."""


class MlflowLog:
    """The MLflow run of one materialisation, or the reason why there is none.

    Attributes
    ----------
    problem
        Why the materialisation is not fully logged; None if it is.
    run_id, url
        Of the run; None if there is none.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._mlflow: Any = None
        self._made_by = ""
        self._dagster_run = ""
        self.problem: str | None = None
        self.run_id: str | None = None
        self.url: str | None = None

    def log(
        self,
        *,
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Mapping[str, bytes],
    ) -> None:
        """Log the results of a materialisation.

        Parameters
        ----------
        params, metrics, tags
            By name; metrics must be finite.
        files
            Content by name, such as ``folder/name.png``.
        """

        def write() -> None:
            self._mlflow.log_params(dict(params))
            self._mlflow.log_metrics(dict(metrics))
            self._mlflow.set_tags(dict(tags))
            with TemporaryDirectory() as name:
                folder = Path(name)
                for path, content in files.items():
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    (folder / path).write_bytes(content)
                self._mlflow.log_artifacts(name)

        self._try(write)

    def log_more(self, write: Callable[[Any], None]) -> None:
        """Call ``write`` with the mlflow module while the run is active; errors as in ``log``."""
        self._try(lambda: write(self._mlflow))

    @contextmanager
    def child(self, name: str) -> Iterator[None]:
        """A child run, active within the block: FINISHED afterwards, FAILED if the block raises."""
        begun: list[Any] = []

        def begin() -> None:
            begun.append(
                self._mlflow.start_run(
                    run_name=name,
                    nested=True,
                    tags={CHILD_TAG: self._dagster_run},
                    description=self._made_by,
                )
            )

        self._try(begin)
        try:
            yield
        except BaseException:
            if begun:
                self._try(lambda: self._mlflow.end_run("FAILED"), even_after=True)
            raise
        if begun:
            self._try(lambda: self._mlflow.end_run("FINISHED"), even_after=True)

    def _begin(self, context: dg.AssetExecutionContext, experiment: str) -> None:
        uri = tracking_uri(self._settings)
        if uri is None:
            self.problem = NOT_CONFIGURED
            return

        def begin() -> None:
            self._mlflow = _resource(self._settings, uri, context, experiment)
            active = self._mlflow.active_run().info
            self.run_id = active.run_id
            self.url = mlflow_run_link(self._settings, active.experiment_id, active.run_id)
            self._made_by = _made_by(self._settings, context)
            self._dagster_run = context.run.run_id
            name = f"{experiment} {context.run.run_id[:8]}"
            self._mlflow.set_tags({"mlflow.runName": name, RUN_NOTE: self._made_by})
            _end_abandoned(self._settings, context, active)

        self._try(begin)

    def _end(self, status: str | None, error: BaseException | None = None) -> None:
        """End the run; without ``status``, as the warehouse records it."""

        def end() -> None:
            if self.run_id is None:
                return
            if error is not None:
                self._mlflow.set_tag("error", recordable(str(error), self._settings)[:2000])
            self._mlflow.end_run(status=status or _outcome(self._settings, self.run_id))

        self._try(end, even_after=True)

    def _try(self, action: Callable[[], None], *, even_after: bool = False) -> None:
        """Call ``action`` unless an earlier one failed; keep the reason if it fails."""
        if self.problem is not None and not even_after:
            return
        from mlflow.exceptions import MlflowException
        from requests.exceptions import RequestException

        try:
            action()
        except (MlflowException, RequestException, sa.exc.SQLAlchemyError, OSError) as error:
            if self.problem is None:
                first = str(error).strip().splitlines()[:1]
                self.problem = recordable(
                    f"{type(error).__name__}: {' '.join(first)}", self._settings
                )


@contextmanager
def mlflow_run(
    settings: Settings, context: dg.AssetExecutionContext, experiment: str
) -> Iterator[MlflowLog]:
    """The MLflow run of a materialisation; FINISHED afterwards, FAILED if the block raises.

    If the warehouse already records the materialisation, the run is FINISHED in any case.

    Parameters
    ----------
    experiment
        The asset's name: all materialisations of an asset are one experiment.
    """
    log = MlflowLog(settings)
    log._begin(context, experiment)
    try:
        yield log
    except BaseException as error:
        log._end(None, error)
        raise
    log._end("FINISHED")


def _resource(
    settings: Settings, uri: str, context: dg.AssetExecutionContext, experiment: str
) -> Any:
    """dagster-mlflow's resource for this Dagster run, with its MLflow run active.

    A Dagster run has one MLflow run in each experiment. The resource's own clean-up is not used: it
    ends runs depending on the exception being handled, and there is none where it runs.
    """
    import dagster as dg

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is currently in beta")
        warnings.filterwarnings("ignore", "InitResourceContext")  # used by the resource itself
        from dagster_mlflow import mlflow_tracking

        shorten_timeouts(uri)
        make_experiment(settings, uri, experiment)
        configured = mlflow_tracking.configured(
            {
                "experiment_name": experiment,
                "mlflow_tracking_uri": uri,
                "extra_tags": {"asset": experiment},
            }
        )
        with dg.build_resources(
            {"mlflow": configured},
            instance=context.instance,
            dagster_run=context.run,
            log_manager=context.log,
        ) as resources:
            return resources.mlflow


def _made_by(settings: Settings, context: dg.AssetExecutionContext) -> str:
    """Links from an MLflow run's page to Dagster, as Markdown."""
    names = sorted("/".join(key.path) for key in context.selected_asset_keys)
    partition = context.partition_key if context.has_partition_key else None
    of = "" if partition is None else f", partition {partition}"
    run_id = context.run.run_id
    lines = [
        f"Dagster run [{run_id[:8]}]({run_link(settings, run_id)})",
        *(f"Asset [{name}{of}]({asset_link(settings, name, partition)})" for name in names),
    ]
    return "  \n".join(lines)


def _end_abandoned(settings: Settings, context: dg.AssetExecutionContext, active: Any) -> None:
    from mlflow.tracking import MlflowClient

    end_abandoned(
        settings, context.instance, MlflowClient(), [active.experiment_id], {active.run_id}
    )


def end_abandoned(
    settings: Settings,
    instance: dg.DagsterInstance,
    client: Any,
    experiments: Sequence[str],
    besides: Collection[str] = (),
) -> None:
    """End MLflow runs that a killed process left RUNNING, as the warehouse records them.

    These are runs whose Dagster run has finished, or whose process is gone; Dagster may not know
    that of a run that it did not launch. Runs of other origin, such as notebooks, are left alone.
    """
    running = client.search_runs(list(experiments), "attributes.status = 'RUNNING'")
    tagged = {
        run.info.run_id: run.data.tags.get("dagster_run_id") or run.data.tags.get(CHILD_TAG)
        for run in running
        if run.info.run_id not in besides
    }
    of_dagster = {mlflow_id: run_id for mlflow_id, run_id in tagged.items() if run_id}
    alive = run_processes(settings, of_dagster.values()).alive
    for mlflow_id, dagster_id in of_dagster.items():
        record = instance.get_run_by_id(dagster_id)
        if record is None or record.is_finished or dagster_id not in alive:
            client.set_terminated(mlflow_id, _outcome(settings, mlflow_id))


def _outcome(settings: Settings, mlflow_id: str) -> str:
    """FINISHED if the warehouse records the asset as materialised in this MLflow run."""
    made_in = asset_state.c.details["mlflow_run"].astext
    query = sa.select(sa.exists().where(made_in == mlflow_id))
    with warehouse_engine(settings).connect() as connection:
        return "FINISHED" if connection.scalar(query) else "FAILED"
