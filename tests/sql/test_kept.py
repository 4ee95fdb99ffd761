"""What a log keeps, read by rules on both engines."""

from __future__ import annotations

import datetime as dt
import re

import pytest

from tests.conftest import REPOSITORY
from tests.dbt_project.lake import extract_log
from tests.occupancy import campus
from tests.occupancy.campus import Seen
from tests.sql.definitions import DEVICE, DEVICES, MACS, rule
from tests.sql.test_assets import Deployment
from tippers_dagster.automation.nodes import wanted_versions
from tippers_dagster.automation.tokens import check_sources
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.platform.warehouse.engine import read_arrow, warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.differences import refuse_differences

SIGNAL = """
    SELECT mac_address, max(json_extract_path_text(kept::json, 'rssi')::double precision) AS best,
        count(kept) AS sessions
    FROM user_ap_trajectory WHERE mac_address IN (:index_values) GROUP BY mac_address
"""


def example() -> str:
    """The rule in the documentation."""
    page = (REPOSITORY / "docs" / "definitions.md").read_text()
    section = page.partition("### What a log keeps")[2]
    found = re.search(r"```sql\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found[1]


def seen(mac: str, day: int, hours: int) -> Seen:
    start = dt.datetime(2025, 1, day, 9)
    return Seen(mac, "r1", start, start + dt.timedelta(hours=hours))


def keep(settings: Settings, mac: str, day: int, values: str | None) -> None:
    campus.change(
        settings,
        "UPDATE source.user_ap_trajectory SET kept = %s "
        "WHERE mac_address = %s AND start_time::date = %s",
        *(values, mac, dt.date(2025, 1, day)),
    )


def extract(settings: Settings) -> None:
    extract_log(settings, space=None, start=dt.date(2025, 1, 6), end=dt.date(2025, 1, 20))


def rows(settings: Settings, name: str) -> dict[str, tuple[object, ...]]:
    found = read_arrow(settings, f"SELECT * FROM rules.device__{name}").to_pylist()
    return {row.pop("mac_address"): tuple(row.values()) for row in found}


@pytest.mark.slow
def test_rules_read_what_a_log_keeps(on_engine: Settings) -> None:
    settings = on_engine
    one, two, three = MACS[:3]
    sessions = [(one, 6, 3), (one, 7, 1), (two, 6, 1), (two, 13, 1), (three, 14, 1)]
    campus.fill(settings, {"hall": None, "r1": "hall"}, [seen(*session) for session in sessions])
    extract(settings)
    first = rule(example(), name="network")
    refuse_differences(example())
    deployment = Deployment(
        settings, Catalog((DEVICE, DEVICES, first, rule(SIGNAL, name="signal")))
    )
    assert deployment.materialize().success
    assert rows(settings, "network") == {one: (0.0, 0), two: (0.0, 0), three: (0.0, 0)}
    assert rows(settings, "signal") == {one: (None, 0), two: (None, 0), three: (None, 0)}
    before = deployment.recorded()

    # Only the second week keeps nothing, so its file has no such column.
    keep(settings, one, 6, '{"SSID": "eduroam", "rssi": "-71"}')
    keep(settings, one, 7, '{"SSID": "guests \\"of\\" all", "rssi": "-60.5"}')
    keep(settings, two, 6, '{"rssi": "-50"}')
    extract(settings)
    assert deployment.materialize().success
    assert rows(settings, "network") == {one: (0.75, 2), two: (0.0, 0), three: (0.0, 0)}
    assert rows(settings, "signal") == {one: (-60.5, 2), two: (-50.0, 1), three: (None, 0)}
    recorded = deployment.recorded()
    assert all(recorded[name] != before[name] for name in ("device/network", "device/signal"))


@pytest.mark.slow
@pytest.mark.second_engine
def test_views_of_before_gain_the_column_and_nothing_else_is_computed(bare: Settings) -> None:
    """On PostgreSQL; DuckDB makes its views in each run."""
    settings = bare
    campus.fill(settings, {"hall": None, "r1": "hall"}, [seen(MACS[0], 6, 1)])
    extract(settings)
    plain = (
        "SELECT mac_address, count(*) AS n FROM int_sessions "
        "WHERE mac_address IN (:index_values) GROUP BY 1"
    )
    deployment = Deployment(settings, Catalog((DEVICE, DEVICES, rule(plain, name="plain"))))
    assert deployment.materialize().success
    _as_before(settings)
    tokens = check_sources(settings, deployment.nodes, at_once=True)
    wanted = {"/".join(k): v for k, v in wanted_versions(deployment.nodes, tokens).items()}
    recorded = deployment.recorded()
    views = {"staging/int_sessions", "staging/stg_user_ap_trajectory"}
    assert {name for name in recorded if recorded[name] != wanted[name]} == views

    # Rules do without the new views; these replace those that others read.
    assert deployment.materialize("device/plain").success
    assert deployment.materialize(*views).success
    for view in ("int_sessions", "stg_user_ap_trajectory"):
        found = read_arrow(settings, f"SELECT * FROM staging.{view}")
        assert (found.num_rows, found.column_names[-1]) == (1, "kept")
    assert read_arrow(settings, "SELECT * FROM staging.mine").num_rows == 1
    assert all(deployment.recorded()[name] == wanted[name] for name in recorded)


def _as_before(settings: Settings) -> None:
    """Views, the log's table and records as versions without the column have made them."""
    with warehouse_engine(settings).begin() as connection:
        for view in ("int_sessions", "stg_user_ap_trajectory"):
            place = f"staging.{view}"
            sql, owner = connection.exec_driver_sql(
                "SELECT pg_get_viewdef(oid), relowner::regrole FROM pg_class "
                f"WHERE oid = '{place}'::regclass"
            ).one()
            connection.exec_driver_sql(f"DROP VIEW {place}")
            before = sql.replace(",\n    sessions.kept", "")
            assert before != sql
            connection.exec_driver_sql(f"CREATE VIEW {place} AS {before}")
            connection.exec_driver_sql(f"ALTER VIEW {place} OWNER TO {owner}")
        connection.exec_driver_sql("CREATE VIEW staging.mine AS SELECT * FROM staging.int_sessions")
        connection.exec_driver_sql("ALTER TABLE log.sessions DROP COLUMN kept")
        connection.exec_driver_sql(
            "UPDATE tippers.asset_state SET version = split_part(version, '+', 1)"
        )
