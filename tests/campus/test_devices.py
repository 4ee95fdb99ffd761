"""One form for every spelling of a device's address, compared with a plain oracle."""

from __future__ import annotations

import string

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tippers_dagster.campus.devices import (
    DAMAGED,
    DEVICE_REASONS,
    KINDS,
    NO_DEVICE,
    NUMBER,
    OPAQUE,
    PLACEHOLDER,
    RANDOMISED,
    UNIVERSAL,
    device_kinds,
    normalise_devices,
    normalised_prefixes,
    same_form,
    same_form_of,
    vendor_prefixes,
)

ADDRESS = "00:1a:2b:3c:4d:5e"
HEX = string.digits + "abcdef"


def one(device: str | None) -> tuple[str | None, str | None]:
    """Its normal form, and why it names no device."""
    names, reasons = normalise_devices(pa.array([device], pa.string()))
    code = int(reasons[0])
    return names[0].as_py(), None if code < 0 else DEVICE_REASONS[code]


@pytest.mark.parametrize(
    "spelled",
    [
        "00:1a:2b:3c:4d:5e",
        "00-1A-2B-3C-4D-5E",
        "001a.2b3c.4d5e",
        "001A2B3C4D5E",
        "00:1A:2B:3C:4D:5E",
        "001a2b-3c4d5e",
        "001a-2b3c-4d5e",
        " 00:1a:2b:3c:4d:5e\t\n",
        "\u00a000 1a 2b 3c 4d 5e",
    ],
)
def test_every_spelling_of_an_address_has_one_form(spelled: str) -> None:
    assert one(spelled) == (ADDRESS, None)


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        (None, NO_DEVICE),
        ("", NO_DEVICE),
        (" \t", NO_DEVICE),
        ("00:00:00:00:00:00", PLACEHOLDER),
        ("0000.0000.0000", PLACEHOLDER),
        ("FF-FF-FF-FF-FF-FF", PLACEHOLDER),
        ("unknown", PLACEHOLDER),
        (" N/A ", PLACEHOLDER),
        ("-", PLACEHOLDER),
        ("NULL", PLACEHOLDER),
        ("00:1a:2b:00:04", DAMAGED),
        ("00:1a:2b", DAMAGED),
        ("00:1a:2b:3c:4d:5e:6f", DAMAGED),
        ("00:1a:2b:3c:4d:5", DAMAGED),
        ("00-1a-2b-3c-4d-", DAMAGED),
        ("0:1a:2b:3c:4d:5e", DAMAGED),
        ("00:1a:2b:3c:4d:5g", DAMAGED),
        ("00:1a:2b:xx:xx:xx", DAMAGED),
        ("00-1A-2B-**-**-**", DAMAGED),
        ("001a.2b3c", DAMAGED),
        ("001a.2b3c.4d5", DAMAGED),
        ("001a.2b3c.4d5z", DAMAGED),
        ("1.1E+12", NUMBER),
        ("1,23e+11", NUMBER),
        ("1E+11", NUMBER),
    ],
)
def test_what_names_no_device_has_its_reason(device: str | None, reason: str) -> None:
    assert one(device)[1] == reason


@pytest.mark.parametrize(
    "opaque",
    [
        "pseudonym-7",
        "Alice's phone",
        "a1-b2-c3",
        "12",
        "00:1a",
        "8f14e45fceea167a5a36dedd4bea2543",
        "550e8400-e29b-41d4-a716-446655440000",
        "192.168.1.20",
        "fe80::1",
        "1e12",
        "0",
        "unknown-3",
        "12345678901",
        "1234567890123",
        "00:1a:2b:3c:4d:5e phone",
        "(00:1a:2b:3c:4d:5e)",
        "機器七",
    ],
)
def test_other_ids_stay_and_lose_the_blanks_around_them(opaque: str) -> None:
    assert one(opaque) == (opaque, None)
    assert one(f" {opaque}\t") == (opaque, None)


@given(st.lists(st.one_of(st.none(), st.text(st.sampled_from(HEX + "ABF:-. gz"), max_size=20))))
def test_normalising_agrees_with_a_plain_oracle(devices: list[str | None]) -> None:
    names, reasons = normalise_devices(pa.array(devices, pa.string()))
    for device, name, reason in zip(devices, names.to_pylist(), reasons.tolist(), strict=True):
        assert name == _plain_form(device)
        if _plain_address(device) is not None:
            nobody = name in ("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff")
            assert reason == (DEVICE_REASONS.index(PLACEHOLDER) if nobody else -1)


@given(
    st.integers(1, 2**48 - 2),
    st.lists(st.sampled_from(["", ":", "-", ".", " "]), min_size=5, max_size=5),
    st.integers(0, 2**12 - 1),
)
def test_an_address_has_one_form_however_it_is_written(
    number: int, separators: list[str], capitals: int
) -> None:
    digits = f"{number:012x}"
    cased = [d.upper() if capitals >> i & 1 else d for i, d in enumerate(digits)]
    octets = ["".join(cased[i : i + 2]) for i in range(0, 12, 2)]
    spelled = octets[0] + "".join(s + o for s, o in zip(separators, octets[1:], strict=True))
    assert one(spelled) == (":".join(digits[i : i + 2] for i in range(0, 12, 2)), None)


@given(st.text())
def test_normalising_again_changes_nothing(device: str) -> None:
    name, reason = one(device)
    assert name is not None
    assert one(name) == (name, reason)


def test_keys_are_compared_in_one_form_and_others_stay() -> None:
    keys = ["00-1A-2B-3C-4D-5E", " x ", None, "unknown", "001122334455", "7"]
    found = same_form(pa.chunked_array([keys[:2], keys[2:]], pa.string()))
    assert found.to_pylist() == [ADDRESS, *keys[1:]]
    assert same_form(pa.array([100_000_000_001, 7])).to_pylist() == ["100000000001", "7"]
    assert same_form_of("001A.2B3C.4D5E") == ADDRESS


def _plain_form(device: str | None) -> str | None:
    return None if device is None else _plain_address(device) or device.strip()


def _plain_address(device: str | None) -> str | None:
    """The address, read digit by digit."""
    rest = (device or "").strip().lower()
    octets = []
    while rest:
        if octets and rest[0] in ":-. ":
            rest = rest[1:]
        octet, rest = rest[:2], rest[2:]
        if len(octet) < 2 or not set(octet) <= set(HEX):
            return None
        octets.append(octet)
    return ":".join(octets) if len(octets) == 6 else None


@given(st.integers(1, 2**48 - 2))
def test_the_local_bit_makes_an_address_a_randomised_one(number: int) -> None:
    normalised, _ = normalise_devices(pa.array([f"{number:012X}"]))
    local = number >> 41 & 1
    assert device_kinds(normalised).tolist() == [RANDOMISED if local else UNIVERSAL]
    prefix = (
        None if local else f"{number >> 40:02x}:{number >> 32 & 255:02x}:{number >> 24 & 255:02x}"
    )
    assert vendor_prefixes(normalised).to_pylist() == [prefix]


@pytest.mark.parametrize("spelled", ["3C22FB", "3c-22-fb", "3c:22:FB", "3c 22 fb", "3c.22.fb"])
def test_a_vendor_prefix_has_one_form(spelled: str) -> None:
    assert normalised_prefixes(pa.chunked_array([[spelled]])).to_pylist() == ["3c:22:fb"]


def test_what_is_not_three_octets_is_no_prefix() -> None:
    others = ["", "3c22", "3c22fbd", "70b3d5001", "3c:22:fb:00", "3c22fg", "x3c22fb", None]
    found = normalised_prefixes(pa.chunked_array([others], pa.string()))
    assert found.to_pylist() == [None] * len(others)


def test_what_is_no_address_is_opaque() -> None:
    names = pa.array(["pseudonym-7", "02:00", "12", None, "da:a1:19:00:00:01", "00:1a:2b:3c:4d:5e"])
    assert device_kinds(names).tolist() == [OPAQUE] * 4 + [RANDOMISED, UNIVERSAL]
    assert [KINDS[code] for code in device_kinds(names)[3:]] == [
        "opaque",
        "randomised",
        "universal",
    ]
    assert vendor_prefixes(names).to_pylist() == [None] * 5 + ["00:1a:2b"]
    assert device_kinds(pa.array([], pa.string())).tolist() == []
