"""Runs dbt to parse a project."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from tippers_dagster.platform.forking.forking import fork, prepare
from tippers_dagster.platform.redaction import redact
from tippers_dagster.settings import Settings
from tippers_dagster.sql.duckdb.sandbox import Contents, Sandbox, sandbox
from tippers_dagster.sql.environment import dbt_environment
from tippers_dagster.sql.templates import DBT

_LOG = {"DBT_LOG_LEVEL_FILE": "none", "DBT_LOG_FORMAT": "json"}

_PARSE_SECONDS = 600


class Parser(Protocol):
    """Lets dbt parse a project. Use :func:`dbt_parser`."""

    def parse(self) -> str | None:
        """Parse the project; returns dbt's error message, or None if it succeeded."""


@contextmanager
def dbt_parser(settings: Settings, folder: Path) -> Iterator[Parser]:
    """A parser for the project in a folder, which need not exist yet.

    With DuckDB it also compiles the staging models: previews need their SQL, and no dbt.
    """
    environment = {**dbt_environment(settings, folder, folder / "target"), **_LOG}
    if settings.sql_engine == "duckdb":
        with sandbox(
            settings,
            Contents(),
            statement_seconds=_PARSE_SECONDS,
            environment=environment,
            dbt=True,
        ) as box:
            yield _LakeParser(settings, box)
        return
    prepare(DBT)
    yield _WarehouseParser(settings, folder, environment)


class _LakeParser:
    def __init__(self, settings: Settings, box: Sandbox) -> None:
        self._settings, self._box = settings, box

    def parse(self) -> str | None:
        request = {"dbt": ["compile", "--quiet", "--select", "path:models/staging"]}
        before = len(self._box.output())
        self._box.send(request)
        if self._box.dbt_answer(_PARSE_SECONDS)["success"]:
            return None
        output = self._box.output()[before:]
        return redact(_errors(output) or output[-2000:], self._settings)


class _WarehouseParser:
    def __init__(self, settings: Settings, folder: Path, environment: dict[str, str]) -> None:
        self._settings, self._folder, self._environment = settings, folder, environment

    def parse(self) -> str | None:
        process = fork(DBT, self._folder.parent, self._environment, arguments=["parse"])
        assert process.stdout is not None
        with process.stdin, process.stdout:
            output = process.stdout.read()
        if process.wait() == 0:
            return None
        return redact(_errors(output) or output[-2000:], self._settings)


def _errors(output: str) -> str:
    """The error messages in dbt's log."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    errors = [line["info"]["msg"] for line in lines if line["info"]["level"] == "error"]
    text = "\n".join(errors).replace("Encountered an error:\n", "")
    return re.sub(r"\x1b\[[0-9;]*m", "", text).strip()
