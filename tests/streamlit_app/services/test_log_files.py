"""Uploaded logs: what they would be read as, and loading them."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from streamlit_app.services import log_files as service
from streamlit_app.services.app import App
from streamlit_app.services.log_files import Fields, Upload
from tests.campus.intake.test_log import COVERAGE, SPACES, write
from tests.campus.log.test_presets import SAMPLES
from tests.campus.log.test_preview import RADACCT
from tippers_dagster.access.model import NotAllowed, Person, Role
from tippers_dagster.campus.intake.entries import list_ingests
from tippers_dagster.campus.intake.ingest import ingest_file
from tippers_dagster.campus.intake.log import LOG
from tippers_dagster.campus.intake.undo import undo_ingests
from tippers_dagster.campus.source.log_source import ref_of
from tippers_dagster.catalog import store as catalog_store
from tippers_dagster.catalog.editing import Conflict
from tippers_dagster.catalog.kinds import LogSource
from tippers_dagster.catalog.model import Draft
from tippers_dagster.errors import BadInput, SourceError
from tippers_dagster.platform.postgres.databases import databases

LOST = "a7,lee,2025-01-07 10:00-08,,2025-01-07 11:00-08,02-11-22-33-44-09:e,00-1A-2B-3C-52-05\n"
OPEN = (
    "mac_address,sensor_id,start_time,end_time,space_id\n00:1a:2b:3c:4d:60,a,03/04/2025 9:00,,12\n"
)


@pytest.fixture
def app(empty_app: App, tmp_path: Path) -> App:
    for kind, text in (("spaces", SPACES), ("region_to_coverage", COVERAGE)):
        ingest_file(empty_app.settings, kind, write(tmp_path / f"{kind}.csv", text))
    return empty_app


def upload(text: str, name: str = "radacct.csv") -> Upload:
    return Upload(name, text.encode())


def guessed(app: App, file: Upload, kind: str | None = None) -> Fields:
    return service.fields_of(service.choose(app, file, kind, "", ""), "", "")


def loaded(app: App, file: Upload, fields: Fields) -> service.Loaded:
    return service.load(app, file, fields, None, lambda done, total: None)


# --- what it would be read as -------------------------------------------------------------------
def test_a_log_is_recognised_and_its_rows_are_those_that_would_be_loaded(app: App) -> None:
    file = upload(RADACCT + LOST)
    choice = service.choose(app, file, None, "", "")
    assert choice.preset is not None
    assert choice.preset.name == "radacct"
    assert next(iter(service.kinds(choice.guesses, {}))) == "radacct"
    seen = service.preview_log(app, file, service.fields_of(choice, "", ""))
    assert seen.unknown == Counter({"02:11:22:33:44:09": 1})
    table = service.rows_table(seen.found)
    assert table["Space"].tolist()[:3] == ["12", "12", "13"]
    reasons = service.reasons_table(seen.found.reasons)
    assert set(reasons["Reason"]) == {
        "end before start",
        "placeholder instead of a device",
        "access point 02:11:22:33:44:09 covers no space",
    }
    assert (seen.found.usable, seen.found.reasons.total()) == (3, 3)
    assert list_ingests(app.settings, (LOG,)) == []
    report = loaded(app, file, service.fields_of(choice, "", "")).report
    assert (report.loaded, report.unknown_access_points) == (3, seen.unknown)
    assert report.rejected == seen.found.reasons + Counter(r.reason for r in seen.found.malformed)


def test_before_anything_is_loaded_no_access_point_is_known(empty_app: App) -> None:
    file = upload(RADACCT)
    seen = service.preview_log(empty_app, file, guessed(empty_app, file))
    assert seen.found.usable == 0
    assert seen.unknown == Counter({"02:11:22:33:44:01": 2, "02:11:22:33:44:02": 1})


def test_user_names_are_shown_nowhere(app: App) -> None:
    file = upload(RADACCT + LOST)
    choice = service.choose(app, file, None, "", "")
    fields = service.fields_of(choice, "", "")
    seen = service.preview_log(app, file, fields)
    without = {name: value for name, value in fields.items() if name != "user"}
    texts = [
        service.rows_table(seen.found).to_csv(),
        service.reasons_table(seen.found.reasons).to_csv(),
        service.columns_table(choice.look, fields).to_csv(),
        service.columns_table(choice.look, without).to_csv(),
        service.columns_table(choice.look, {}).to_csv(),
        service.file_of(seen.found, choice.preset).decode(),
    ]
    for text in texts:
        assert not {"kim", "lee", "host/pc-1"} & set(text.lower().replace("@", ",").split(","))
    assert "aaa@a.aaa" in texts[2]
    assert "yes" in service.rows_table(seen.found)["Person"].tolist()


def test_the_downloaded_mapping_reads_the_log_again(app: App) -> None:
    file = upload(RADACCT)
    choice = service.choose(app, file, None, "", "")
    fields = service.fields_of(choice, "", "")
    text = service.file_of(service.preview_log(app, file, fields).found, choice.preset).decode()
    assert "From the preset radacct" in text
    assert service.fields_of_yaml(text) == fields
    assert service.fields_of_yaml(service.yaml_of(fields)) == fields
    assert "column of the device" in service.yaml_of({})
    with pytest.raises(BadInput, match="device: required"):
        service.fields_of_yaml("start: a\nend: b\nspace: c\n")


def test_a_kind_can_be_chosen_or_none(app: App) -> None:
    file = upload(RADACCT)
    assert guessed(app, file, "") == {}
    assert service.fields_of(service.choose(app, file, "", "latin-1", ","), "latin-1", ",") == {
        "file": {"encoding": "latin-1", "separator": ","}
    }
    with pytest.raises(BadInput, match=r"^radacct\.csv is no log of the preset smartspec"):
        guessed(app, file, "smartspec")


def as_parquet(text: str) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa_csv.read_csv(io.BytesIO(text.encode())), stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    "packed",
    [
        lambda text: gzip.compress(text.encode()),
        lambda text: pa.compress(text.encode(), "zstd", asbytes=True),
        as_parquet,
    ],
    ids=["gzip", "zstd", "parquet"],
)
def test_a_file_is_known_by_its_content(app: App, packed: Callable[[str], bytes]) -> None:
    file = Upload("log.txt", packed(RADACCT.removesuffix("a6,lee\n")))
    seen = service.preview_log(app, file, guessed(app, file))
    assert (seen.found.usable, seen.found.reasons.total()) == (3, 2)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_kind_of_log_is_previewed(app: App, name: str) -> None:
    sample = SAMPLES[name]
    file = upload(sample if isinstance(sample, str) else json.dumps(sample))
    for kind in (None, name):
        choice = service.choose(app, file, kind, "", "")
        assert choice.preset is not None
        seen = service.preview_log(app, file, service.fields_of(choice, "", ""))
        assert seen.found.read == len(service.rows_table(seen.found)) > 0


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\xff" * 50, b"\x1f\x8b junk", b"PAR1" + b"\x00" * 40, gzip.compress(b"{" * 9999)],
    # Compressed bytes name the second, and all processes must find the same tests.
    ids=["empty", "bytes", "gzip", "parquet", "unending record"],
)
def test_what_is_no_log_is_refused_under_its_own_name(app: App, content: bytes) -> None:
    file = Upload("../../e\x1b[2Jvil.csv", content)
    with pytest.raises(BadInput) as raised:
        guessed(app, file)
    assert "uploads" not in str(raised.value)
    assert "\x1b" not in str(raised.value)
    assert list((app.settings.home_path / "uploads").iterdir()) == []


def test_larger_files_are_left_to_the_command(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_UPLOAD_BYTES", 10)
    with pytest.raises(BadInput, match="larger than") as raised:
        guessed(app, upload(RADACCT))
    assert "tippers ingest log" in (raised.value.hint or "")


def test_the_order_of_day_and_month_is_asked_for(app: App) -> None:
    file = upload(OPEN)
    fields = guessed(app, file)
    with pytest.raises(BadInput, match="day or the month") as raised:
        service.preview_log(app, file, fields)
    assert raised.value.hint == "Choose the order of day and month, under More fields."
    seen = service.preview_log(app, file, {**fields, "order": "day first"})
    assert seen.found.rows[0].understood["start"].startswith("2025-04-03")


# --- loading ------------------------------------------------------------------------------------
def test_a_log_is_loaded_once_under_the_name_of_the_upload(app: App) -> None:
    file = upload(RADACCT, "../logs/radacct\n.csv")
    fields = guessed(app, file)
    first = loaded(app, file, fields)
    assert first.name == "../logs/radacct\\n.csv"
    assert (first.report.rows, first.report.loaded) == (6, 3)
    assert [f"{day:%d}" for day in sorted(first.report.dates)] == ["07"]
    (entry,) = list_ingests(app.settings, (LOG,))
    assert (entry.name, entry.ingest_id) == (first.name, first.report.ingest_id)
    again = loaded(app, file, fields).report
    assert again.already
    assert again.ingest_id == first.report.ingest_id
    with pytest.raises(BadInput, match=r"radacct.*was ingested as log"):
        loaded(app, file, {**fields, "timezone": "Europe/London"})


def test_a_load_takes_the_place_of_one_that_read_the_log_otherwise(app: App) -> None:
    file = upload(RADACCT)
    fields = guessed(app, file)
    assert service.loaded_before(app, file) is None
    first = loaded(app, file, {**fields, "timezone": "Europe/London", "user": []})
    before = service.loaded_before(app, Upload("renamed.csv", file.content))
    assert before is not None
    assert before.ingest_id == first.report.ingest_id
    assert not service.is_same_load(app.settings, before, fields, None)
    second = service.load(app, file, fields, None, lambda done, total: None, before.ingest_id)
    assert second.replaces
    assert (second.report.ingest_id, second.report.loaded) == (before.ingest_id, 3)
    (entry,) = list_ingests(app.settings, (LOG,))
    assert entry.name == "radacct.csv"
    assert service.is_same_load(app.settings, entry, fields, None)
    undo_ingests(app.settings, [entry.ingest_id])
    assert service.loaded_before(app, file) is None


def test_what_the_progress_raises_loads_nothing(app: App) -> None:
    file = upload(RADACCT)

    def leave(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        service.load(app, file, guessed(app, file), None, leave)
    assert list_ingests(app.settings, (LOG,)) == []


def test_observations_have_a_gap(app: App) -> None:
    rows = "".join(f"aa:bb:cc:dd:ee:f0,2025-07-01 09:{m},12\n" for m in ("00", "10", "40"))
    file = upload("mac,when,room\n" + rows)
    fields = {"device": "mac", "seen": "when", "space": "room"}
    done = service.load(app, file, fields, 3600, lambda done, total: None)
    assert done.report.loaded == 1


def test_the_campuss_own_database_is_not_written(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    file = upload(RADACCT)
    fields = guessed(app, file)
    url = SecretStr(databases(app.settings).source)
    settings = app.settings.model_copy(update={"source_url": url})
    theirs = App(settings, app.person)
    assert service.reads_in_place(settings)
    assert service.preview_log(theirs, file, fields).found.usable == 3
    named = app.settings.model_copy(update={"log_source": "wifi"})
    assert service.reads_in_place(named)
    assert service.preview_log(App(named, app.person), file, fields).found.usable == 3
    with pytest.raises(SourceError, match="TIPPERS_LOG_SOURCE"):
        loaded(App(named, app.person), file, fields)
    with pytest.raises(SourceError):
        loaded(theirs, file, fields)


def test_texts_that_the_journal_cannot_keep_are_refused(app: App) -> None:
    file = upload(RADACCT)
    fields = {**guessed(app, file), "where": [{"column": "username", "differs": "a\0b"}]}
    with pytest.raises(BadInput, match="values have printable characters only"):
        loaded(app, file, fields)


def test_viewers_load_nothing(app: App) -> None:
    viewer = App(app.settings, Person("vi", Role.VIEWER))
    with pytest.raises(NotAllowed):
        loaded(viewer, upload(RADACCT), {})
    with pytest.raises(NotAllowed):
        guessed(viewer, upload(RADACCT))


# --- log sources --------------------------------------------------------------------------------
def define(app: App, name: str, **body: object) -> None:
    draft = Draft(ref_of(name), LogSource(**body))  # type: ignore[arg-type]
    catalog_store.save(app.settings, draft, by="ada")


def test_log_sources_of_files_are_kinds_of_logs(app: App) -> None:
    mapping = {"device": "who", "seen": "when", "space": "where"}
    define(app, "doors", mapping=mapping)
    define(app, "accounting", preset="radacct")
    define(app, "live", connection="radius", table="radacct", preset="radacct")
    defined = service.sources(app)
    assert list(defined) == ["accounting", "doors"]
    file = upload(RADACCT)
    choice = service.choose(app, file, None, "", "")
    names = list(service.kinds(choice.guesses, defined))
    assert names[:3] == ["radacct", "log source accounting", "log source doors"]
    assert names[-1] == ""
    assert guessed(app, file, "log source accounting") == guessed(app, file)

    own = upload("when,who,where\n2025-01-07 09:00,aa:bb:cc:dd:ee:f0,12\n", "own.csv")
    assert guessed(app, own, "log source doors") == mapping
    assert loaded(app, own, guessed(app, own, "log source doors")).report.loaded == 1
    with pytest.raises(BadInput, match=r"^own\.csv is no log of the preset radacct"):
        guessed(app, own, "log source accounting")
    with pytest.raises(BadInput, match="no log source gone"):
        guessed(app, own, "log source gone")


def test_a_mapping_is_saved_as_a_log_source(app: App) -> None:
    file = upload(RADACCT)
    fields = {**guessed(app, file), "keep": "acctsessionid"}
    sentence = service.save_source(app, " wifi ", " Of the campus ", fields, None)
    assert sentence.startswith("The log source wifi was saved.")
    found = service.sources(app)["wifi"]
    assert (found.description, found.updated_by) == ("Of the campus", app.person.name)
    assert guessed(app, file, "log source wifi") == {**fields, "keep": ["acctsessionid"]}

    with pytest.raises(BadInput, match="already a log source wifi"):
        service.save_source(app, "wifi", "", fields, None)
    again = service.save_source(app, "wifi", "", guessed(app, file), found)
    assert again.startswith("The log source wifi was replaced.")
    assert guessed(app, file, "log source wifi") == guessed(app, file)
    with pytest.raises(Conflict):  # they have not seen the second version
        service.save_source(app, "wifi", "", fields, found)
    for name, wrong in (("Wi Fi", fields), ("other", {**fields, "keep": "username"})):
        with pytest.raises(BadInput):
            service.save_source(app, name, "", wrong, None)
    assert list(service.sources(app)) == ["wifi"]


def test_kept_values_are_shown_with_their_rows(app: App) -> None:
    file = upload(RADACCT)
    fields = {**guessed(app, file), "keep": "acctsessionid"}
    seen = service.preview_log(app, file, fields)
    assert service.rows_table(seen.found)["Kept"][0] == '{"acctsessionid": "a1"}'
    shown = service.columns_table(seen.found.look, fields).set_index("Column")
    assert shown.loc["acctsessionid"].tolist() == ["keep", "a1"]
