"""People on the occupancy page, and the page for people counts, as rendered."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from streamlit_app.services import people as service
from streamlit_app.services.app import App
from streamlit_app.services.occupancy.window import Window
from tests.streamlit_app.conftest import FIRST, UNTIL
from tests.streamlit_app.views.test_occupancy import building, metrics, opened, texts
from tests.streamlit_app.views.test_occupancy_by_label import label
from tippers_dagster.access.model import NotAllowed, Role
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.catalog.kinds import PeopleCount
from tippers_dagster.errors import BadInput
from tippers_dagster.people.counts.head_counts import read_head_counts
from tippers_dagster.people.counts.reading import read_people
from tippers_dagster.people.counts.work import calibrate_people, write_calibrated

PHONES = PeopleCount(by="device.type", labels=("PHONE",), ratio="constant")
WINDOW = {"from_": FIRST.isoformat(), "to": UNTIL.isoformat(), "bin": "3600"}


def page(app):  # type: ignore[no-untyped-def]  # its text is run without these imports
    from streamlit_app.ui.messages import show_errors
    from streamlit_app.views import people_counts

    with show_errors():
        people_counts.render(app)


def counts_page(app: App) -> AppTest:
    test = AppTest.from_function(page, args=(app,), default_timeout=60).run()
    assert not test.exception, test.exception
    return test


def make(app: App, body: PeopleCount = PHONES) -> None:
    """Calibrate the project's own people count, as its asset does."""
    made = calibrate_people(app.settings, body)
    write_calibrated(app.settings, "phones", "1", "run", made)


def head_counts(app: App, days: int = 10) -> bytes:
    """Known people, and two for each other phone, at every other hour of the first days."""
    _, hall = building(app)
    make(app)
    until = FIRST + dt.timedelta(days)
    found = read_people(hall, FIRST, until, 3600, "phones", settings=app.settings).to_pylist()
    rows = [
        (row["interval_begin_time"].isoformat(), row["people_known"] + 2 * row["devices_counted"])
        for row in found[::2]
    ]
    rows = [f"{hall},{time},{people},3600" for time, people in rows]
    return "\n".join(["space_id,time,people,interval_seconds", *rows]).encode()


def test_before_anything_is_computed_the_page_says_so(campus_app: App) -> None:
    _, hall = building(campus_app)
    test = opened(campus_app, space=hall, view="people")
    assert "phones: not materialised yet" in test.info[0].value
    assert "phones: not materialised yet" in counts_page(campus_app).info[0].value


def test_each_phone_is_a_person_until_there_are_head_counts(campus_app: App) -> None:
    label(campus_app)
    make(campus_app)
    _, hall = building(campus_app)
    test = opened(campus_app, space=hall, view="people", **WINDOW)
    assert metrics(test)["Calibration"] == "none"
    assert "Not calibrated" in texts(test)
    assert "Each device with these labels counts as one person" in texts(test)
    found = read_people(hall, FIRST, UNTIL, 3600, "phones", settings=campus_app.settings)
    peak = max(n for n in found["people"].to_pylist() if n is not None)
    assert metrics(test)["Peak, people"] == f"{peak:,.0f}"
    page_ = counts_page(campus_app)
    assert "Not calibrated" in texts(page_)
    assert "There are no head counts yet" in texts(page_)


def test_head_counts_make_a_calibration(campus_app: App) -> None:
    label(campus_app)
    content = head_counts(campus_app)
    given = service.preview_file(campus_app, "heads.csv", content)
    assert given.usable.num_rows == given.rows == 120
    assert read_head_counts(campus_app.settings).num_rows == 0
    done = service.import_file(campus_app, "heads.csv", content)
    assert (done.new, done.rejected.total()) == (120, 0)
    make(campus_app)
    _, hall = building(campus_app)
    test = opened(campus_app, space=hall, view="people", **WINDOW)
    assert "Calibrated on 120 head counts from 10 days in 1 space." in texts(test).replace("\\", "")
    assert metrics(test)["Typical error"] == "±0.0 people"
    assert float(metrics(test)["Mean, people"].replace(",", "")) > 0
    page_ = counts_page(campus_app)
    assert "Within the interval" in metrics(page_)
    (table,) = (d.value for d in page_.dataframe)
    assert table["Head counts"].tolist() == [120]
    assert "2.00 to 2.00 people per device" in texts(page_)


def test_points_are_means_of_the_estimates(campus_app: App) -> None:
    label(campus_app)
    make(campus_app)
    _, hall = building(campus_app)
    start = dt.datetime.combine(FIRST, dt.time())
    window = Window(start, start + dt.timedelta(21))  # the third week is not computed
    made = service.people_counts(campus_app.settings)["phones"]
    assert made is not None
    found = service.people_in_space(campus_app.settings, hall, window, 900, made)
    frame, bins_per_point = service.points(found, 300)
    assert bins_per_point == 8
    people = frame[frame["name"] == "people"]
    means = found.estimate[:1344].reshape(-1, 8).mean(axis=1)
    assert np.allclose(people["mean"][:168], means)
    assert people["mean"][168:].isna().all()
    assert (people["low"][:168] <= people["mean"][:168] + 1e-9).all()
    assert (people["mean"][:168] <= people["high"][:168] + 1e-9).all()


def test_only_analysts_import_and_remove(
    campus_app: App, as_role: Callable[[App, Role], App]
) -> None:
    viewer, analyst = (as_role(campus_app, role) for role in (Role.VIEWER, Role.ANALYST))
    room = load_tree(campus_app.settings).ids[-1]
    content = f"space_id,time,people\n{room},{FIRST}T10:00,3\n{room},{FIRST}T11:00,x\n".encode()
    for refused in (
        lambda: service.preview_file(viewer, "a.csv", content),
        lambda: service.import_file(viewer, "a.csv", content),
        lambda: service.remove_head_counts(viewer),
    ):
        with pytest.raises(NotAllowed):
            refused()
    assert "Importing head counts needs the analyst role" in texts(counts_page(viewer))
    assert service.import_file(analyst, "../../a.csv", content).new == 1
    with pytest.raises(BadInput, match="No row of this file"):
        service.import_file(analyst, "a.csv", b"space_id,time,people\nx,y,z\n")
    assert service.remove_head_counts(analyst, room) == 1


def test_a_download_has_every_bin(campus_app: App) -> None:
    label(campus_app)
    make(campus_app)
    _, hall = building(campus_app)
    start = dt.datetime.combine(FIRST, dt.time())
    window = Window(start, start + dt.timedelta(1))
    text = service.export(campus_app, hall, window, 3600, "phones", "csv").decode()
    lines = text.splitlines()
    assert lines[0].split(",")[-3:] == ["people", "people_low", "people_high"]
    assert len(lines) == 25
