"""Access points: one form for every spelling."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tippers_dagster.campus.log.access_points import normalise_access_points

AP = "02:11:22:33:44:0a"


def one(name: str | None) -> tuple[str | None, str | None]:
    access_points, ssids = normalise_access_points(pa.array([name], pa.string()))
    return access_points[0].as_py(), ssids[0].as_py()


@pytest.mark.parametrize(
    "station",
    ["02-11-22-33-44-0A", "02:11:22:33:44:0a", "0211.2233.440A", "02112233440A", "021122-33440a"],
)
def test_called_stations_with_and_without_a_network(station: str) -> None:
    assert one(station) == (AP, None)
    assert one(f" {station}:") == (AP, None)
    assert one(f"{station}:eduroam ") == (AP, "eduroam")
    assert one(f"{station}:My: net") == (AP, "My: net")
    assert one(f"{station}:11:22") == (AP, "11:22")
    assert one(f"{station}:two\nlines") == (AP, "two\nlines")


@pytest.mark.parametrize(
    "name",
    ["ap-1", "3143-clwa-3099", "ap-lib:eduroam", "02112233440a5", "02-11-22-33-44", "10.0.0.1",
     "eduroam:02-11-22-33-44-0A", "AP Lobby", "é漢"],
)  # fmt: skip
def test_other_names_stay_and_lose_the_blanks_around_them(name: str) -> None:
    assert one(name) == (name, None)
    assert one(f" {name}\t") == (name, None)


def test_nothing() -> None:
    assert one(None) == one("") == one(" \t") == (None, None)
    empty = normalise_access_points(pa.array([], pa.string()))
    assert [len(column) for column in empty] == [0, 0]


@given(
    st.integers(0, 2**48 - 1),
    st.lists(st.sampled_from(["", ":", "-", ".", " "]), min_size=5, max_size=5),
    st.none() | st.text(),
    st.booleans(),
)
def test_an_address_and_a_network_come_back(
    number: int, separators: list[str], ssid: str | None, capitals: bool
) -> None:
    octets = [f"{number:012x}"[i : i + 2] for i in range(0, 12, 2)]
    spelled = octets[0] + "".join(s + o for s, o in zip(separators, octets[1:], strict=True))
    spelled = spelled.upper() if capitals else spelled
    station = spelled if ssid is None else f"{spelled}:{ssid}"
    access_point, network = one(station)
    assert access_point == ":".join(octets)
    assert network == (_stripped(ssid) or None if ssid else None)


def _stripped(text: str) -> str:
    """As Arrow strips it: it knows other blanks than Python."""
    return pc.utf8_trim_whitespace(pa.scalar(text)).as_py()
