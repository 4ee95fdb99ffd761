"""Uploads of definitions, whatever their names and however damaged."""

from __future__ import annotations

import io
import re
import stat
import warnings
import zipfile
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlit_app.services.definitions import files
from tippers_dagster.errors import BadInput


def _zip(content: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", how) as archive:
        for name, data in content.items():
            entry = zipfile.ZipInfo("name")
            entry.filename = name  # as it is: its constructor cuts a name at a NUL
            archive.writestr(entry, data, how)
    return made.getvalue()


LONG = "x" * 300
AWKWARD_NAMES = {
    "../evil.yml": "points outside",
    "/etc/evil.yml": "points outside",
    "a/../../evil.yml": "points outside",
    "a\\b.yml": "points outside",
    "..": "points outside",
    ".": "an invalid file name",
    "a\0b.yml": "an invalid file name: a\\x00b.yml",
    "a\x1b[2J.yml": "an invalid file name: a\\x1b[2J.yml",
    "\u202elmy.a": "an invalid file name",
    f"{LONG}.yml": "too long: xxx",
    "d/" * 1500 + "a.yml": "too long",
}


@pytest.mark.parametrize("name", AWKWARD_NAMES, ids=lambda name: repr(name)[:30])
def test_names_that_no_folder_can_have_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match=re.escape(AWKWARD_NAMES[name])) as caught:
        files.read_uploads([("x.zip", _zip({name: b"a: b"}))])
    assert len(str(caught.value)) < 300
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("name", ["", ".", "..", "a\0.yml", f"{LONG}.yml"])
def test_single_files_have_usable_names(name: str) -> None:
    with pytest.raises(BadInput, match="The upload contains"):
        files.read_uploads([(name, b"a: b")])


def test_two_files_of_one_name_are_refused() -> None:
    with pytest.raises(BadInput, match=r"Two files are named a\.yml"):
        files.read_uploads([("a.yml", b"a: b"), ("a.yml", b"a: c")])
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive, warnings.catch_warnings(action="ignore"):
        archive.writestr("concepts/a.yml", "{}")
        archive.writestr("concepts/a.yml", "{}")
    with pytest.raises(BadInput, match=r"Two files are named concepts/a\.yml"):
        files.read_uploads([("x.zip", made.getvalue())])
    with pytest.raises(BadInput, match="a as a file and as a folder"):
        files.read_uploads([("x.zip", _zip({"a": b"", "a/b.yml": b""}))])


def test_links_and_passwords_in_zips_are_refused() -> None:
    link = zipfile.ZipInfo("concepts/a.yml")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(BadInput, match="contains the link"):
        files.read_uploads([("x.zip", made.getvalue())])
    locked = bytearray(_zip({"concepts/a.yml": b"{}"}))
    for header, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        locked[locked.index(header) + flags] |= 1
    with pytest.raises(BadInput, match="is encrypted"):
        files.read_uploads([("x.zip", bytes(locked))])


def test_invalid_and_oversized_zips_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="not a zip"):
        files.read_uploads([("x.zip", b"PK nonsense")])
    whole = _zip({"concepts/a.yml": b"values: []\n" * 500})
    with pytest.raises(BadInput, match="not a zip file, or is damaged"):
        files.read_uploads([("x.zip", whole[:-30])])
    monkeypatch.setattr(files, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(BadInput, match="more than"):
        files.read_uploads([("x.zip", _zip({"device/rules/a.sql": b" " * 2000}))])
    lying = bytearray(_zip({"device/rules/a.sql": b" " * 2000}, zipfile.ZIP_DEFLATED))
    for header, size in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = lying.index(header) + size
        lying[at : at + 4] = (900).to_bytes(4, "little")
    with pytest.raises(BadInput):
        files.read_uploads([("x.zip", bytes(lying))])
    monkeypatch.setattr(files, "MAX_UPLOAD_BYTES", 100)
    with pytest.raises(BadInput, match="The upload is over"):
        files.read_uploads([("a.yml", b" " * 101)])


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 8), st.booleans())
def test_a_damaged_zip_gives_an_error_message(seed: int, changes: int, packed: bool) -> None:
    how = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_BZIP2
    data = bytearray(_zip({"concepts/a.yml": b"values: []\n" * 20, "device/b.sql": b"x"}, how))
    random = Random(seed)
    for _ in range(changes):
        data[random.randrange(len(data))] = random.randrange(256)
    with suppress(BadInput):
        files.read_uploads([("x.zip", bytes(data[: random.randrange(len(data), 2 * len(data))]))])
