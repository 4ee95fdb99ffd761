"""dbt's environment variables, and the variables of the dbt project.

With DuckDB, dbt needs no connection and gets no secret. With PostgreSQL it logs in as the builder,
whose password is passed only in the environment: ``profiles.yml`` reads it from there, so no file
of a rendered project contains it.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from psycopg2.extensions import parse_dsn

from tippers_dagster.platform.redaction import redact
from tippers_dagster.settings import SPACE_COLUMNS, Settings
from tippers_dagster.sql.names import source_schema
from tippers_dagster.sql.roles import BUILDER, builder_url

_VARIABLES = {
    "host": "TIPPERS_DBT_HOST",
    "port": "TIPPERS_DBT_PORT",
    "user": "TIPPERS_DBT_USER",
    "password": "TIPPERS_DBT_PASSWORD",
    "dbname": "TIPPERS_DBT_DATABASE",
}
_DEFAULTS = {"host": "localhost", "port": "5432", "user": BUILDER, "password": "", "dbname": ""}

_LIBPQ = {
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "channel_binding": "PGCHANNELBINDING",
    "gssencmode": "PGGSSENCMODE",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}
"""Other parts of a URL: libpq reads them from these variables, without dbt's profile."""


def dbt_command() -> list[str]:
    """dbt's command line, run with the current Python."""
    return [sys.executable, "-c", "from dbt.cli.main import cli; cli(prog_name='dbt')"]


CONNECTION_CHECK_MS = 2000
"""How often the server checks that the dbt client is still connected (PostgreSQL 14 or later)."""


_NOT_FOR_DBT = re.compile(r"^(TIPPERS|AWS|MLFLOW|MINIO)_|PASS|SECRET|TOKEN|CREDENTIAL|KEYS?$")
"""Environment variables that are not passed on to dbt."""


def dbt_environment(settings: Settings, folder: Path, target: Path) -> dict[str, str]:
    """The complete environment for dbt to work on the project in ``folder``.

    dbt gets this process's variables without secrets, except that all DBT_* variables are passed
    on. With PostgreSQL it starts the database; call ``ensure_roles`` to create the builder role
    that dbt logs in as.

    Parameters
    ----------
    settings
        Where the warehouse is.
    folder
        The project, with its profiles.
    target
        Absolute path of the folder for dbt's output and log.
    """
    return {
        **_passed_on(settings),
        **(_lake() if settings.sql_engine == "duckdb" else _warehouse(settings)),
        "DBT_PROJECT_DIR": str(folder),
        "DBT_PROFILES_DIR": str(folder),
        "DBT_TARGET_PATH": str(target),
        "DBT_LOG_PATH": str(target),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def _lake() -> dict[str, str]:
    return {"TIPPERS_DBT_TARGET": "lake"}


def _warehouse(settings: Settings) -> dict[str, str]:
    return {
        "TIPPERS_DBT_TARGET": "warehouse",
        **_connection(builder_url(settings)),
        "PGOPTIONS": _options(settings),
        # Models may use now() and count local days: neither may depend on the shell's settings.
        "PGTZ": "UTC",
    }


def _passed_on(settings: Settings) -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("DBT_")
        or (not _NOT_FOR_DBT.search(name) and redact(value, settings) == value)
    }


def _connection(url: str) -> dict[str, str]:
    found = {name: str(value) for name, value in parse_dsn(url).items()}
    return {
        **{variable: found.get(n, _DEFAULTS[n]) for n, variable in _VARIABLES.items()},
        **{variable: found[name] for name, variable in _LIBPQ.items() if name in found},
    }


def connection_name(settings: Settings) -> str:
    """Where dbt's tables are, without the password: if it changes, dbt parses the project again."""
    if settings.sql_engine == "duckdb":
        return "lake"
    found = _connection(builder_url(settings))
    return " ".join(found[variable] for n, variable in _VARIABLES.items() if n != "password")


def _options(settings: Settings) -> str:
    """Limit every statement of dbt, hooks and tests included, and stop it if dbt is gone."""
    limit = (
        f"-c statement_timeout={settings.model_timeout_seconds * 1000} "
        f"-c client_connection_check_interval={CONNECTION_CHECK_MS}"
    )
    return f"{os.environ.get('PGOPTIONS', '')} {limit}".strip()


def dbt_variables(settings: Settings) -> dict[str, Any]:
    """The variables of the dbt project that come from the settings. Contains no secret."""
    return {
        "source_schema": source_schema(settings),
        "timezone": settings.timezone,
        "space_table": settings.space_table,
        "space_metadata_table": settings.space_metadata_table,
        "faculty_table": settings.faculty_table,
        "coverage_table": settings.coverage_table,
        "space_columns": {name: settings.space_column(name) for name in SPACE_COLUMNS},
    }
