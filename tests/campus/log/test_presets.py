"""Presets: each says where its facts are from, and is recognised by a log of its kind."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest

from tests.conftest import REPOSITORY
from tippers_dagster.campus.log.guessing import choose
from tippers_dagster.campus.log.mapping import FileLayout, LogMapping
from tippers_dagster.campus.log.presets import Preset, guess, known_columns, preset, presets
from tippers_dagster.errors import BadInput

MAC, AP = "00:1a:2b:3c:4d:5e", "02:11:22:33:44:01"
SAMPLES: dict[str, object] = {
    "tippers": f"mac_address,sensor_id,start_time,end_time,space_id\n{MAC},ap1,1,2,12\n",
    "observations": f"mac_address,time,sensor_id\n{MAC},1,ap1\n",
    "smartspec": "PersonID,DateTime,WiFiAP\n7,2025-01-07 09:00:00,3\n",
    "locater": f"timeStamp,sensor_id,payload\n2025-01-07 09:00:00,ap1,{MAC}\n",
    "radacct": f"AcctStartTime;AcctStopTime;CallingStationId;CalledStationId\n1;2;{MAC};{AP}\n",
    "cisco-prime-sessions": {
        "queryResponse": {
            "@count": 1,
            "entity": [
                {
                    "@url": "x",
                    "clientSessionsDTO": {
                        "macAddress": {"octets": "001a2b3c4d5e"},
                        "apMacAddress": {"octets": "021122334401"},
                        "userName": "kim",
                        "sessionStartTime": 1736269200000,
                        "sessionEndTime": 1736271000000,
                    },
                }
            ],
        }
    },
    "cisco-catalyst-clients": {
        "response": [{"macAddress": MAC, "lastUpdatedTime": 1, "connection": {"apMac": AP}}]
    },
    "meraki-scanning-v2": {
        "version": "2.1",
        "type": "DevicesSeen",
        "data": {"apMac": AP, "observations": [{"clientMac": MAC, "seenEpoch": 1736269200}]},
    },
    "meraki-scanning-v3": {
        "version": "3.0",
        "type": "WiFi",
        "data": {
            "networkId": "N_1",
            "observations": [
                {"clientMac": MAC, "locations": [], "latestRecord": {"time": 1, "nearestApMac": AP}}
            ],
        },
    },
    "meraki-clients": [{"mac": MAC, "firstSeen": 1, "lastSeen": 2, "recentDeviceName": "ap"}],
    "aruba-airwave": {
        "mac": MAC,
        "association": [{"ap": "ap1", "connect_time": "1", "disconnect_time": "2"}],
    },
    "aruba-central-clients": {
        "clients": [{"macaddr": MAC, "associated_device_name": "ap", "last_connection_time": 1}]
    },
    "mist-client-sessions": [{"mac": MAC, "ap": AP, "connect": 1, "disconnect": 2, "ssid": "s"}],
    "mist-clients": [{"mac": MAC, "ap_mac": AP, "last_seen": 1, "uptime": 2, "map_id": "m"}],
    "unifi-sessions": {
        "meta": {"rc": "ok"},
        "data": [{"_id": "1", "mac": MAC, "ap_mac": AP, "assoc_time": 1, "duration": 9}],
    },
    "unifi-roaming": [
        {"mac": MAC, "roaming_sessions": [{"start_time": 1, "duration": 9, "ap_mac": AP}]}
    ],
    "extreme-iq-clients": [
        {"mac_address": MAC, "online_time": 1, "offline_time": 2, "device_name": "ap"}
    ],
}


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_every_preset_says_where_it_is_from() -> None:
    for name, one in presets().items():
        assert name == one.name
        assert len(one.source) > 10, name
        assert one.title
        assert one.version
        assert all(sentence.endswith(".") for sentence in one.not_known), name


def test_every_preset_that_can_be_recognised_has_a_sample() -> None:
    assert {name for name, one in presets().items() if one.recognised_by} == SAMPLES.keys()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_log_of_each_kind_is_recognised(tmp_path: Path, name: str) -> None:
    choice = choose(write(tmp_path / "log", SAMPLES[name]))
    assert choice.preset is not None
    assert choice.preset.name == name
    assert choice.guesses[0][0].name == name
    assert choice.mapping is not None


@pytest.mark.parametrize("name", SAMPLES)
def test_a_preset_that_is_named_reads_its_log(tmp_path: Path, name: str) -> None:
    choice = choose(write(tmp_path / "log", SAMPLES[name]), preset=preset(name))
    assert choice.mapping is not None
    known = {column.casefold() for column in choice.look.names}
    device, time = (choice.mapping.mapped[role] for role in choice.mapping.needed)
    assert {column.casefold() for column in device} & known
    assert {column.casefold() for column in time} & known


def test_posts_of_a_webhook_are_recognised_too(tmp_path: Path) -> None:
    post = {"topic": "client-sessions", "events": SAMPLES["mist-client-sessions"]}
    path = tmp_path / "log.json"
    path.write_text(f"{json.dumps(post)}\n{json.dumps(post)}\n")
    choice = choose(path)
    assert choice.preset == preset("mist-client-sessions")
    assert choice.mapping is not None
    assert choice.mapping.file.explode == ("events",)


def test_lists_are_exploded_in_json_only(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", f"mac,ap,connect,disconnect\n{MAC},{AP},1,2\n")
    for chosen in (None, preset("mist-client-sessions")):
        choice = choose(path, preset=chosen)
        assert choice.mapping is not None
        assert choice.mapping.file == FileLayout()
        assert choice.mapping.device == ("mac",)


def test_a_dump_without_names_is_read_when_the_preset_is_named(tmp_path: Path) -> None:
    row = (
        "u1\tm1\t802.11ac\tb-1-2\tA > B > 1\teduroam\t1736269200000\t4102444800000\t1736269200\t-60"
    )
    path = write(tmp_path / "2025_01_07.tsv", row + "\n")
    assert choose(path).preset is None
    choice = choose(path, preset=preset("sessions-dump"))
    assert choice.look.sample["apname"].to_pylist() == ["b-1-2"]
    assert choice.mapping is not None


def test_a_preset_is_fitted_to_the_columns_of_a_log() -> None:
    radacct = preset("radacct")
    names = ["AcctStartTime", "acctstoptime", "callingstationid", "calledstationid"]
    fitted = radacct.fitted([*names, "acctuniqueid"])
    assert fitted is not None
    assert fitted.as_fields() == {
        "device": "callingstationid",
        "start": "acctstarttime",
        "end": "acctstoptime",
        "access_point": "calledstationid",
        "session_id": "acctuniqueid",
    }
    assert radacct.fitted(names[1:]) is None
    assert radacct.fitted(names[:-1]) is None  # no place
    sparse = radacct.fitted(names, sparse=True)
    assert sparse == radacct.mapping
    # A condition that no row can meet.
    v2 = preset("meraki-scanning-v2")
    columns = ["data.apMac", "data.observations.clientMac", "data.observations.seenEpoch"]
    assert v2.fitted(columns) is None
    assert v2.fitted([*columns, "TYPE"]) is not None
    # A row without a value differs from all values.
    unifi = preset("unifi-sessions").fitted(["mac", "ap_mac", "assoc_time", "duration"])
    assert unifi is not None
    assert unifi.where == ()


def test_a_log_without_devices_is_none(tmp_path: Path) -> None:
    names = ["mac_address", "time", "sensor_id"]
    text = pa.string()
    full = pa.table({"mac_address": pa.array([None, "a"], text)})
    none = pa.table({"mac_address": pa.array([None, None], text)})
    assert [one.name for one, _ in guess(names, full)] == ["observations"]
    assert guess(names, none) == []
    (found,) = guess(names, full)
    assert found[1] == "it has the columns mac_address, time, sensor_id"


def test_names_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="There is no preset ciscoo"):
        preset("ciscoo")
    path = write(tmp_path / "log.csv", "a,b\n1,2\n")
    with pytest.raises(BadInput, match="is no log of the preset radacct: it lacks some of"):
        choose(path, preset=preset("radacct"))
    assert choose(path).mapping is None


def test_known_columns_are_in_small_letters() -> None:
    assert frozenset({"personid", "datetime", "wifiap"}) in known_columns()


def test_the_docs_name_every_preset_and_every_field() -> None:
    page = (REPOSITORY / "docs" / "log_sources.md").read_text()
    named = set(re.findall(r"`([^`\n]+)`", page))
    assert presets().keys() <= named
    assert LogMapping.model_fields.keys() <= named
    assert FileLayout.model_fields.keys() <= named
    assert Preset.model_fields.keys() - {"name"} <= named
