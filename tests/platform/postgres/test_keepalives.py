"""Connections notice when the other side is gone."""

from __future__ import annotations

import psycopg2
import sqlalchemy as sa

from tippers_dagster.platform.dagster.environment import dagster_environment
from tippers_dagster.platform.postgres.keepalives import KEEPALIVES, with_keepalives
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings


def test_urls_get_missing_parameters_and_keep_their_own() -> None:
    url = with_keepalives("postgresql+psycopg2://u:p%2F@db:5432/dagster?keepalives_idle=5")
    assert url.startswith("postgresql+psycopg2://u:p%2F@db:5432/dagster?keepalives_idle=5&")
    assert with_keepalives(url) == url
    assert all(f"{name}=" in url for name in KEEPALIVES)


def test_connections_of_the_warehouse_and_dagster_have_keepalives(stack: Settings) -> None:
    with warehouse_engine(stack).connect() as connection:
        parameters = connection.connection.driver_connection.get_dsn_parameters()
    assert {name: parameters[name] for name in KEEPALIVES} == {
        name: str(value) for name, value in KEEPALIVES.items()
    }
    url = dagster_environment(stack)["TIPPERS_DAGSTER_URL"]
    assert url == with_keepalives(url)
    with sa.create_engine(url).connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
    psycopg2.connect(url.replace("+psycopg2", "")).close()
