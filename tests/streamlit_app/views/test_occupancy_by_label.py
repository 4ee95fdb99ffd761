"""Occupancy by label as people see it."""

from __future__ import annotations

import datetime as dt

import numpy as np
import sqlalchemy as sa

from streamlit_app.services.app import App
from streamlit_app.services.labelled import split
from streamlit_app.services.occupancy import Window
from tests.streamlit_app.conftest import FIRST, UNTIL
from tests.streamlit_app.views.test_occupancy import building, opened, texts
from tippers_dagster.occupancy.reading import read_occupancy
from tippers_dagster.warehouse.engine import warehouse_engine

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
    whole = read_occupancy(hall, FIRST, UNTIL, 3600, settings=campus_app.settings)
    counts = whole["number_connections"].to_numpy()
    assert abs(table["Mean, devices"].sum() - counts.mean()) < 1e-9
    assert abs(table["Share"].sum() - 1) < 1e-9
    assert "on average" in texts(test)
    assert "device.type".replace(".", "\\.") in texts(test)


def test_points_of_a_long_window_are_means(campus_app: App) -> None:
    label(campus_app)
    _, hall = building(campus_app)
    start = dt.datetime.combine(FIRST, dt.time())
    window = Window(start, start + dt.timedelta(21))  # the third week is not computed
    found = split(campus_app.settings, hall, window, 900, "device.type")
    assert found.together == 7
    points = found.points.to_pandas()
    for number, (name, of_label) in enumerate(points.groupby("part", sort=False)):
        assert name == found.names[number]
        counts = found.found.counts[number, :1344].reshape(-1, 7)
        assert np.allclose(of_label["count"][:192], counts.mean(axis=1))
        assert of_label["count"][192:].isna().all()
        assert (np.diff(of_label["time"]) == 7 * 900_000).all()
