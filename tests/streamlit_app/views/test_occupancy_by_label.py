"""Occupancy by label as people see it."""

from __future__ import annotations

import datetime as dt
import io

import numpy as np
import pyarrow.parquet as pq
import sqlalchemy as sa

from streamlit_app.services.app import App
from streamlit_app.services.labelled import Source, parts, sources, split
from streamlit_app.services.occupancy.computed import Log, log_span
from streamlit_app.services.occupancy.export import export
from streamlit_app.services.occupancy.series import series
from streamlit_app.services.occupancy.window import Window
from tests.streamlit_app.conftest import FIRST, UNTIL
from tests.streamlit_app.views.test_occupancy import building, opened, texts
from tippers_dagster.platform.warehouse.engine import warehouse_engine

LABELS = """CREATE TABLE labels.device__type AS
SELECT mac_address, CASE WHEN n % 3 = 0 THEN NULL WHEN n % 3 = 1 THEN 'PHONE' ELSE 'LAPTOP' END
    AS label, 0.5 AS p_laptop, 0.5 AS p_phone
FROM (SELECT mac_address, row_number() OVER (ORDER BY mac_address) AS n
    FROM source.user_ap_trajectory WHERE mac_address IS NOT NULL GROUP BY mac_address) AS devices"""


def label(app: App) -> None:
    with warehouse_engine(app.settings).begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS labels"))
        connection.execute(sa.text(LABELS))


def test_without_labels_it_says_what_to_do(campus_app: App) -> None:
    _, hall = building(campus_app)
    test = opened(campus_app, space=hall, view="labels")
    assert "No label model has labelled devices yet" in test.info[0].value


def test_the_parts_are_shown_with_their_numbers(campus_app: App) -> None:
    label(campus_app)
    _, hall = building(campus_app)
    window = {"from_": FIRST.isoformat(), "to": UNTIL.isoformat(), "bin": "3600"}
    test = opened(campus_app, space=hall, view="labels", **window)
    (table,) = (d.value for d in test.dataframe)
    assert table["Label"].tolist() == ["LAPTOP", "PHONE", "unlabelled"]
    start, end = (dt.datetime.combine(day, dt.time()) for day in (FIRST, UNTIL))
    settings = campus_app.settings
    (whole,) = series(settings, [hall], Window(start, end), 3600, log_span(settings))
    assert whole.figures.mean is not None
    assert abs(table["Mean, devices"].sum() - whole.figures.mean) < 1e-9
    assert abs(table["Share"].sum() - 1) < 1e-9
    assert "on average" in texts(test)
    assert "device.type".replace(".", "\\.") in texts(test)


def test_points_of_a_long_window_are_means(campus_app: App) -> None:
    label(campus_app)
    _, hall = building(campus_app)
    start = dt.datetime.combine(FIRST, dt.time())
    window = Window(start, start + dt.timedelta(21))  # the third week is not computed
    found = split(campus_app.settings, hall, window, 900, "device.type")
    assert list(found) == ["LAPTOP", "PHONE", "unlabelled"]
    for of_label in found.values():
        drawn = of_label.points(300)
        assert drawn.bins_per_point == 8  # two hours, so every point covers a same part of the day
        points = drawn.table.to_pandas()
        counts = of_label.counts[:1344].reshape(-1, 8)
        assert np.allclose(points["mean"][:168], counts.mean(axis=1))
        assert points["mean"][168:].isna().all()
        assert (np.diff(points["time"]) == 8 * 900_000).all()


def test_bins_outside_the_log_are_not_computed(campus_app: App) -> None:
    label(campus_app)
    _, hall = building(campus_app)
    start = dt.datetime.combine(FIRST, dt.time())
    noon = dt.datetime.combine(FIRST, dt.time(12))
    window = Window(start, start + dt.timedelta(1))
    found = split(campus_app.settings, hall, window, 3600, "device.type", Log(noon, noon))
    assert all(
        of_label.computed.tolist() == [False] * 12 + [True] + [False] * 11
        for of_label in found.values()
    )
    assert {p.label for p in parts(found)} == set(found)


def test_the_parts_are_downloaded(campus_app: App) -> None:
    label(campus_app)
    _, hall = building(campus_app)
    days = Window(dt.datetime.combine(FIRST, dt.time()), dt.datetime.combine(FIRST, dt.time(12)))
    file = export(campus_app, hall, days, 3600, "parquet", "device.type")
    table = pq.read_table(io.BytesIO(file))
    shown = split(
        campus_app.settings, hall, days, 3600, "device.type", log_span(campus_app.settings)
    )
    assert table.column_names[2:] == [*shown, "number_connections"]
    for name, found in shown.items():
        expected = [c if k else None for c, k in zip(found.counts, found.computed, strict=True)]
        assert table[name].to_pylist() == expected


def test_whatever_labels_devices_is_offered(campus_app: App) -> None:
    label(campus_app)
    with warehouse_engine(campus_app.settings).begin() as connection:
        connection.execute(
            sa.text("CREATE TABLE labels.device__device_type AS TABLE labels.device__type")
        )
        connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS predictions"))
        connection.execute(
            sa.text("CREATE TABLE predictions.device__learned AS TABLE labels.device__type")
        )
    found = sources(campus_app.settings)
    # What the project's labelled occupancy publishes comes first; two have no definition.
    assert found[0] == Source("device.device_type", "label model", ("device_type",))
    assert found[0].asset == "labelled_occupancy/device_type"
    assert {(s.by, s.kind, s.asset) for s in found[1:]} == {
        ("device.learned", "labels", "device/learned"),
        ("device.type", "labels", "device/type"),
    }
    _, hall = building(campus_app)
    window = {"from_": FIRST.isoformat(), "to": UNTIL.isoformat(), "bin": "3600"}
    test = opened(campus_app, space=hall, view="labels", model="device.learned", **window)
    assert "device.learned" in texts(test).replace("\\", "")
    assert test.selectbox(key="occupancy_label_model").options[0].startswith("device.device_type (")
