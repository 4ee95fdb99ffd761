"""Dagster's code server, whose processes are forked from one that has imported everything.

``python -m tippers_dagster.stack.code_server MODULE ...`` is ``dagster code-server start
-m MODULE ...``: one process that forwards calls, and behind it one with the definitions, which is
replaced at each reload. A reload then takes as long as loading the definitions.
"""

from __future__ import annotations

import importlib.util
import multiprocessing.forkserver
import os
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import TimeoutExpired

from tippers_dagster.platform.dagster.internals import run_command, start_servers_with
from tippers_dagster.platform.dagster.run_workers import (
    Forked,
    choose_template,
    fork_run_workers,
    share_template,
)
from tippers_dagster.platform.forking.forking import start_templates
from tippers_dagster.platform.signals import obey_signals
from tippers_dagster.sql.templates import DBT, DBT_SANDBOX, SANDBOX


class _Server(Forked):
    """The process with the definitions; has what ``subprocess.Popen`` has and Dagster uses."""

    title = "tippers: definitions"

    @property
    def returncode(self) -> int | None:
        return self.exitcode

    def poll(self) -> int | None:
        return self.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.join(timeout)
        if self.exitcode is None:
            raise TimeoutExpired(self.title, timeout or 0)
        return self.exitcode


def main(module: str, options: Sequence[str]) -> None:
    """Serve the definitions of a module, until a signal.

    Parameters
    ----------
    options
        Those of ``dagster code-server start``.
    """
    obey_signals()
    choose_template(module)
    multiprocessing.forkserver.ensure_running()
    start_templates([DBT, SANDBOX, DBT_SANDBOX])
    imported = _sources(module)

    def start(
        command: Sequence[str], *, cwd: str | None = None, env: Mapping[str, str]
    ) -> _Server | None:
        if _sources(module) != imported:
            return None
        arguments = command[command.index("dagster") + 1 :]
        server = _Server(target=_serve, args=(module, arguments, cwd, dict(env)))
        server.start()
        # Runs outlive the process that forwards calls, as far as its end is concerned.
        multiprocessing.process._children.discard(server)  # type: ignore[attr-defined]
        return server

    start_servers_with(start)
    run_command("code-server", "start", "-m", module, *options)


def _serve(
    module: str, arguments: Sequence[str], folder: str | None, environment: Mapping[str, str]
) -> None:
    os.environ.clear()
    os.environ.update(environment)
    if folder is not None:
        os.chdir(folder)
    share_template()
    fork_run_workers(module)
    run_command(*arguments)


def _sources(module: str) -> list[tuple[str, int]]:
    """The files of the module's package with their times, and the time of installed packages.

    While it stays the same, what the template has imported is what an interpreter would import.
    """
    files = [Path(sysconfig.get_path("purelib"))]
    for name in {module.partition(".")[0], __name__.partition(".")[0]}:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            files += origin.parent.rglob("*.py") if origin.name == "__init__.py" else [origin]
    return sorted((str(file), file.stat().st_mtime_ns) for file in files)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
