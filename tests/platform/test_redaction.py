"""Output and stored texts contain no secrets, and stored texts no device addresses."""

from __future__ import annotations

import pytest

from tippers_dagster.platform.redaction import recordable, redact
from tippers_dagster.settings import Settings, get_settings

DEVICE = "02:ca:fe:4b:1d:97"


def test_stored_texts_name_no_device(stack: Settings) -> None:
    text = f'invalid input syntax for type integer: "{DEVICE}"\nKey (mac)=({DEVICE.upper()})'
    assert redact(text, stack) == text  # output may name a device
    assert recordable(text, stack).count("**:**") == 2
    assert recordable(DEVICE.replace(":", "-"), stack) == "**:**"
    for other in ("12:30:45", "2025-01-06 10:00:00", "aa:bb:cc:dd:ee", "::1", "ab-cd:12-34:56-78"):
        assert recordable(other, stack) == other


def test_bucket_credentials_are_secrets(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "S3/secret+planted")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    assert redact("key S3/secret+planted", get_settings()) == "key ***"
