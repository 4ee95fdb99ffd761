"""`tippers keys`."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tippers_dagster.access.login import login_file
from tippers_dagster.cli import build_app
from tippers_dagster.errors import BadInput, SettingsError
from tippers_dagster.platform.keys import device_key
from tippers_dagster.settings import Settings

LOGIN = """[auth]
redirect_uri = "http://localhost:8501/oauth2callback"
cookie_secret = "the old secret"  # made by hand
client_id = "tippers"
client_secret = "of the provider"
server_metadata_url = "https://login.example.edu/.well-known/openid-configuration"
"""


def run(*words: str) -> str:
    result = CliRunner().invoke(build_app(["keys"]), ["keys", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def with_login(stack: Settings) -> Path:
    path = login_file(stack)
    path.parent.mkdir(parents=True)
    path.write_text(LOGIN)
    return path


def test_keys_are_shown_without_their_values(stack: Settings, with_login: Path) -> None:
    output = run("show")
    assert "TIPPERS_DEVICE_KEY" in output
    assert "not created yet" in output
    assert device_key(stack).hex() not in output
    assert "the old secret" not in output


def test_a_new_cookie_secret_changes_nothing_else(with_login: Path) -> None:
    run("rotate", "login")
    text = with_login.read_text()
    assert "the old secret" not in text
    new = text.split('cookie_secret = "')[1].split('"')[0]
    assert len(new) == 64
    assert text.replace(new, "the old secret") == LOGIN
    assert stat.S_IMODE(with_login.stat().st_mode) == 0o600


def test_what_cannot_be_rotated_is_said(stack: Settings) -> None:
    with pytest.raises(SettingsError, match="cookie_secret"):
        run("rotate", "login")
    with pytest.raises(BadInput, match="cannot be rotated"):
        run("rotate", "device")
    assert "encrypted with the newest key: 0" in run("rotate", "passwords")
