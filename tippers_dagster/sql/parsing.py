"""Runs dbt to parse a project."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tippers_dagster.platform.redaction import redact
from tippers_dagster.settings import Settings
from tippers_dagster.sql.environment import dbt_environment

_CODE = "import sys; from dbt.cli.main import cli; sys.stdin.readline(); cli(prog_name='dbt')"
"""Importing dbt takes two seconds, in which the project can be written."""


@contextmanager
def dbt_parser(settings: Settings, folder: Path) -> Iterator[Parser]:
    """A parser for the project in a folder, which need not exist yet."""
    parser = Parser(settings, folder)
    try:
        yield parser
    finally:
        parser.stop()


class Parser:
    """A dbt process, started before there is anything to parse. Use :func:`dbt_parser`."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._waiting: subprocess.Popen[str] | None = self._start()

    def parse(self) -> str | None:
        """Parse the project; returns dbt's error message, or None if it succeeded."""
        process = self._waiting or self._start()
        self._waiting = None
        output, errors = process.communicate("go\n")
        if process.returncode == 0:
            return None
        return redact(_errors(output) or errors[-2000:], self._settings)

    def stop(self) -> None:
        """End a dbt process that has not been used."""
        if self._waiting is not None:
            self._waiting.kill()
            self._waiting.communicate()

    def _start(self) -> subprocess.Popen[str]:
        environment = {
            **dbt_environment(self._settings, self._folder, self._folder / "target"),
            "DBT_LOG_LEVEL_FILE": "none",
            "DBT_LOG_FORMAT": "json",
        }
        return subprocess.Popen(
            [sys.executable, "-c", _CODE, "parse"],
            cwd=self._folder.parent,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def _errors(output: str) -> str:
    """The error messages in dbt's log."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    errors = [line["info"]["msg"] for line in lines if line["info"]["level"] == "error"]
    text = "\n".join(errors).replace("Encountered an error:\n", "")
    return re.sub(r"\x1b\[[0-9;]*m", "", text).strip()
