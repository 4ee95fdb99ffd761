"""Starts processes by forking one that has imported everything.

Importing DuckDB and Arrow takes half a second, and dbt more than two. The first sandbox or dbt of a
process waits for it; the others start in some milliseconds.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

_TEMPLATE = Path(__file__).with_name("template.py")
PASSED_ON = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "SSL_CERT_FILE")
"""Variables for all of them: where programs, languages and certificates are."""

DBT = Path(__file__).with_name("child.py")
DBT_MODULES = ("dbt.cli.main", "dbt.adapters.postgres")
"""dbt's command line on PostgreSQL, and what it imports."""

LOST = -signal.SIGKILL
"""The exit code of a process whose template has ended before it."""


class Forked:
    """A forked process; like ``subprocess.Popen`` in what is used of it.

    Attributes
    ----------
    stdin, stdout
        Text streams; ``stdout`` is None if the output goes to a file.
    returncode
        None while it runs.
    """

    def __init__(self, stdin: IO[str], stdout: IO[str] | None, status: int) -> None:
        self.stdin, self.stdout = stdin, stdout
        self.returncode: int | None = None
        self._pid: int | None = None
        self._started, self._ended = threading.Event(), threading.Event()
        threading.Thread(target=self._follow, args=(status,), daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process id; waits until it was forked.

        Raises
        ------
        ProcessLookupError
            The template has ended before.
        """
        self._started.wait()
        if self._pid is None:
            raise ProcessLookupError("The template of the process has ended.")
        return self._pid

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns its exit code.

        Raises
        ------
        TimeoutExpired
            It takes longer.
        """
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired("process", timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessLookupError):
            if self.pid and self.returncode is None:
                os.kill(self.pid, signal.SIGKILL)

    def _follow(self, status: int) -> None:
        with os.fdopen(status) as lines:
            if line := lines.readline():
                self._pid = int(line)
            self._started.set()
            line = lines.readline()
            self.returncode = int(line) if line else LOST
            self._ended.set()


class _Template:
    """The template of this process for some modules."""

    def __init__(self, child: Path, modules: Sequence[str]) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        number = str(theirs.fileno())
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_TEMPLATE), number, str(child), *modules],
            cwd="/",
            env={"HOME": "/"} | {n: os.environ[n] for n in PASSED_ON if n in os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def send(self, message: bytes, descriptors: Sequence[int]) -> None:
        """Ask for a process.

        Raises
        ------
        ConnectionError
            The template has ended, as it does after a while without requests.
        """
        socket.send_fds(self._channel, [message], descriptors)

    def close(self) -> None:
        """End it; its processes go on."""
        self._channel.close()
        self._process.wait()


_templates: dict[tuple[int, Path, tuple[str, ...]], _Template] = {}
"""By the process that uses it: a fork does not use those of its parent."""
_starting = threading.Lock()


def prepare(child: Path, modules: Sequence[str]) -> None:
    """Start importing what ``fork`` will need."""
    with _starting:
        key = _key(child, modules)
        if key not in _templates:
            _templates[key] = _Template(child, modules)


def fork(
    child: Path,
    modules: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    *,
    arguments: Sequence[str] = (),
    given: Sequence[int] = (),
    output: int | None = None,
) -> Forked:
    """Start a process that runs ``main`` of a file.

    Parameters
    ----------
    child
        The file. Its ``main`` gets the numbers of the ``given`` descriptors, and the arguments.
    modules
        What is imported before.
    folder
        Its working directory.
    environment
        All of its environment.
    arguments, given
        Texts, and open files or pipes.
    output
        Where its output and errors go; None for a pipe, which is then ``stdout``.
    """
    read, status = os.pipe(), os.pipe()
    ours, theirs = os.pipe() if output is None else (None, output)
    request = {
        "folder": str(folder),
        "environment": dict(environment),
        "arguments": list(arguments),
    }
    try:
        descriptors = (read[0], theirs, *given, status[1])
        _send(child, modules, json.dumps(request).encode(), descriptors)
    finally:
        for descriptor in (read[0], status[1], *([] if ours is None else [theirs])):
            os.close(descriptor)
    stdout = None if ours is None else os.fdopen(ours, encoding="utf-8")
    return Forked(os.fdopen(read[1], "w", encoding="utf-8"), stdout, status[0])


def _send(child: Path, modules: Sequence[str], message: bytes, descriptors: Sequence[int]) -> None:
    key = _key(child, modules)
    with _starting:
        template = _templates.get(key)
        if template is not None:
            try:
                template.send(message, descriptors)
            except ConnectionError:
                template.close()
            else:
                return
        _templates[key] = _Template(child, modules)
        _templates[key].send(message, descriptors)


def _key(child: Path, modules: Sequence[str]) -> tuple[int, Path, tuple[str, ...]]:
    return os.getpid(), child, tuple(modules)
