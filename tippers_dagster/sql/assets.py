"""dbt models as assets: one dbt invocation for everything that a run selects."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import dagster as dg

from tippers_dagster.automation.computation import wait_to_begin
from tippers_dagster.automation.nodes import Node
from tippers_dagster.automation.runs import asset_locks
from tippers_dagster.automation.state import Recorder, recorder
from tippers_dagster.catalog.window import Read, Window, with_read
from tippers_dagster.errors import EnvironmentFault, TippersError
from tippers_dagster.occupancy.log_window import NoTerm, window_log
from tippers_dagster.platform.dagster import dbt as dagster_dbt
from tippers_dagster.platform.redaction import recordable
from tippers_dagster.settings import Settings
from tippers_dagster.sql.describe import Described
from tippers_dagster.sql.nodes import key_of, log_tables
from tippers_dagster.sql.project import Project
from tippers_dagster.sql.running import DbtRun, Result, dbt_run
from tippers_dagster.sql.translator import Translator

NAME = "sql_definitions"
"""The name of the op that runs all dbt models."""

_DISK_FULL = "No space left on device"
"""PostgreSQL's error message; dbt passes on nothing else."""

_Event = dg.MaterializeResult | dg.AssetCheckResult


def dbt_assets(
    settings: Settings, project: Project, nodes: Sequence[Node]
) -> list[dg.AssetsDefinition]:
    """One asset per dbt model, with its dbt tests as checks.

    Parameters
    ----------
    settings
        The deployment.
    project
        From ``rendered_project``.
    nodes
        The nodes of all assets, not only dbt's: a model's version depends on its inputs.
    """
    translator = Translator(nodes)

    @dagster_dbt.dbt_assets(manifest=project.manifest, dagster_dbt_translator=translator, name=NAME)
    def sql_definitions(context: dg.AssetExecutionContext) -> Iterator[Any]:
        yield from _Run(context, settings, project, nodes).events()

    return [sql_definitions]


class _Run:
    """One step: the selected models and checks, in one dbt invocation."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        settings: Settings,
        project: Project,
        nodes: Sequence[Node],
    ) -> None:
        self._context, self._settings, self._project = context, settings, project
        self._nodes = nodes
        resources = project.manifest["nodes"]
        keys = {tuple(key.path) for key in context.selected_asset_keys}
        checks = {(tuple(c.asset_key.path), c.name) for c in context.selected_asset_check_keys}
        self._models = {
            i: r
            for i, r in resources.items()
            if r["resource_type"] == "model" and key_of(r) in keys
        }
        self._tests = {
            i: r
            for i, r in resources.items()
            if r["resource_type"] == "test" and (self._tested(r), r["name"]) in checks
        }
        self._waiting: dict[str, set[str]] = {unique_id: set() for unique_id in self._models}
        for unique_id, test in self._tests.items():
            self._waiting.setdefault(test["attached_node"], set()).add(unique_id)
        self._described: dict[str, Described] = {}
        self._recorded: set[str] = set()
        self._checked: set[str] = set()
        self._failed: dict[str, str] = {}
        self._environment_failed: set[str] = set()
        self._left_out: dict[str, str] = {}
        self._read: dict[str, Read] = {}

    def _tested(self, test: Mapping[str, Any]) -> tuple[str, ...] | None:
        attached = test.get("attached_node")
        return None if attached is None else key_of(self._project.manifest["nodes"][attached])

    def events(self) -> Iterator[_Event]:
        """Materializations and check results as dbt reports them; raises at the end if needed."""
        keys = [key_of(model) for model in self._models.values()]
        run_id, log = self._context.run.run_id, self._context.log
        wait_to_begin(self._settings, self._context, self._nodes, keys)
        with asset_locks(self._settings, run_id, keys, log):
            self._recorder: Recorder = recorder(self._settings, self._nodes, run_id)
            for key in self._read_log(keys):
                self._recorder.look_again(key)
            self._leave_out_without_window()
            keys = [key_of(model) for model in self._models.values()]
            for key in keys:  # dbt reports when a table has been created, not before
                self._recorder.replacing(key)
            if self._models or self._tests:
                with self._started() as run:
                    for result in run.results():
                        yield from self._handle(run, result)
                    self._record_failures(run)
        self._failed |= self._left_out
        if self._failed:
            raise dg.Failure(self._summary(), metadata={"failed": sorted(self._failed)})

    def _leave_out_without_window(self) -> None:
        """Note what each model reads of the log.

        Those whose window is a term that there is not fail; the others are built.
        """
        logs: dict[Window, Read | str | None] = {}
        for unique_id, model in list(self._models.items()):
            for window in log_tables(self._project.manifest, [unique_id]):
                if window not in logs:
                    logs[window] = self._log_of(window)
                read = logs[window]
                if isinstance(read, str):
                    self._left_out[unique_id] = read
                    self._recorder.failed(key_of(model), read)
                elif read is not None:
                    self._read[unique_id] = read
        for unique_id in self._left_out:
            del self._models[unique_id]
            self._waiting.pop(unique_id)
        self._tests = {
            i: r for i, r in self._tests.items() if r["attached_node"] not in self._left_out
        }

    def _log_of(self, window: Window) -> Read | str | None:
        """What there is of a window, or why there is none."""
        try:
            return Read.of(window, window_log(self._settings, window))
        except NoTerm as error:
            return str(error)

    def _read_log(self, keys: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """Those of these assets that read the log, or another source with a query."""
        queried = {n.key for n in self._nodes if n.source is not None and n.source.query}
        deps = {node.key: node.deps for node in self._nodes}
        return [key for key in keys if queried.intersection(deps[key])]

    @contextmanager
    def _started(self) -> Iterator[DbtRun]:
        """dbt, running; if what it needs is not there, no model can be built."""
        chosen = [*self._models, *self._tests]
        with ExitStack() as stack:
            run = dbt_run(self._settings, self._project, self._arguments(), chosen)
            try:
                started = stack.enter_context(run)
            except TippersError as error:
                message = recordable(str(error), self._settings)
                environment_failed = isinstance(error, EnvironmentFault)
                for model in self._models.values():
                    self._recorder.failed(
                        key_of(model), message, environment_failed=environment_failed
                    )
                raise dg.Failure(message) from error
            yield started

    def _arguments(self) -> list[str]:
        if not self._models:
            return ["test", "--select", *_names(self._tests.values())]
        if self._tests.keys() == self._tests_of_models():
            # All tests of the selected models, also those that read another upstream model; dbt
            # leaves out those that read any other model.
            selected = _names([*self._models.values(), *self._tests_of_other_models()])
            chosen = ["buildable", "--select", *selected]
        else:
            selected = _names([*self._models.values(), *self._tests.values()])
            chosen = ["empty", "--select", *selected]
        # dbt's unit tests test the SQL, not the data: run them from a shell or in CI.
        return ["build", "--exclude-resource-type", "unit_test", "--indirect-selection", *chosen]

    def _tests_of_models(self) -> set[str]:
        return {
            unique_id
            for unique_id, r in self._project.manifest["nodes"].items()
            if r["resource_type"] == "test" and r.get("attached_node") in self._models
        }

    def _tests_of_other_models(self) -> list[Mapping[str, Any]]:
        """The tests that read a model which is neither selected nor above one that is.

        Whether all entities are of the index, for a rule whose SQL does not name the index.
        """
        nodes = self._project.manifest["nodes"]
        waiting, above = list(self._models), set(self._models)
        while waiting:
            new = set(nodes[waiting.pop()]["depends_on"]["nodes"]) & nodes.keys() - above
            above |= new
            waiting += new
        return [t for t in self._tests.values() if set(t["depends_on"]["nodes"]) - above]

    # --- dbt's results ----------------------------------------------------------------------
    def _handle(self, run: DbtRun, result: Result) -> Iterator[_Event]:
        if result.unique_id in self._models:
            if result.status == "success":
                yield from self._materialise(run, result)
        elif result.unique_id in self._tests:
            self._checked.add(result.unique_id)
            yield self._check(run, result)
            attached = self._tests[result.unique_id]["attached_node"]
            self._waiting[attached].discard(result.unique_id)
            self._record(attached)

    def _materialise(self, run: DbtRun, result: Result) -> Iterator[_Event]:
        """Describe and export a table that dbt has just created."""
        model = self._models[result.unique_id]
        key = key_of(model)
        started = time.monotonic()
        try:
            described = run.described(model, result)
        except TippersError as error:
            self._failed[result.unique_id] = recordable(str(error), self._settings)
            if isinstance(error, EnvironmentFault):
                self._environment_failed.add(result.unique_id)
            return
        seconds = result.seconds + time.monotonic() - started
        self._described[result.unique_id] = described.after(seconds)
        version = self._recorder.version(key)
        yield dg.MaterializeResult(
            asset_key=dg.AssetKey(list(key)),
            metadata={**described.metadata, "seconds": round(seconds, 3)},
            data_version=dg.DataVersion(version),
        )
        self._record(result.unique_id)

    def _check(self, run: DbtRun, result: Result) -> dg.AssetCheckResult:
        test = self._tests[result.unique_id]
        metadata: dict[str, Any] = {"status": result.status}
        if result.status in ("fail", "warn"):
            metadata["failing_rows"] = result.failures
            metadata |= run.failing(test)
        if result.status in ("fail", "error") and test["attached_node"] in self._models:
            if result.failures:
                message = f"The check {test['name']} failed; failing rows: {result.failures:,}."
            else:
                message = f"dbt could not run the check {test['name']}."
            self._failed.setdefault(test["attached_node"], message)
        key = key_of(self._project.manifest["nodes"][test["attached_node"]])
        warns = result.status == "warn"
        return dg.AssetCheckResult(
            asset_key=dg.AssetKey(list(key)),
            check_name=test["name"],
            passed=result.status == "pass",
            severity=dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR,
            metadata=metadata,
        )

    # --- recording --------------------------------------------------------------------------
    def _record(self, unique_id: str) -> None:
        """Record a model once its last check has passed; only then may others read it."""
        described = self._described.get(unique_id)
        if described is None or self._waiting[unique_id] or unique_id in self._failed:
            return
        self._recorded.add(unique_id)
        self._recorder.succeeded(
            key_of(self._models[unique_id]),
            rows=described.rows,
            seconds=described.seconds,
            details=with_read(described.details, self._read.get(unique_id)),
        )

    def _record_failures(self, run: DbtRun) -> None:
        """Record models that dbt could not build, whose check failed, or that dbt never reported.

        A model that was skipped because an upstream model failed is not recorded as failed.
        """
        messages = run.messages()
        for unique_id, message in messages.items():
            if unique_id in self._models:
                self._failed[unique_id] = message
        left = self._models.keys() - self._recorded
        error = run.error()
        if error is not None and not self._models and not self._checked:
            raise dg.Failure(error)
        if error is not None and not messages and not self._failed:
            self._failed |= dict.fromkeys(left, error)
        for unique_id in left & self._described.keys() - self._failed.keys():
            self._failed[unique_id] = "dbt ended before all its checks had run."
        for unique_id, message in self._failed.items():
            if unique_id in self._models:
                environment_failed = unique_id in self._environment_failed or _DISK_FULL in message
                self._recorder.failed(
                    key_of(self._models[unique_id]), message, environment_failed=environment_failed
                )

    def _summary(self) -> str:
        names = {i: "/".join(key_of(self._resource(i))) for i in self._failed}
        lines = [f"{names[i]}: {message}" for i, message in sorted(self._failed.items())]
        return f"{len(lines)} failed; the others are recorded.\n" + "\n".join(lines)

    def _resource(self, unique_id: str) -> Mapping[str, Any]:
        return self._project.manifest["nodes"][unique_id]


def _names(resources: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted(resource["name"] for resource in resources)
