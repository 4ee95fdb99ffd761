"""What happens to a deployment in the soak: killed, paused and cut-off processes, full disks."""

from __future__ import annotations

import os
import random
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from tippers_dagster.platform.postgres.embedded import (
    ADMINISTRATOR,
    postmaster_pid,
    start_embedded,
)
from tippers_dagster.platform.postgres.owner import administering
from tippers_dagster.settings import Settings

KILLED = ("run", "daemon", "code server", "definitions", "web", "app", "database")
PAUSED = ("run", "daemon", "definitions")

MARKS = {
    "run": "tippers: run",
    "daemon": "dagster._daemon",
    "code server": "code_server",
    "definitions": "tippers: definitions",
    "web": "tippers_dagster.cli web",
    "app": "streamlit_app",
}
"""What is in the command lines of processes."""

FULL_SECONDS = 15.0
SLOW_SECONDS = 20.0
LATENCY_SECONDS, SLOW_LATENCY_SECONDS = 0.02, 1.0

Fault = Callable[[], bool]
"""Returns whether it happened: there may be no run at the moment."""


class Faults:
    """The faults of one deployment, by name.

    Parameters
    ----------
    up
        The process ``tippers up``.
    pause
        For how many seconds a process is paused.
    disk
        The lake's folder, if it is on a file system of its own, which is filled.
    store
        In front of the lake's S3 server.
    """

    def __init__(
        self,
        settings: Settings,
        up: psutil.Process,
        pause: float,
        disk: Path | None = None,
        store: SlowStore | None = None,
    ) -> None:
        self._settings, self._up, self._pause_seconds = settings, up, pause
        self.by_name: dict[str, Fault] = {
            **{kind: lambda kind=kind: self._kill(kind) for kind in KILLED},
            **{f"paused {kind}": lambda kind=kind: self._pause(kind) for kind in PAUSED},
            "connections": self._disconnect,
        }
        if disk is not None:
            self.by_name["full disk"] = lambda: _fill(disk)
        if store is not None:
            self.by_name["slow store"] = store.be_slow

    def _process(self, kind: str) -> psutil.Process | None:
        if kind == "database":
            pid = postmaster_pid(self._settings.home_path)
            return None if pid is None else psutil.Process(pid)
        found = [p for p in self._children() if MARKS[kind] in " ".join(_command(p))]
        return random.choice(found) if found else None

    def _children(self) -> list[psutil.Process]:
        if not self._up.is_running() or self._up.status() == psutil.STATUS_ZOMBIE:
            raise SystemExit("`tippers up` has ended; its output is above.")
        return self._up.children(recursive=True)

    def _wait_for(self, kind: str) -> psutil.Process | None:
        """A process of this kind, at a random moment of its life."""
        deadline = time.monotonic() + 60
        process = None
        while process is None and time.monotonic() < deadline:
            time.sleep(random.uniform(0.0, 1.0))
            process = self._process(kind)
        time.sleep(random.uniform(0.0, 2.0 if kind == "run" else 3.0))
        return process

    def _kill(self, kind: str) -> bool:
        process = self._wait_for(kind)
        try:
            if process is not None:
                process.kill()
        except psutil.NoSuchProcess:  # it has ended meanwhile
            return False
        return process is not None

    def _pause(self, kind: str) -> bool:
        process = self._wait_for(kind)
        if process is None:
            return False
        try:
            process.suspend()
            time.sleep(self._pause_seconds)
            process.resume()
        except psutil.NoSuchProcess:  # it has ended, or was stopped for being stuck
            return process.pid > 0
        return True

    def _disconnect(self) -> bool:
        """End all connections to the database, as a firewall or a restarted pooler does."""
        server = start_embedded(self._settings.home_path)
        with administering(server.url("postgres", ADMINISTRATOR)) as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            return bool(cursor.fetchone()[0])


def _fill(folder: Path) -> bool:
    """Leave no space on the file system for a while."""
    filler = folder / ".tmp-filler"
    try:
        with filler.open("wb") as file:
            with suppress(OSError):
                while True:  # what others free meanwhile is taken, too
                    os.posix_fallocate(file.fileno(), file.tell(), shutil.disk_usage(folder).free)
                    break
            time.sleep(FULL_SECONDS)
    finally:
        filler.unlink(missing_ok=True)
    return True


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


class SlowStore:
    """A proxy in front of an S3 server that adds latency to each request, and at times much more.

    Parameters
    ----------
    address
        Of the server, as ``http://host:port``.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.latency = LATENCY_SECONDS
        threading.Thread(target=self._accept, daemon=True).start()

    def be_slow(self) -> bool:
        """Answer slowly for a while."""
        self.latency = SLOW_LATENCY_SECONDS
        time.sleep(SLOW_SECONDS)
        self.latency = LATENCY_SECONDS
        return True

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            for source, target, delayed in ((client, server, True), (server, client, False)):
                arguments = (source, target, delayed)
                threading.Thread(target=self._pump, args=arguments, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, delayed: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if delayed:
                    time.sleep(self.latency)
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
                end.close()


@contextmanager
def slow_s3() -> Iterator[SlowStore]:
    """An S3 server with an empty bucket ``soak``, behind a slow network."""
    from boto3 import client
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "soak", "aws_secret_access_key": "soak"}
    address = f"http://{host}:{port}"
    client("s3", endpoint_url=address, region_name="us-east-1", **keys).create_bucket(Bucket="soak")
    yield SlowStore(address)
    server.stop()
