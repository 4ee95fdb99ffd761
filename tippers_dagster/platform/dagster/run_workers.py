"""Processes of a code server, forked from one that has imported what they need.

Dagster starts a new interpreter for every run, and imports are most of what a short run computes.
A fork has them at once, and shares their memory with the others.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import multiprocessing.context
import multiprocessing.forkserver
import os
import signal
import sys
from multiprocessing.reduction import DupFd
from typing import Any

from setproctitle import getproctitle, setproctitle

from tippers_dagster.platform.dagster.internals import (
    PROCESS_MODULES,
    SERVER_MODULE,
    start_runs_with,
)
from tippers_dagster.platform.forking.forking import Template, channels, use_channels

IMPORTED = (
    *PROCESS_MODULES,
    "dagster_postgres",
    "adbc_driver_postgresql.dbapi",
    "pyarrow.parquet",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "tippers_dagster.platform.dagster.dbt",
    "tippers_dagster.platform.dagster.template",
)
"""What is imported besides the module with the definitions, in this order."""

LEARNING = (
    "mlflow",
    "mlflow.store.tracking.sqlalchemy_store",
    "sklearn.ensemble",
    "skops.io",
    "snorkel.labeling.model.label_model",
    # PyTorch imports it when it makes its first optimizer.
    "torch._dynamo",
)
"""What label models, classifiers and forecasts import: 400 MB, and more time than they compute.

The template imports it when a first run has.
"""


class Forked(multiprocessing.context.ForkServerProcess):
    """A process that is forked, and otherwise like one that an interpreter starts.

    It has the environment of the process that asks for it and uses its templates for SQL, and calls
    what is registered for its end.
    """

    title = "tippers: run"

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._environment = dict(os.environ)
        self._channels: dict[Template, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What is sent to the template of this process."""
        return self.__dict__ | {"_channels": {t: DupFd(n) for t, n in channels().items()}}

    def run(self) -> None:
        """Do what was asked for."""
        setproctitle(self.title)
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(self._environment)
        use_channels({template: way.detach() for template, way in self._channels.items()})
        had_learning = LEARNING[0] in sys.modules
        try:
            super().run()
        finally:
            if LEARNING[0] in sys.modules and not had_learning and os.getppid() == _template:
                os.kill(_template, signal.SIGUSR1)
            atexit._run_exitfuncs()


class _ForkContext(multiprocessing.context.ForkServerContext):
    Process = Forked


def choose_template(module: str) -> None:
    """Say what the template imports: the module with the definitions, and what goes with it."""
    os.environ["SPT_NOENV"] = "1"  # names of processes do not overwrite what they were started with
    _ForkContext().set_forkserver_preload([module, *IMPORTED])


def fork_run_workers(module: str) -> None:
    """Let the code server in this process, if there is one, fork its runs.

    They have the template of the code server, if that was itself forked from one; otherwise a
    template of its own, which starts with the first run.

    Parameters
    ----------
    module
        The module with the definitions: imported once, and loaded by each run.
    """
    if SERVER_MODULE in sys.modules:
        choose_template(module)
        start_runs_with(_ForkContext())


def name_run(run_id: str) -> None:
    """Show the id of the run as the name of this process, if it was forked for a run."""
    if getproctitle() == Forked.title:
        setproctitle(f"{Forked.title} {run_id}")


def share_template() -> None:
    """Let this process, itself forked, fork others from the same template, while that lives.

    ``multiprocessing`` knows the template's address here, but would start another.
    """
    server: Any = multiprocessing.forkserver._forkserver
    start_another = server.ensure_running

    def ensure_running() -> None:
        if os.getppid() != _template:
            start_another()

    server.ensure_running = ensure_running


# --- the template -------------------------------------------------------------------------------
_template = 0
"""Its process id."""


def be_template() -> None:
    """Make this process, which has imported everything, the template."""
    global _template
    _template = os.getpid()
    setproctitle("tippers: template of code server and runs")
    signal.signal(signal.SIGUSR1, _import_learning)
    _freeze()


def _import_learning(number: int, frame: object) -> None:
    for name in LEARNING:
        importlib.import_module(name)
    _freeze()


def _freeze() -> None:
    """Keep the collection of garbage from copying all objects into each fork."""
    gc.collect()
    gc.freeze()
