"""What dbt needs in its environment, and the variables of the dbt project.

dbt logs in as the builder, whose password is the only secret it has. It is in the environment
only: ``profiles.yml`` reads it from there, and no file of a rendered project holds one.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from psycopg2.extensions import parse_dsn

from tippers_dagster.platform.redaction import redact
from tippers_dagster.settings import SESSION_COLUMNS, SPACE_COLUMNS, Settings
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
"""What else a URL may say; libpq reads it from these, whatever dbt's profile knows."""


def dbt_command() -> list[str]:
    """dbt's command line, with the Python that runs now."""
    return [sys.executable, "-c", "from dbt.cli.main import cli; cli(prog_name='dbt')"]


GONE_MS = 2000
"""How often the server looks whether the dbt that asked is still there; from PostgreSQL 14 on."""


_NOT_DBTS = re.compile(r"^(TIPPERS|AWS|MLFLOW|MINIO)_|PASS|SECRET|TOKEN|CREDENTIAL|KEYS?$")
"""Names of variables that are not passed on to dbt."""


def dbt_environment(settings: Settings, folder: Path, target: Path) -> dict[str, str]:
    """The whole environment with which dbt works on the project in ``folder``.

    dbt gets this process's variables without secrets, and those named DBT_.... Starts the
    database; call ``ensure_roles`` to create the builder, as which dbt logs in.

    Parameters
    ----------
    settings
        Where the warehouse is.
    folder
        The project, with its profiles.
    target
        Where dbt puts what it makes, absolute; its log goes there too.
    """
    return {
        **_passed_on(settings),
        **_connection(builder_url(settings)),
        "DBT_PROJECT_DIR": str(folder),
        "DBT_PROFILES_DIR": str(folder),
        "DBT_TARGET_PATH": str(target),
        "DBT_LOG_PATH": str(target),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "PGOPTIONS": _options(settings),
        # Models may say now() and count local days: both must not depend on the shell.
        "PGTZ": "UTC",
    }


def _passed_on(settings: Settings) -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith("DBT_")
        or (not _NOT_DBTS.search(name) and redact(value, settings) == value)
    }


def _connection(url: str) -> dict[str, str]:
    found = {name: str(value) for name, value in parse_dsn(url).items()}
    return {
        **{variable: found.get(n, _DEFAULTS[n]) for n, variable in _VARIABLES.items()},
        **{variable: found[name] for name, variable in _LIBPQ.items() if name in found},
    }


def connection_name(settings: Settings) -> str:
    """Where the warehouse is, without the password: dbt reads a project anew when it differs."""
    found = _connection(builder_url(settings))
    return " ".join(found[variable] for n, variable in _VARIABLES.items() if n != "password")


def _options(settings: Settings) -> str:
    """Every statement of dbt stops at the limit, hooks and tests included, or when dbt is gone."""
    limit = (
        f"-c statement_timeout={settings.model_timeout_seconds * 1000} "
        f"-c client_connection_check_interval={GONE_MS}"
    )
    return f"{os.environ.get('PGOPTIONS', '')} {limit}".strip()


def dbt_variables(settings: Settings) -> dict[str, Any]:
    """The variables of the dbt project that the settings decide. Holds no secret."""
    return {
        "source_schema": source_schema(settings),
        "timezone": settings.timezone,
        "session_table": settings.session_table,
        "space_table": settings.space_table,
        "space_metadata_table": settings.space_metadata_table,
        "faculty_table": settings.faculty_table,
        "coverage_table": settings.coverage_table,
        "session_columns": {name: settings.session_column(name) for name in SESSION_COLUMNS},
        "space_columns": {name: settings.space_column(name) for name in SPACE_COLUMNS},
        "open_session_seconds": settings.open_session_seconds,
        "longest_session_seconds": settings.longest_session_seconds,
        "earliest_time": settings.earliest_time.isoformat(sep=" "),
        "latest_time": settings.latest_time and settings.latest_time.isoformat(sep=" "),
    }


def source_schema(settings: Settings) -> str:
    """The schema in which dbt finds the source tables.

    Tables of another database are synced into the warehouse first, by the connection ``source``.
    """
    return settings.source_schema if settings.source_url is None else "connection_source"
