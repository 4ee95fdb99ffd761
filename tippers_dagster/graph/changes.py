"""Detects changes of the definitions since they were loaded."""

from __future__ import annotations

import os
from pathlib import Path

import sqlalchemy as sa

from tippers_dagster.automation.nodes import digest
from tippers_dagster.catalog.handwritten import project_source
from tippers_dagster.errors import SettingsError
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

_IGNORED = {"target", "logs", "dbt_packages", "__pycache__"}


def definitions_stamp(settings: Settings) -> str:
    """A text that differs whenever a saved definition or a project file differs.

    It takes some milliseconds: one query of the table, and the times and sizes of the files.
    """
    # Hashes the whole rows, since a row that was changed by hand has no new version.
    query = sa.text(
        "SELECT md5(coalesce(string_agg(md5(d::text), '' ORDER BY id), '')) "
        "FROM tippers.definition d"
    )
    with warehouse_engine(settings).connect() as connection:
        saved = connection.execute(query).scalar_one()
    return digest(saved, *_files(settings))


def _files(settings: Settings) -> list[str]:
    try:
        project = project_source(settings)
    except SettingsError as error:
        return [error.message]
    found = []
    for folder, folders, names in os.walk(project):
        folders[:] = sorted(n for n in folders if n not in _IGNORED and not n.startswith("."))
        for name in sorted(names):
            stat = Path(folder, name).stat()
            found.append(f"{folder}/{name} {stat.st_mtime_ns} {stat.st_size}")
    return found
