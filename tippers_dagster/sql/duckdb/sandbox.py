"""A sandbox: a DuckDB process that is given tables and answers queries, and can do nothing else.

The process (``child.py``) opens the files of the lake and the tables that it is given, makes the
views, and closes itself: no file, network, extension, setting or name of Python is in reach of SQL.
Results are Arrow files in a private folder, which this process reads. Memory, space, threads and
time are limited; a process that exceeds them is ended, with a sentence of what to do.

Its environment holds no secret. What reading S3 needs is sent through the pipe, to pyarrow alone,
which opens the files for DuckDB: it neither has these credentials nor functions that could read
them.
"""

from __future__ import annotations

import json
import os
import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeAlias

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from tippers_dagster.errors import TippersError
from tippers_dagster.platform.forking.forking import PASSED_ON, Forked, fork
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.scratch import scratch_folder
from tippers_dagster.settings import Settings
from tippers_dagster.sql.templates import DBT_SANDBOX, SANDBOX

START_SECONDS = 120
"""A slow disk may take this long to read Python's libraries, and S3 the footers of many files."""

OTHER_MEMORY = 1 << 30
"""What a process may use besides DuckDB's buffers: libraries, values being computed, Arrow."""

_POLL_SECONDS = 0.1


class SandboxError(TippersError):
    """DuckDB's error, or the end of its process.

    Attributes
    ----------
    kind
        DuckDB's class of errors, such as ``BinderException``; ``Stopped`` if the process was ended.
    """

    def __init__(self, kind: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.kind = kind


@dataclass(frozen=True)
class Dataset:
    """Files of the lake as one table: their keys, and the columns that are read.

    ``optional``: columns of text that files may lack; they are null then.
    """

    keys: Sequence[str]
    schema: pa.Schema
    optional: Sequence[str] = ()


Source: TypeAlias = pa.Table | Callable[[], pa.RecordBatchReader]
"""An Arrow table, or a function that reads one, when the sandbox starts."""


@dataclass(frozen=True)
class Contents:
    """What a sandbox holds, by ``schema.table``.

    Attributes
    ----------
    datasets
        Tables of the lake.
    tables
        Arrow tables, or functions that read them.
    views
        Names and queries, those first that others read.
    """

    datasets: Mapping[str, Dataset] = field(default_factory=dict)
    tables: Mapping[str, Source] = field(default_factory=dict)
    views: Sequence[tuple[str, str]] = ()

    def all_tables(self) -> dict[str, Source]:
        """The tables, and those of the lake that have no files."""
        empty = {n: d.schema.empty_table() for n, d in self.datasets.items() if not d.keys}
        return {**self.tables, **empty}


class Sandbox:
    """A running DuckDB process. Create it with :func:`sandbox`."""

    def __init__(self, folder: Path, process: Forked, answers: IO[str], most: int) -> None:
        self.folder = folder
        self.process = process
        self._answers = answers
        self._results = 0
        self._too_much = False
        threading.Thread(target=self._watch, args=(most,), daemon=True).start()

    # --- queries ----------------------------------------------------------------------------
    def query(self, sql: str, seconds: float) -> pa.Table:
        """The result of one query.

        Parameters
        ----------
        seconds
            After this time the process is ended.

        Raises
        ------
        SandboxError
            DuckDB's error, or the process was ended.
        """
        self._results += 1
        name = f"result{self._results}.arrow"
        self.ask({"sql": sql, "result": name}, seconds)
        return self.read(name)

    def columns(self, sql: str, seconds: float) -> list[tuple[str, str]]:
        """Names and DuckDB's types of a query's columns; it is planned, not run.

        Raises
        ------
        SandboxError
            As for ``query``.
        """
        return [(name, kind) for name, kind in self.ask({"sql": sql}, seconds)["columns"]]

    def read(self, name: str) -> pa.Table:
        """A file that the process wrote, mapped into memory."""
        with pa.memory_map(str(self.folder / name)) as source:
            return pa.ipc.open_file(source).read_all()

    # --- requests ---------------------------------------------------------------------------
    def ask(self, request: Mapping[str, Any], seconds: float | None) -> dict[str, Any]:
        """Send a request, and wait for the answer.

        Raises
        ------
        SandboxError
            DuckDB's error, or the process was ended.
        """
        self.send(request)
        return self.answer(seconds)

    def send(self, request: Mapping[str, Any]) -> None:
        """Send a request."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # the answer says why
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()

    def answer(self, seconds: float | None) -> dict[str, Any]:
        """Wait for an answer; without ``seconds``, as long as it takes.

        Raises
        ------
        SandboxError
            As for ``ask``.
        """
        if not select.select([self._answers], [], [], seconds)[0]:
            self._end()
            raise SandboxError("Stopped", f"DuckDB took longer than {seconds:g} s.")
        line = self._answers.readline()
        if not line:
            raise self._ended()
        told = json.loads(line)
        if "error" in told:
            raise SandboxError(told["error"], told["message"])
        return told

    def dbt_answer(self, seconds: float | None) -> dict[str, Any]:
        """Wait for what a request to run dbt gives.

        Raises
        ------
        SandboxError
            The process was ended.
        """
        return json.loads((self.folder / self.answer(seconds)["file"]).read_text())

    def output(self) -> str:
        """What the process has written, if its log is not read by others."""
        return (self.folder / "output").read_text(errors="replace")

    # --- its end ----------------------------------------------------------------------------
    def _watch(self, most: int) -> None:
        """End the process if it takes more memory than ``most`` bytes."""
        with suppress(psutil.Error):
            child = psutil.Process(self.process.pid)
            while self.process.returncode is None:
                memory = child.memory_info()
                # Mapped files, such as the tables given, are not its own.
                if memory.rss - memory.shared > most:
                    self._too_much = True
                    self.process.kill()
                    return
                time.sleep(_POLL_SECONDS)

    def _ended(self) -> SandboxError:
        status = self.process.wait()
        if self._too_much:
            return SandboxError(
                "OutOfMemoryException", "DuckDB used more memory than it may.", MEMORY_HINT
            )
        shown = f"signal {-status}" if status < 0 else f"status {status}"
        reason = self.output().strip().rpartition("\n")[2]
        return SandboxError(
            "Stopped", f"DuckDB's process ended ({shown}). {reason}".strip(), MEMORY_HINT
        )

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End the process."""
        for pipe in (self.process.stdin, self.process.stdout, self._answers):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._end()


MEMORY_HINT = (
    "Filter earlier, or read a rule that is already computed. TIPPERS_SQL_MEMORY_MB sets the limit."
)


@contextmanager
def sandbox(
    settings: Settings,
    contents: Contents | AbstractContextManager[Contents],
    *,
    statement_seconds: float,
    environment: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
    log: bool = False,
    dbt: bool = False,
) -> Iterator[Sandbox]:
    """A sandbox with these contents; it ends with the block, or with this process.

    Parameters
    ----------
    contents
        As a context, they are found while the process starts, and needed until it has opened them.
    statement_seconds
        Time limit of each statement.
    environment
        Variables for the process, besides where programs and languages are.
    more
        Further settings of DuckDB.
    log
        Whether the process's output is wanted, as ``process.stdout``; else it is kept for errors.
    dbt
        Whether dbt will run in it: its libraries are then loaded while the process starts.

    Raises
    ------
    SandboxError
        A table or view cannot be opened.
    """
    found = nullcontext(contents) if isinstance(contents, Contents) else contents
    with scratch_folder(settings.home_path / "sandbox") as folder:
        most = (settings.sql_memory_mb << 20) + OTHER_MEMORY
        running = _start(folder, environment or {}, most, log, dbt)
        try:
            with found as held:
                for name, table in held.all_tables().items():
                    _write(folder / f"{name}.parquet", table)
                running.send(_setup(settings, held, folder, statement_seconds, more or {}))
                running.answer(START_SECONDS)
            yield running
        finally:
            running.close()


def _write(path: Path, table: Source) -> None:
    """Write a table for a sandbox; one that is read, batch by batch."""
    if isinstance(table, pa.Table):
        pq.write_table(table, path)
        return
    reader = table()
    with pq.ParquetWriter(path, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)


def _start(
    folder: Path, environment: Mapping[str, str], most: int, log: bool, dbt: bool
) -> Sandbox:
    answers, told = os.pipe()
    with (folder / "output").open("wb") as output:
        process = fork(
            DBT_SANDBOX if dbt else SANDBOX,
            folder,
            {
                **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
                "HOME": str(folder),
                "TMPDIR": str(folder),
                **environment,
            },
            given=[told],
            output=None if log else output.fileno(),
        )
    os.close(told)
    return Sandbox(folder, process, os.fdopen(answers), most)


def _setup(
    settings: Settings,
    contents: Contents,
    folder: Path,
    statement_seconds: float,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "settings": {
            "memory_limit": f"{settings.sql_memory_mb}MiB",
            "max_temp_directory_size": f"{settings.sql_temporary_mb}MiB",
            "threads": settings.threads,
            "max_execution_time": round(statement_seconds * 1000),
            **more,
        },
        "lake": open_lake(settings).location() if contents.datasets else None,
        "datasets": {
            name: {
                "keys": list(found.keys),
                "columns": found.schema.names,
                "optional": list(found.optional),
            }
            for name, found in contents.datasets.items()
            if found.keys
        },
        "tables": list(contents.all_tables()),
        "views": list(contents.views),
    }
