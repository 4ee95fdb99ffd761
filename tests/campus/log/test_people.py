"""Persons: one for every spelling of a user name, and none for names of nobody."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tippers_dagster.campus.identities import DeviceIds
from tippers_dagster.campus.log import people
from tippers_dagster.campus.log.people import UserNames, persons
from tippers_dagster.errors import BadInput

KEY = b"k" * 32
OWN = UserNames(own_realms=("Example.edu", "CAMPUS"))


def person(user: str | None, rules: UserNames = OWN) -> int | None:
    return persons(pa.array([user], pa.string()), rules, KEY)[0].as_py()


@pytest.mark.parametrize(
    "user",
    ["kim", "KIM", " kim ", "kim@example.edu", "Kim@EXAMPLE.EDU", "CAMPUS\\kim", "campus\\\\Kim",
     "campus\\kim@example.edu", "\uff2b\uff29\uff2d@example.edu", "\u00a0kim"],
)  # fmt: skip
def test_spellings_of_one_name(user: str) -> None:
    assert person(user) == person("kim") is not None


def test_other_realms_are_part_of_the_name() -> None:
    names = [
        "kim",
        "kim@other.org",
        "OTHER\\kim",
        "kim@other",
        "kim@example.edu@other.org",
        "other",
    ]
    assert len({person(name) for name in names} - {None}) == len(names)
    assert person("Kim@Other.ORG") == person("kim@other.org")
    assert person("other\\KIM") == person("OTHER\\\\kim")
    assert person("kim@example.edu", UserNames()) != person("kim", UserNames())
    assert person("STRASSE") == person("straße")


def test_names_like_those_of_nobody_are_persons() -> None:
    names = ["host", "anton", "manon", "cash$flow", "00-1a-2b-3c-4d", "001a2b3c4d5e6", "na-na"]
    assert None not in {person(name) for name in names}


@pytest.mark.parametrize(
    "user",
    [None, "", " ", "@example.edu", "@other.org", "anonymous", "anonymous@other.org", "Anon-7@x",
     "CAMPUS\\anonymous", "host/lab-pc-1.example.edu", "HOST/pc", "LAB-PC-1$", "CAMPUS\\LAB-PC-1$",
     "lab-pc-1$@example.edu", "00-1A-2B-3C-4D-5E", "001a2b3c4d5e", "001a.2b3c.4d5e",
     "001a2b3c4d5e@example.edu", "--", "-", "unknown", "N/A", "null"],
)  # fmt: skip
def test_names_of_nobody(user: str | None) -> None:
    assert person(user) is None


def test_patterns_are_values() -> None:
    rules = UserNames(anonymous=("guest[0-9]*",), machines=())
    assert person("Guest12@x", rules) is None
    assert None not in {person(name, rules) for name in ("guests", "anonymous", "pc$", "host/pc")}
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
    together = persons(pa.array(users, pa.string()), OWN, KEY).to_pylist()
    assert together == [person(user) for user in users]
    for user, found in zip(users, together, strict=True):
        if user is not None:
            assert person(user.casefold()) == found


def test_names_of_earlier_batches_give_the_same_persons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "MAX_KNOWN", 4)
    known = people.KnownPersons()
    for users in (["kim", None, "anon"], ["lee", "KIM", "kim"], [], ["a", "b", "c", "kim", ""]):
        batch = pa.array(users, pa.string())
        assert persons(batch, OWN, KEY, known=known) == persons(batch, OWN, KEY), users
