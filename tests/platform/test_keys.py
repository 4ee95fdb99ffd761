"""The key of the device hash."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from tippers_dagster.errors import SettingsError
from tippers_dagster.platform.keys import device_key, device_key_file
from tippers_dagster.settings import Settings, get_settings


def test_a_key_is_created_once_and_private_to_its_owner(settings: Settings) -> None:
    key = device_key(settings)
    assert len(key) == 32
    assert device_key(settings) == key
    path = device_key_file(settings)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert bytes.fromhex(path.read_text().strip()) == key


def test_concurrent_callers_get_the_same_key(settings: Settings) -> None:
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda _: device_key(settings), range(64)))
    assert len(keys) == 1
    assert [path.name for path in settings.home_path.iterdir()] == ["device_key"]


def test_the_setting_accepts_the_content_of_the_file(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = device_key(settings)
    monkeypatch.setenv("TIPPERS_DEVICE_KEY", device_key_file(settings).read_text().strip())
    get_settings.cache_clear()
    assert device_key(get_settings()) == key


@pytest.mark.parametrize("value", ["hunter2", "ab" * 15, "ab" * 65])
def test_a_bad_key_is_refused_and_not_shown(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIPPERS_DEVICE_KEY", value)
    with pytest.raises(SettingsError, match="TIPPERS_DEVICE_KEY") as caught:
        device_key(get_settings())
    assert value not in str(caught.value)
