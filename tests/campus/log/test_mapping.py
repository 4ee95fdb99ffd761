"""Mappings: what makes sense is accepted, and written as it was read; all else is named."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tippers_dagster.campus.log.mapping import (
    FileLayout,
    LogMapping,
    load_mapping,
    read_layout,
    read_mapping,
    write_mapping,
)
from tippers_dagster.errors import BadInput

SESSIONS = {"device": "mac", "start": "from", "end": "to", "access_point": "ap"}
SEEN = {"device": "mac", "seen": "at", "space": "room"}


@pytest.mark.parametrize(
    "fields",
    [
        SESSIONS,
        SEEN,
        {**SESSIONS, "end": ["to", "stopped"], "updated": "last", "duration": "seconds"},
        {"device": "mac", "start": "from", "duration": "len", "duration_unit": "ms", "space": "s"},
        {"device": "mac", "start": "from", "updated": "last", "space": "s"},
        {
            "device": "mac",
            "end": "to",
            "duration": "len",
            "duration_unit": "hh:mm:ss",
            "space": "s",
        },
        {
            **SESSIONS,
            "user": "connection.user",
            "own_realms": "example.edu",
            "anonymous": ["guest.*"],
            "where": [{"column": "wired", "differs": True}, {"column": "n", "equals": [1, "a"]}],
            "timezone": "Europe/London",
            "order": "day first",
            "open_hours": 12,
            "keep": ["floor"],
            "file": {"separator": ";", "encoding": "latin-1"},
        },
        {**SEEN, "file": {"records": "a.b", "explode": ["c", "c.d"]}},
        {**SEEN, "file": {"separator": "\t", "header": ["mac", "at", "room"]}},
    ],
)
def test_what_makes_sense_is_written_as_it_was_read(fields: dict[str, Any], tmp_path: Path) -> None:
    mapping = read_mapping(fields)
    path = tmp_path / "mapping.yaml"
    write_mapping(path, mapping, ["A comment", "", "another: one"])
    assert path.read_text().startswith("# A comment\n#\n# another: one\ndevice: mac\n")
    assert load_mapping(path) == mapping
    assert read_mapping(mapping.as_fields()) == mapping
    assert [p.name for p in tmp_path.iterdir()] == ["mapping.yaml"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "device: required."),
        ({**SESSIONS, "device": []}, "which column names the device"),
        ({**SESSIONS, "devise": "x"}, "devise: there is no such field."),
        (
            {**SESSIONS, "device": 5},
            "device: expected a name, or a list of names; quote on, off, yes and no.",
        ),
        ({**SESSIONS, "device": [True]}, "device.0: expected text; quote it if it is."),
        ({**SESSIONS, "device": " "}, "device: a column's name has 1 to 300"),
        ({**SESSIONS, "end": ["to", "TO "]}, "end: a column is named twice."),
        ({**SESSIONS, "end": "From"}, "the column from is mapped to two fields."),
        ({"device": "m", "space": "s"}, "when was the device there?"),
        ({"device": "m", "end": "e", "space": "s"}, "when was the device there?"),
        ({"device": "m", "start": "b", "space": "s"}, "when does a session end?"),
        ({"device": "m", "start": "b", "end": "e"}, "where was the device?"),
        ({**SEEN, "start": "b", "end": "e"}, "seen is for observations"),
        ({**SEEN, "session_id": "id"}, "seen is for observations"),
        ({**SEEN, "open_hours": 3}, "seen is for observations"),
        ({**SEEN, "duration_unit": "s"}, "duration_unit is for duration"),
        ({**SEEN, "own_realms": ["a"]}, "own_realms and anonymous are for user"),
        ({**SEEN, "timezone": "Mars"}, "timezone: Mars is no time zone"),
        ({**SEEN, "timezone": "../../etc/passwd"}, "is no time zone"),
        ({**SEEN, "order": "year first"}, "order: Input should be 'day first' or 'month first'."),
        ({**SESSIONS, "open_hours": 0}, "open_hours: Input should be greater than 0."),
        ({**SEEN, "where": [{"column": "a"}]}, "where.0: either equals or differs"),
        ({**SEEN, "where": [{"column": "a", "equals": []}]}, "where.0: at least one value"),
        ({**SEEN, "where": [{"column": "a", "equals": 1, "differs": 2}]}, "either equals"),
        ({**SEEN, "file": {"separator": "ab"}}, "file.separator: one character"),
        ({**SEEN, "file": {"separator": '"'}}, "file.separator: one character"),
        ({**SEEN, "file": {"separator": "¦"}}, "file.separator: one character"),
        ({**SEEN, "file": {"separator": "a"}}, "file.separator: one character"),
        ({**SEEN, "file": {"encoding": "ebcdic"}}, "file.encoding: Input should be 'utf-8'"),
        ({**SEEN, "file": {"header": ["a", "A"]}}, "file.header: a column is named twice."),
        ({**SEEN, "file": {"explode": ["a", "b.c"]}}, "file.explode: b.c is not within a."),
        ({**SEEN, "file": {"explode": 'a"b'}}, "keys joined by dots, without quotes"),
        ({**SEEN, "file": {"records": "a..b"}}, "file.records: keys joined by dots"),
    ],
)
def test_what_makes_none_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_mapping(fields)
    assert message in caught.value.message
    assert caught.value.hint == "See docs/log_sources.md."


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        read_mapping({"devise": "x", "timezone": "Mars"})
    assert len(caught.value.message.splitlines()) == 3


def test_columns_and_roles() -> None:
    mapping = read_mapping({**SEEN, "seen": ["at", "At2"], "keep": ["ROOM", "floor"], "where": []})
    assert mapping.mapped == {"device": ("mac",), "seen": ("at", "At2"), "space": ("room",)}
    assert mapping.needed == ("device", "seen")
    assert mapping.columns == ("mac", "at", "At2", "room", "floor")
    assert read_mapping(SESSIONS).needed == ("device", "start")


def test_files_that_hold_no_mapping(tmp_path: Path) -> None:
    path = tmp_path / "mapping.yaml"
    with pytest.raises(BadInput, match=r"mapping\.yaml cannot be read"):
        load_mapping(path)
    for content, message in [
        (b"\xff", "cannot be read"),
        (b"device: !!python/object:os.system x", r"mapping\.yaml: line 1: tags"),
        (b"device: a\ndevice: b\n", "line 2: device is given twice"),
        (b"device: [a", "invalid YAML"),
        (b"a: " + b"x" * (2 << 20), "larger than"),
    ]:
        path.write_bytes(content)
        with pytest.raises(BadInput, match=message):
            load_mapping(path)


def test_a_file_that_exists_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text("mine")
    with pytest.raises(BadInput, match="exists already"):
        write_mapping(path, None, [])
    assert path.read_text() == "mine"
    with pytest.raises(BadInput, match="cannot be written"):
        write_mapping(tmp_path / "none" / "mapping.yaml", None, [])


@given(st.dictionaries(st.sampled_from([*LogMapping.model_fields, "x"]), st.text() | st.integers()))
def test_any_fields_are_read_or_refused(fields: dict[str, Any]) -> None:
    try:
        mapping = read_mapping(fields)
    except BadInput:
        return
    assert read_mapping(mapping.as_fields()) == mapping


def test_layouts() -> None:
    assert read_layout({}) == FileLayout()
    assert read_layout({"explode": "a"}).explode == ("a",)
    with pytest.raises(BadInput, match="encoding"):
        read_layout({"encoding": "x"})


def test_neither_devices_nor_user_names_are_kept() -> None:
    fields = {"device": "mac", "seen": "at", "access_point": "ap", "user": ["login", "Name"]}
    assert read_mapping({**fields, "keep": ["ap", "ssid"]}).keep == ("ap", "ssid")
    for column in ("MAC", " login", "name"):
        with pytest.raises(BadInput, match="only hashes are kept"):
            read_mapping({**fields, "keep": ["ssid", column]})


@pytest.mark.parametrize("column", ["$rssi", " /rssi"])
def test_what_rules_could_not_read_is_not_kept(column: str) -> None:
    with pytest.raises(BadInput, match="rules cannot read"):
        read_mapping({"device": "mac", "seen": "at", "access_point": "ap", "keep": [column]})
