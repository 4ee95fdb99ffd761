"""A process that has imported what others need; it forks one for each request.

``python -P template.py CHANNEL CHILD MODULES`` is started by ``forking.py``. The channel is a
socket: each message is a request, JSON with the folder, the environment and the arguments of a
process, and file descriptors: its standard input and output, those that it is given, and where its
process id and later its exit code are written, a line each. The new process runs ``main`` of the
file ``CHILD``, with the numbers of the given descriptors and the arguments.

It imports at the first request; one without descriptors asks for nothing else. The template itself
is given no data and no secret, and runs nothing else. It ends when no process has a way to it, and
begins anew, with nothing imported, when it was idle for a while.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

IDLE_SECONDS = 300

MESSAGE_BYTES = 1 << 20

Run = Callable[..., None]
"""``main`` of the child."""

_statuses: dict[int, int] = {}
"""Where the end of each living process is reported."""


def main(channel: socket.socket, child: str, modules: Sequence[str]) -> None:
    """Import everything when first asked, then fork until the channel closes."""
    run: Run | None = None
    while True:
        channel.settimeout(None if run is None else IDLE_SECONDS)
        try:
            message, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_BYTES, 8)
        except TimeoutError:
            if not _statuses:
                os.set_inheritable(channel.fileno(), True)
                os.execv(sys.executable, [sys.executable, "-P", *sys.argv])
            continue
        if not message:
            break
        if run is None:
            run = _import(child, modules)
        if descriptors:
            _fork(channel, run, json.loads(message), descriptors)
    while _statuses:
        time.sleep(0.1)


def _import(child: str, modules: Sequence[str]) -> Run:
    sys.meta_path.insert(0, _WithoutPandas())
    gc.disable()  # a tenth of the time of imports
    run = _load(child)
    for name in modules:
        importlib.import_module(name)
        _WARM.get(name, lambda: None)()
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGCHLD, lambda *_: _report_ends())
    return run


class _WithoutPandas:
    """Arrow imports pandas for its first array, if there is one; nothing here uses it."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _load(path: str) -> Run:
    spec = importlib.util.spec_from_file_location("tippers_child", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.main


def _warm_dbt() -> None:
    """What dbt makes once in each process, before it reads a project: a fifth of a short run."""
    from dbt.adapters.duckdb.credentials import DuckDBCredentials
    from dbt.contracts import project
    from dbt.contracts.selection import SelectorFile

    names = ("ProjectFlags", "ProfileConfig", "Project", "PackageConfig", "Configuration")
    for kind in (*(getattr(project, name) for name in names), DuckDBCredentials, SelectorFile):
        kind.json_schema()


_WARM = {"dbt.cli.main": _warm_dbt}


# --- processes ----------------------------------------------------------------------------------
def _fork(
    channel: socket.socket,
    run: Run,
    request: dict[str, Any],
    descriptors: Sequence[int],
) -> None:
    *own, status = descriptors
    # Until its status is known, a process that ends at once would be reported to nobody.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    pid = os.fork()
    if pid == 0:
        channel.close()
        for other in (*_statuses.values(), status):
            os.close(other)
        _become(run, request, own)
    for descriptor in own:
        os.close(descriptor)
    _statuses[pid] = status
    _tell(status, pid)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def _become(run: Run, request: dict[str, Any], descriptors: Sequence[int]) -> None:
    """Be the process of a request, in this fork; does not return."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        read, written, *given = descriptors
        for descriptor, standard in ((read, 0), (written, 1), (written, 2)):
            os.dup2(descriptor, standard)
        for descriptor in (read, written):
            os.close(descriptor)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        tempfile.tempdir = None
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(write_through="PYTHONUNBUFFERED" in os.environ)  # type: ignore[union-attr]
        run(*given, request["arguments"])
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # noqa: BLE001 - as the interpreter would end
        traceback.print_exc()
    finally:
        # dbt's locks are semaphores, which have to be given back.
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _report_ends() -> None:
    while _statuses:
        pid, ended = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        status = _statuses.pop(pid, None)
        if status is not None:
            _tell(status, os.waitstatus_to_exitcode(ended))
            os.close(status)


def _tell(status: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody waits any longer
        os.write(status, b"%d\n" % number)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the business of who started it
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], sys.argv[3:])
    os._exit(0)  # libraries have nothing to put in order, and DuckDB would complain about leaks
