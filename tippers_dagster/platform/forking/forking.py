"""Starts processes by forking one that has imported everything.

Importing DuckDB and Arrow takes half a second, and dbt more than two. The first process that is
forked waits for it; the others start in some milliseconds. A process may hand its templates on to
those that it starts itself.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

_PROGRAM = Path(__file__).with_name("template.py")
_NOTHING = b"{}"
PASSED_ON = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "SSL_CERT_FILE")
"""Variables for all of them: where programs, languages and certificates are."""

LOST = -signal.SIGKILL
"""The exit code of a process whose template has ended before it."""


class Template(NamedTuple):
    """What a process imports before others are forked from it.

    Attributes
    ----------
    child
        The file whose ``main`` they run. It gets the numbers of the descriptors that they are
        given, and their arguments.
    modules
        What is imported besides.
    """

    child: Path
    modules: tuple[str, ...] = ()


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


class _Running:
    """The way to a template: of this process, or handed on by the one that started this."""

    def __init__(self, channel: socket.socket, process: subprocess.Popen[bytes] | None) -> None:
        self.channel, self._process = channel, process

    def send(self, message: bytes, descriptors: Sequence[int] = ()) -> None:
        """Ask for a process; without descriptors, only for the imports.

        Raises
        ------
        ConnectionError
            The template has ended.
        """
        socket.send_fds(self.channel, [message], descriptors)

    def close(self) -> None:
        """Let go of it; its processes go on."""
        self.channel.close()
        if self._process is not None:
            self._process.wait()


def _start(template: Template) -> _Running:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        number = str(theirs.fileno())
        process = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM), number, str(template.child), *template.modules],
            cwd="/",
            env={"HOME": "/"} | {n: os.environ[n] for n in PASSED_ON if n in os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    return _Running(ours, process)


_running: dict[tuple[int, Template], _Running] = {}
"""By the process that uses it: a fork uses those of its parent only when they are handed on."""
_starting = threading.Lock()


def prepare(template: Template) -> None:
    """Start importing what ``fork`` will need."""
    _send(template, _NOTHING)


def start_templates(templates: Iterable[Template]) -> None:
    """Start templates that have yet to import anything, to be handed on."""
    with _starting:
        for template in templates:
            _running[os.getpid(), template] = _start(template)


def channels() -> dict[Template, int]:
    """The ways to the templates of this process: open sockets."""
    with _starting:
        return {
            template: running.channel.fileno()
            for (pid, template), running in _running.items()
            if pid == os.getpid()
        }


def use_channels(channels: Mapping[Template, int]) -> None:
    """Use the templates of another process; they live until none has a way to them."""
    with _starting:
        for template, number in channels.items():
            _running[os.getpid(), template] = _Running(socket.socket(fileno=number), None)


def fork(
    template: Template,
    folder: Path,
    environment: Mapping[str, str],
    *,
    arguments: Sequence[str] = (),
    given: Sequence[int] = (),
    output: int | None = None,
) -> Forked:
    """Start a process that runs ``main`` of the template's child.

    Parameters
    ----------
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
        _send(template, json.dumps(request).encode(), (read[0], theirs, *given, status[1]))
    finally:
        for descriptor in (read[0], status[1], *([] if ours is None else [theirs])):
            os.close(descriptor)
    stdout = None if ours is None else os.fdopen(ours, encoding="utf-8")
    return Forked(os.fdopen(read[1], "w", encoding="utf-8"), stdout, status[0])


def _send(template: Template, message: bytes, descriptors: Sequence[int] = ()) -> None:
    key = os.getpid(), template
    with _starting:
        if key in _running:
            try:
                _running[key].send(message, descriptors)
            except ConnectionError:
                _running.pop(key).close()
            else:
                return
        _running[key] = _start(template)
        _running[key].send(message, descriptors)
