"""The page that loads a log, as rendered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr
from streamlit.testing.v1 import AppTest

from streamlit_app.services.app import App
from tests.campus.intake.test_log import COVERAGE, SPACES, write
from tests.campus.log.test_preview import RADACCT
from tests.streamlit_app.services.test_log_files import LOST, OPEN
from tests.streamlit_app.views.test_occupancy import metrics, texts
from tippers_dagster.access.model import Role
from tippers_dagster.campus.intake.entries import list_ingests
from tippers_dagster.campus.intake.ingest import ingest_file
from tippers_dagster.campus.intake.log import LOG
from tippers_dagster.platform.postgres.databases import databases

OWN = "when,who,where\n2025-01-07 09:00,aa:bb:cc:dd:ee:f0,12\n2025-01-07 09:05,-,12\n"
HOSTILE = "<script>alert(1)</script> **[x](javascript:y)**.csv"


@pytest.fixture
def app(empty_app: App, tmp_path: Path) -> App:
    for kind, text in (("spaces", SPACES), ("region_to_coverage", COVERAGE)):
        ingest_file(empty_app.settings, kind, write(tmp_path / f"{kind}.csv", text))
    return empty_app


def page(app):  # type: ignore[no-untyped-def]  # its text is run without these imports
    from streamlit_app.ui.messages import show_errors
    from streamlit_app.views import log_files

    with show_errors():
        log_files.render(app)


def opened(app: App) -> AppTest:
    test = AppTest.from_function(page, args=(app,), default_timeout=60).run()
    assert not test.exception, test.exception
    return test


def uploaded(test: AppTest, text: str, name: str = "radacct.csv") -> AppTest:
    test.file_uploader[0].set_value((name, text.encode(), "text/csv")).run()
    assert not test.exception, test.exception
    return test


def box(test: AppTest, label: str):  # type: ignore[no-untyped-def]
    return next(w for w in (*test.multiselect, *test.selectbox) if w.label == label)


def control(test: AppTest, label: str):  # type: ignore[no-untyped-def]
    return next(w for w in test.get("button_group") if w.label == label)


def everything(test: AppTest) -> str:
    tables = "\n".join(frame.value.to_csv() for frame in test.dataframe)
    shown = "\n".join(str(element.value) for element in (*test.success, *test.text_area))
    return "\n".join((texts(test), tables, shown))


def test_a_log_is_uploaded_seen_loaded_and_not_loaded_again(app: App) -> None:
    test = uploaded(opened(app), RADACCT + LOST)
    assert "Read as **FreeRADIUS accounting table radacct**, because it has" in texts(test)
    assert box(test, "Device").value == ["callingstationid"]
    assert "All 7 rows: **3** usable, **4** rejected." in texts(test)
    assert "02:11:22:33:44:09" in everything(test)
    assert not {"kim", "lee"} & set(everything(test).lower().replace("@", ",").split(","))
    test.button(key="log.load").click().run()
    assert not test.exception, test.exception
    assert "was loaded as ingest 3" in test.success[0].value
    assert metrics(test) == {
        "Rows read": "7",
        "Rows rejected": "4",
        "Rows taken": "3",
        "Sessions loaded": "3",
    }
    assert "1 day with sessions: Tue 7 Jan 2025" in texts(test)
    assert "`tippers rejects` lists the rejected rows." in texts(test)
    uploaded(test, RADACCT + LOST)
    assert not test.success
    assert "Loading it again does nothing" in texts(test)
    test.button(key="log.load").click().run()
    assert "Nothing was loaded again" in texts(test)
    uploaded(test, RADACCT + LOST)
    box(test, "User name").set_value([]).run()
    assert "but read in another way" in texts(test)
    assert test.button(key="log.load").label == "Replace ingest 3"
    test.button(key="log.load").click().run()
    assert "as ingest 3, in place of what it had loaded before" in test.success[0].value
    assert len(list_ingests(app.settings, (LOG,))) == 1


def test_columns_are_chosen_where_no_kind_fits(app: App) -> None:
    test = uploaded(opened(app), OWN, "own.csv")
    assert "No known kind of log fits" in texts(test)
    assert "0000-00-00 00:00" in everything(test)
    box(test, "Device").set_value(["who"]).run()
    assert "when was the device there" in texts(test)
    control(test, "Each row is").set_value("An observation").run()
    box(test, "Seen").set_value(["when"]).run()
    box(test, "Space").set_value(["where"]).run()
    assert "All 2 rows: **1** usable, **1** rejected." in texts(test)
    test.button(key="log.load").click().run()
    assert metrics(test)["Sessions loaded"] == "1"


def test_the_mapping_is_edited_as_yaml(app: App) -> None:
    test = uploaded(opened(app), RADACCT)
    control(test, "Edit as").set_value("YAML").run()
    assert "device: callingstationid" in test.text_area[0].value
    text = test.text_area[0].value
    test.text_area[0].set_value("device: [").run()
    assert "invalid YAML" in texts(test)
    test.text_area[0].set_value(text + "where:\n- column: acctsessionid\n  equals: a1\n").run()
    assert "All 6 rows: **1** usable, **1** rejected, 4 left out" in texts(test)
    control(test, "Edit as").set_value("Fields").run()
    assert box(test, "Start").value == ["acctstarttime"]
    assert "The mapping also has `where`" in texts(test)
    assert "4 left out" in texts(test)
    test.button(key="log.load").click().run()
    assert metrics(test) == {
        "Rows read": "6",
        "Rows left out": "4",
        "Rows rejected": "1",
        "Rows taken": "1",
        "Sessions loaded": "1",
    }


def test_another_kind_or_an_open_order_is_explained(app: App) -> None:
    test = uploaded(opened(app), RADACCT)
    box(test, "Kind of log").set_value("smartspec").run()
    assert "is no log of the preset smartspec" in texts(test).replace("\\", "")
    assert "Choose another kind of log, or None of these" in texts(test).replace("\\", "")
    box(test, "Kind of log").set_value("").run()
    assert box(test, "Device").value == []
    uploaded(test, OPEN, "open.csv")
    assert "Choose the order of day and month" in texts(test)
    box(test, "Order of day and month").set_value("month first").run()
    assert "All 1 row: **1** usable" in texts(test)


def test_an_encoding_is_chosen(app: App) -> None:
    test = opened(app)
    content = OWN.replace("where", "räum").encode("latin-1")
    test.file_uploader[0].set_value(("own.csv", content, "text/csv")).run()
    assert "UTF-8" in test.error[0].value.replace("\\", "")
    box(test, "Encoding").set_value("latin-1").run()
    assert not test.error
    assert "räum" in box(test, "Space").options
    box(test, "Device").set_value(["who"]).run()
    control(test, "Each row is").set_value("An observation").run()
    box(test, "Seen").set_value(["when"]).run()
    box(test, "Space").set_value(["räum"]).run()
    assert "All 2 rows: **1** usable" in texts(test)


def test_names_of_files_and_columns_are_shown_literally(app: App) -> None:
    test = uploaded(opened(app), f"{HOSTILE},b\n1,2\n", HOSTILE)
    assert "<script>" not in texts(test)
    assert "[x](" not in texts(test)
    uploaded(test, "\0\0", HOSTILE)
    assert "<script>" not in texts(test)
    assert test.error


def test_a_log_in_the_campuss_own_database_is_not_loaded(app: App) -> None:
    url = SecretStr(databases(app.settings).source)
    settings = app.settings.model_copy(update={"source_url": url})
    test = uploaded(opened(App(settings, app.person)), RADACCT)
    assert "reads its log in place" in test.info[0].value
    assert "**3** usable" in texts(test)
    assert test.button(key="log.load").disabled


def test_viewers_are_told_why_they_cannot(app: App, as_role: Callable[[App, Role], App]) -> None:
    test = opened(as_role(app, Role.VIEWER))
    assert "needs the analyst role" in test.info[0].value
    assert not test.file_uploader


def test_a_mapping_is_saved_as_a_log_source_and_chosen_for_another_file(
    app: App, as_role: Callable[[App, Role], App]
) -> None:
    test = uploaded(opened(app), OWN, "own.csv")
    assert "Save as a log source" not in [box.label for box in test.expander]
    box(test, "Device").set_value(["who"]).run()
    control(test, "Each row is").set_value("An observation").run()
    box(test, "Seen").set_value(["when"]).run()
    box(test, "Space").set_value(["where"]).run()
    named(test, "Name").set_value("Doors").run()
    test.button(key="log.source.save").click().run()
    assert "Doors" in test.error[0].value
    named(test, "Name").set_value("doors").run()
    named(test, "Description").set_value("Doors of the halls").run()
    test.button(key="log.source.save").click().run()
    assert "The log source doors was saved" in test.success[0].value.replace("\\", "")

    other = OWN.replace("aa:bb", "aa:cc")
    test = uploaded(opened(as_role(app, Role.ANALYST)), other, "other.csv")
    kind = box(test, "Kind of log")
    assert "log source doors: Doors of the halls" in kind.options
    kind.set_value("log source doors").run()
    assert "Read as the log source **doors** says" in texts(test)
    assert box(test, "Device").value == ["who"]
    assert "All 2 rows: **1** usable, **1** rejected." in texts(test)
    assert "Save as a log source" not in [one.label for one in test.expander]
    test.button(key="log.load").click().run()
    assert metrics(test)["Sessions loaded"] == "1"


def test_columns_are_kept(app: App) -> None:
    test = uploaded(opened(app), RADACCT)
    box(test, "Kept").set_value(["acctsessionid"]).run()
    assert '""acctsessionid"": ""a1""' in everything(test)
    box(test, "Kept").set_value(["username"]).run()
    assert "only hashes are kept" in texts(test)


def named(test: AppTest, label: str):  # type: ignore[no-untyped-def]
    return next(one for one in test.text_input if one.label == label)
