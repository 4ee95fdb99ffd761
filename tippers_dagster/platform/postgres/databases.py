"""URLs of the four databases: from the settings, or on the embedded server."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pydantic import SecretStr

from tippers_dagster.errors import SettingsError
from tippers_dagster.platform.home import private_home
from tippers_dagster.platform.postgres.embedded import ADMINISTRATOR, start_embedded
from tippers_dagster.platform.postgres.keepalives import with_keepalives
from tippers_dagster.settings import Settings


@dataclass(frozen=True)
class Databases:
    """libpq connection URLs (``postgresql://...``). Never print one: it may contain a password.

    ``mlflow`` is ``None`` without the embedded server: there is an MLflow server then.
    ``administrator`` is the warehouse as the embedded server's superuser; ``None`` when the
    warehouse is on another server.
    """

    warehouse: str
    source: str
    dagster: str
    mlflow: str | None
    administrator: str | None = None

    def __repr__(self) -> str:
        return "Databases(...)"


@lru_cache(maxsize=4)
def databases(settings: Settings) -> Databases:
    """The connection URLs; starts the embedded server when the settings need it.

    Every process that stores something calls this, so it also makes the home private.
    """
    home = private_home(settings.home_path)
    server = None
    if settings.database_url is None or settings.dagster_url is None:
        server = start_embedded(home)

    def url(setting: SecretStr | None, database: str) -> str:
        if setting is not None:
            return libpq_url(setting.get_secret_value())
        assert server is not None
        return server.url(database)

    warehouse = url(settings.database_url, "tippers")
    return Databases(
        warehouse=warehouse,
        source=warehouse if settings.source_url is None else url(settings.source_url, ""),
        dagster=with_keepalives(url(settings.dagster_url, "dagster")),
        mlflow=None if server is None else server.url("mlflow"),
        administrator=(
            server.url("tippers", ADMINISTRATOR)
            if server is not None and settings.database_url is None
            else None
        ),
    )


def libpq_url(url: str) -> str:
    """The URL without the SQLAlchemy driver name that ``dagster.yaml`` needs.

    Raises
    ------
    SettingsError
        When it is not a PostgreSQL URL. The message does not show it.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.split("+")[0] not in ("postgresql", "postgres"):
        raise SettingsError(
            "A database URL does not start with postgresql://.",
            "Fix TIPPERS_DATABASE_URL, TIPPERS_SOURCE_URL, TIPPERS_DAGSTER_URL, "
            "TIPPERS_BUILDER_URL or TIPPERS_READER_URL. Format: "
            "postgresql://user:password@host:5432/database",
        )
    return f"postgresql://{rest}"
