"""Persons: one for every spelling of a user name, and none for names of nobody."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tippers_dagster.campus.identities import DeviceIds
from tippers_dagster.campus.log.people import UserNames, canonical_names, persons
from tippers_dagster.errors import BadInput

KEY = b"k" * 32
OWN = UserNames(own_realms=("Example.edu", "CAMPUS"))


def name(user: str | None, rules: UserNames = OWN) -> str | None:
    return canonical_names(pa.array([user], pa.string()), rules)[0].as_py()


@pytest.mark.parametrize(
    "user",
    ["kim", "KIM", " kim ", "kim@example.edu", "Kim@EXAMPLE.EDU", "CAMPUS\\kim", "campus\\\\Kim",
     "campus\\kim@example.edu", "\uff2b\uff29\uff2d@example.edu", "\u00a0kim"],
)  # fmt: skip
def test_spellings_of_one_name(user: str) -> None:
    assert name(user) == "kim"


def test_other_realms_are_part_of_the_name() -> None:
    assert name("Kim@Other.org") == "kim@other.org"
    assert name("OTHER\\kim") == "other\\kim"
    assert name("kim@example.edu@other.org") == "kim@example.edu@other.org"
    assert name("kim@example.edu", UserNames()) == "kim@example.edu"
    assert name("STRASSE") == name("straße") == "strasse"
    assert name("host") == "host"
    assert name("anton") == "anton"


@pytest.mark.parametrize(
    "user",
    [None, "", " ", "@example.edu", "@other.org", "anonymous", "anonymous@other.org", "Anon-7@x",
     "CAMPUS\\anonymous", "host/lab-pc-1.example.edu", "HOST/pc", "LAB-PC-1$", "CAMPUS\\LAB-PC-1$",
     "lab-pc-1$@example.edu", "00-1A-2B-3C-4D-5E", "001a2b3c4d5e", "001a.2b3c.4d5e",
     "001a2b3c4d5e@example.edu", "--", "-", "unknown", "N/A", "null"],
)  # fmt: skip
def test_names_of_nobody(user: str | None) -> None:
    assert name(user) is None
    assert persons(pa.array([user], pa.string()), OWN, KEY).to_pylist() == [None]


def test_patterns_are_values() -> None:
    rules = UserNames(anonymous=("guest[0-9]*",), machines=())
    assert name("Guest12@x", rules) is None
    assert name("guests", rules) == "guests"
    assert name("anonymous", rules) == "anonymous"
    assert name("pc$", UserNames(anonymous=(), machines=())) == "pc$"
    with pytest.raises(BadInput, match=r"The pattern '\('"):
        UserNames(anonymous=("(",))


def test_twelve_digits_are_an_address_only_if_they_are_the_device() -> None:
    users = pa.array(["001122334455", "001122334455", None])
    devices = pa.array(["00:11:22:33:44:55", "00:11:22:33:44:56", None])
    found = persons(users, OWN, KEY, devices)
    assert found.null_count == 2
    assert found[1] == persons(users, OWN, KEY)[0]


def test_hashes_are_keyed_and_apart_from_those_of_devices() -> None:
    users = pa.array(["Kim@example.edu", "kim", "lee", None, "pseudonym-7"])
    found = persons(users, OWN, KEY)
    assert found.type == pa.uint64()
    assert found[0] == found[1]
    assert len(set(found.to_pylist())) == 4
    assert persons(users.dictionary_encode(), OWN, KEY) == found
    assert persons(users, OWN, b"l" * 32)[0] != found[0]
    assert int(DeviceIds(KEY)(pa.array(["pseudonym-7"]))[0]) != found[4].as_py()
    assert persons(pa.array([], pa.string()), OWN, KEY).to_pylist() == []


@given(st.lists(st.none() | st.text(st.sampled_from("aAß\u0130@\\/$. -Ⅷ:0"), max_size=12)))
def test_a_name_is_read_the_same_alone_again_and_in_any_case(users: list[str | None]) -> None:
    together = canonical_names(pa.array(users, pa.string()), OWN).to_pylist()
    assert together == [name(user) for user in users]
    for user, found in zip(users, together, strict=True):
        if user is not None:
            assert name(user.casefold()) == found
