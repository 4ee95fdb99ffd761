"""Runs dbt for assets, and reads the results from its log.

With PostgreSQL, dbt makes the warehouse's tables itself. With DuckDB it makes tables in the memory
of a sandbox; they are stored here once dbt is done.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from tippers_dagster.errors import TippersError
from tippers_dagster.platform.forking.forking import Forked, fork
from tippers_dagster.platform.redaction import recordable
from tippers_dagster.platform.scratch import scratch_folder
from tippers_dagster.settings import Settings
from tippers_dagster.sql.columns import Column
from tippers_dagster.sql.describe import (
    Described,
    failing_rows,
    rows_metadata,
    table_metadata,
    view_metadata,
)
from tippers_dagster.sql.duckdb.contents import everything, inputs, lake_sandbox
from tippers_dagster.sql.duckdb.sandbox import Sandbox, SandboxError
from tippers_dagster.sql.duckdb.storing import store_table
from tippers_dagster.sql.duckdb.types import postgres_type
from tippers_dagster.sql.environment import dbt_command, dbt_environment
from tippers_dagster.sql.leftovers import drop_copied_log, drop_other_engine
from tippers_dagster.sql.log_schema import fill_log
from tippers_dagster.sql.nodes import log_tables, meta_of
from tippers_dagster.sql.project import Project
from tippers_dagster.sql.roles import ensure_roles
from tippers_dagster.sql.templates import DBT

STOP_SECONDS = 15
"""An interrupted dbt cancels its queries; after this time it is killed, and the server cancels
them."""

STORED_AT_ONCE = 2
"""Tables that are stored at the same time: PostgreSQL works on one while another is exported."""

_RESULTS = ("LogModelResult", "LogTestResult")


@dataclass(frozen=True)
class Result:
    """The result of a model or test.

    ``status`` is dbt's: success, error, pass, fail, warn. ``rows``: the rows of a table just
    created.
    """

    unique_id: str
    status: str
    seconds: float
    rows: int | None
    failures: int | None


class DbtRun:
    """One invocation of dbt. Create it with :func:`dbt_run`."""

    def __init__(self, settings: Settings, process: Forked, target: Path) -> None:
        self._settings, self._process, self._target = settings, process, target
        self._errors: list[str] = []
        self._plain: deque[str] = deque(maxlen=20)  # lines that are not events

    def results(self) -> Iterator[Result]:
        """The results of models and tests as they arrive; dbt's log goes to standard output."""
        yield from self._logged()
        self._process.wait()

    def described(self, model: Mapping[str, Any], result: Result) -> Described:
        """Describe the table of a model that succeeded, and export it.

        Raises
        ------
        TippersError
            The table could not be stored or exported.
        """
        return table_metadata(self._settings, model, result.rows)

    def failing(self, test: Mapping[str, Any]) -> dict[str, Any]:
        """Metadata of a test that failed: some rows, and the query for all of them."""
        return failing_rows(self._settings, self._compiled(test))

    def _logged(self) -> Iterator[Result]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = _event(line)
            info = event["info"]
            print(recordable(info["msg"], self._settings), flush=True)
            if info["level"] == "error":
                self._errors.append(info["msg"])
            elif not info["name"]:
                self._plain.append(info["msg"])
            if info["name"] in _RESULTS:
                yield _result(event["data"])

    def messages(self) -> dict[str, str]:
        """dbt's error messages by unique id; complete once the results have ended."""
        return {
            unique_id: recordable(message or "dbt gave no reason", self._settings)
            for unique_id, message in self._messages().items()
        }

    def _messages(self) -> dict[str, str | None]:
        path = self._target / "run_results.json"
        if not path.exists():
            return {}
        results = json.loads(path.read_text())["results"]
        return {r["unique_id"]: r["message"] for r in results if r["status"] == "error"}

    def error(self) -> str | None:
        """dbt's message if it did not succeed; complete once the results have ended."""
        if self._succeeded():
            return None
        lines = self._errors or [f"dbt exited with status {self._process.returncode}", *self._plain]
        return recordable("\n".join(lines), self._settings)

    def _succeeded(self) -> bool:
        return self._process.returncode == 0

    def _compiled(self, resource: Mapping[str, Any]) -> str:
        """The SQL of a test that has run."""
        folder = self._target / "compiled" / resource["package_name"]
        return (folder / resource["original_file_path"] / resource["path"]).read_text()


class LakeRun(DbtRun):
    """An invocation in a sandbox. There are no results until dbt is done with all of them.

    Parameters
    ----------
    tables
        The models whose tables are stored, by unique id.
    """

    def __init__(
        self,
        settings: Settings,
        box: Sandbox,
        target: Path,
        tables: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(settings, box.process, target)
        self._box, self._tables = box, tables or {}
        self._told: dict[str, Any] = {"success": False, "made": {}, "messages": {}, "examples": {}}
        self._stored: dict[str, Future[Described]] = {}

    def results(self) -> Iterator[Result]:
        """The results of models and tests, all at the end; dbt's log arrives before.

        Tables are stored while the results of others are handled.
        """
        found = list(self._logged())
        try:
            self.finish()
        except SandboxError as error:
            self._errors.append(str(error))
        if message := self._told.get("exception"):
            self._errors.append(message)
        made = self._told["made"]
        with self._storing(made):
            for result in found:
                rows = made[result.unique_id]["rows"] if result.unique_id in made else result.rows
                yield replace(result, rows=rows)

    @contextmanager
    def _storing(self, made: Collection[str]) -> Iterator[None]:
        """Begin to store the tables; when the block ends, none is being stored any more."""
        pool = ThreadPoolExecutor(STORED_AT_ONCE, "store")
        try:
            self._stored = {
                i: pool.submit(self.store, self._tables[i]) for i in made if i in self._tables
            }
            yield
        finally:
            pool.shutdown(cancel_futures=True)

    def finish(self) -> dict[str, Any]:
        """Wait for what dbt has made.

        Raises
        ------
        SandboxError
            The process was ended.
        """
        self._told = self._box.dbt_answer(None)
        return self._told

    def described(self, model: Mapping[str, Any], result: Result) -> Described:
        """What ``store`` gives for a model."""
        stored = self._stored.get(model["unique_id"])
        return self.store(model) if stored is None else stored.result()

    def store(self, model: Mapping[str, Any]) -> Described:
        """Store the table of a model in the warehouse, describe and export it.

        A view over the lake is described only.

        Raises
        ------
        TippersError
            The table could not be stored or exported.
        """
        made = self._told["made"].get(model["unique_id"])
        if made is None:
            raise TippersError("DuckDB's process ended before the table could be stored.")
        columns = [Column(name, postgres_type(kind)) for name, kind in made["columns"]]
        if "file" not in made:
            return view_metadata(model, columns, made["rows"])
        place, indexes = (model["schema"], model["alias"]), model["config"].get("indexes") or ()
        store_table(self._settings, place, columns, self._box.read(made["file"]), indexes)
        return table_metadata(self._settings, model, made["rows"])

    def table(self, unique_id: str) -> tuple[list[Column], pa.Table]:
        """What a model gave, as long as the sandbox is there; it is not stored."""
        made = self._told["made"][unique_id]
        columns = [Column(name, postgres_type(kind)) for name, kind in made["columns"]]
        return columns, self._box.read(made["file"])

    def failing(self, test: Mapping[str, Any]) -> dict[str, Any]:
        """Metadata of a test that failed: some rows, and the query for all of them."""
        file = self._told["examples"].get(test["unique_id"])
        rows = self._box.read(file).to_pylist() if file else []
        return rows_metadata(self._settings, rows, self._compiled(test))

    def _messages(self) -> dict[str, str | None]:
        return self._told["messages"]

    def _succeeded(self) -> bool:
        return self._told["success"]


@contextmanager
def dbt_run(
    settings: Settings, project: Project, arguments: Sequence[str], chosen: Collection[str]
) -> Iterator[DbtRun]:
    """Run dbt on a project, with its own target folder; dbt is stopped if the block ends early.

    Does not use dagster-dbt's own resource: that asks PyPI for the latest dbt version in each run,
    leaves a copy of the project behind if there are more than 200 models, and loses an interruption
    that arrives while it reads a line.

    Parameters
    ----------
    chosen
        Unique ids of the models and tests that the arguments select.
    """
    with _target(settings, project) as target:
        running = _on_lake if settings.sql_engine == "duckdb" else _in_warehouse
        with running(settings, project, arguments, chosen, target) as run:
            yield run


@contextmanager
def _target(settings: Settings, project: Project) -> Iterator[Path]:
    """A folder for dbt's output, with its parse state of the project: nothing is parsed again."""
    with scratch_folder(settings.home_path / "dbt" / "runs") as target:
        shutil.copy(project.manifest_path.with_name("partial_parse.msgpack"), target)
        yield target


@contextmanager
def past_tables(
    settings: Settings, project: Project, models: Sequence[str], until: dt.date
) -> Iterator[LakeRun]:
    """Compute models over their windows as they were at a date, always on DuckDB.

    Nothing is stored: ``LakeRun.table`` gives what they are.

    Parameters
    ----------
    models
        Unique ids. What else they read is as it is now.
    until
        The date by which the windows end.

    Raises
    ------
    TippersError
        A model cannot be computed.
    """
    nodes = project.manifest["nodes"]
    names = [nodes[unique_id]["name"] for unique_id in models]
    with (
        _target(settings, project) as target,
        lake_sandbox(
            settings,
            inputs(project.manifest, project.staging_views, models),
            until=until,
            statement_seconds=settings.model_timeout_seconds,
            environment=_lake_environment(settings, project, target),
            log=True,
            dbt=True,
        ) as box,
    ):
        box.send({"dbt": ["run", "--select", *names], "last": True, "tables": list(models)})
        run = LakeRun(settings, box, target)
        for _ in run.results():
            continue
        if (error := run.error()) is not None:
            raise TippersError(error)
        yield run


@contextmanager
def _on_lake(
    settings: Settings,
    project: Project,
    arguments: Sequence[str],
    chosen: Collection[str],
    target: Path,
) -> Iterator[DbtRun]:
    environment = _lake_environment(settings, project, target)
    drop_other_engine(settings)
    drop_copied_log(settings)
    nodes = project.manifest["nodes"]
    models = [i for i in chosen if nodes[i]["resource_type"] == "model"]
    tables = [i for i in models if "concept" in meta_of(nodes[i])]
    read = inputs(project.manifest, project.staging_views, chosen)
    request = {
        "dbt": list(arguments),
        "last": True,
        "tables": tables,
        "counted": sorted(set(models).difference(tables)),
        "examples": sorted(set(chosen).difference(models)),
    }
    with lake_sandbox(
        settings,
        read,
        statement_seconds=settings.model_timeout_seconds,
        environment=environment,
        log=True,
        dbt=True,
    ) as box:
        box.send(request)
        yield LakeRun(settings, box, target, {i: nodes[i] for i in tables})


@contextmanager
def _in_warehouse(
    settings: Settings,
    project: Project,
    arguments: Sequence[str],
    chosen: Collection[str],
    target: Path,
) -> Iterator[DbtRun]:
    for window, names in log_tables(project.manifest, chosen).items():
        fill_log(settings, names, window)
    environment = _environment(settings, project, target)
    process = fork(DBT, project.folder, environment, arguments=arguments)
    try:
        yield DbtRun(settings, process, target)
    finally:
        _stop(process)
    drop_copied_log(settings)


# --- from the command line ----------------------------------------------------------------------
_MAKING = {"build", "retry", "run"}
"""dbt's commands that make tables of definitions."""

_READING = _MAKING | {
    *("compile", "docs", "run-operation", "seed", "show", "snapshot", "source", "test")
}
"""Those that read or make tables."""


def run_on_lake(
    settings: Settings, project: Project, arguments: Sequence[str], environment: Mapping[str, str]
) -> int:
    """Run any command of dbt on DuckDB; its output goes to standard output.

    Tables of definitions that it makes are stored in the warehouse and exported when dbt is done.

    Returns
    -------
    int
        dbt's status: 0 if it succeeded, 1 if a model or test failed, 2 for any other failure.
    """
    nodes, tables = project.manifest["nodes"], dict[str, Mapping[str, Any]]()
    if _MAKING.intersection(arguments):
        tables = {i: n for i, n in nodes.items() if n["resource_type"] == "model" and _defined(n)}
    read = inputs(project.manifest, project.staging_views, [])
    if _READING.intersection(arguments):
        read = everything(project.manifest, project.staging_views)
    with lake_sandbox(
        settings,
        read,
        statement_seconds=settings.model_timeout_seconds,
        environment={**environment, "PYTHONUNBUFFERED": "1"},
        log=True,
        dbt=True,
    ) as box:
        box.send({"dbt": list(arguments), "last": True, "tables": list(tables)})
        run = LakeRun(settings, box, Path(environment["DBT_TARGET_PATH"]))
        for line in box.process.stdout or ():
            print(line, end="", flush=True)
        told = run.finish()
        if message := told.get("exception"):
            print(message, file=sys.stderr)
            return 2
        for unique_id in told["made"]:
            print(f"storing {nodes[unique_id]['name']}", flush=True)
            run.store(tables[unique_id])
    return 0 if told["success"] else 1


def run_in_warehouse(
    settings: Settings, project: Project, arguments: Sequence[str], environment: Mapping[str, str]
) -> int:
    """Run any command of dbt on PostgreSQL, as ``run_on_lake`` does on DuckDB."""
    if _READING.intersection(arguments):
        for window, names in log_tables(project.manifest, project.manifest["nodes"]).items():
            fill_log(settings, names, window)
        ensure_roles(settings)
    # A separate process: this one keeps the embedded database running meanwhile.
    return subprocess.run([*dbt_command(), *arguments], env=environment, check=False).returncode


def _defined(node: Mapping[str, Any]) -> bool:
    return "concept" in meta_of(node)


def _environment(settings: Settings, project: Project, target: Path) -> dict[str, str]:
    ensure_roles(settings)
    return {
        **dbt_environment(settings, project.folder, target),
        "DBT_LOG_FORMAT": "json",
        "DBT_LOG_LEVEL_FILE": "none",
        "PYTHONUNBUFFERED": "1",
    }


def _lake_environment(settings: Settings, project: Project, target: Path) -> dict[str, str]:
    # Nothing reads the manifest and results that dbt would write before and after.
    return {**_environment(settings, project, target), "DBT_WRITE_JSON": "false"}


def _stop(process: Forked) -> None:
    # The child interrupts itself when its input closes. Only one interruption: a second one would
    # stop it from cancelling its queries. Its output is closed too, or it could block on writing.
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _event(line: str) -> dict[str, Any]:
    """One event of dbt's log; any other line, from Python for example, becomes an event."""
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        event = None
    if isinstance(event, dict) and "info" in event:
        return event
    return {"info": {"name": "", "level": "info", "msg": line.rstrip()}, "data": {}}


def _result(data: Mapping[str, Any]) -> Result:
    made = re.fullmatch(r"(?:SELECT|INSERT 0) (\d+)", data.get("status") or "")
    return Result(
        unique_id=data["node_info"]["unique_id"],
        status=data["node_info"]["node_status"],
        seconds=float(data["execution_time"]),
        rows=int(made[1]) if made else None,
        failures=data.get("num_failures"),
    )
