"""Migrates the warehouse's tables, with Alembic."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import sqlalchemy as sa

from tippers_dagster.errors import TippersError
from tippers_dagster.platform.warehouse.metadata import SCHEMA

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 0x7469_7070_6572_7301
"""Advisory lock: one process migrates while the others wait."""


@lru_cache(maxsize=1)
def newest_revision() -> str:
    """The revision that this version needs; revisions are files ``NNNN_name.py``."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def current_revision(connection: sa.Connection) -> str | None:
    """The revision of a warehouse; None when it has no tables of tippers."""
    if connection.scalar(sa.text("SELECT to_regclass(:t)"), {"t": f"{SCHEMA}.alembic_version"}):
        return connection.scalar(sa.text(f"SELECT version_num FROM {SCHEMA}.alembic_version"))
    return None


def migrate(engine: sa.Engine) -> None:
    """Create or upgrade the tables of schema ``tippers``. Many processes may call it at once.

    Raises
    ------
    TippersError
        When the warehouse was migrated by a newer version.
    """
    with engine.connect() as connection:
        if current_revision(connection) == newest_revision():
            return
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        current = current_revision(connection)
        if current == newest_revision():
            return
        if current is not None and current > newest_revision():
            raise TippersError(
                f"The warehouse has revision {current}, of a newer version of tippers; this "
                f"version knows {newest_revision()}.",
                "Upgrade tippers on this machine, too.",
            )
        upgrade_to(connection)


def upgrade_to(connection: sa.Connection, revision: str = "head") -> None:
    """Create the tables, or upgrade them, up to a revision, within the caller's transaction."""
    from alembic.command import upgrade
    from alembic.config import Config

    connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    upgrade(config, revision)
