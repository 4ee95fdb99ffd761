"""The app as it is served: where, to whom, and what it says meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from benchmarks.soak import free_port
from tests.stack.waiting import until
from tippers_dagster.access.login import login_file
from tippers_dagster.settings import Settings
from tippers_dagster.stack.services import http_ok

APP = Path(__file__).parents[2] / "streamlit_app" / "app.py"
LOGIN = """
[auth]
redirect_uri = "http://127.0.0.1:8501/oauth2callback"
cookie_secret = "not-a-secret-but-long-enough"
client_id = "x"
client_secret = "y"
server_metadata_url = "http://127.0.0.1:9/.well-known/openid-configuration"
"""


@pytest.mark.parametrize("module", [("tippers_dagster.cli", "app"), ("streamlit_app",)])
def test_it_is_refused_to_the_world(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, module: tuple[str, ...]
) -> None:
    monkeypatch.setenv("TIPPERS_STREAMLIT_HOST", "0.0.0.0")
    done = subprocess.run(
        [sys.executable, "-m", *module], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "this machine only" in done.stderr
    assert module == ("streamlit_app",) or "TIPPERS_STREAMLIT_USER_HEADER" in done.stderr


def test_it_is_served_and_says_nothing_that_worries(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port = free_port()
    log = tmp_path / "app.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tippers_dagster.cli", "app"],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TIPPERS_STREAMLIT_PORT": str(port)},
        )
    try:
        address = f"http://127.0.0.1:{port}"
        until(lambda: http_ok(f"{address}/_stcore/health"), 60, log.read_text)
        with urllib.request.urlopen(address, timeout=10) as page:
            assert b"<title>" in page.read()
        time.sleep(0.5)
    finally:
        process.terminate()
        process.wait(20)
    said = log.read_text()
    assert f"URL: {address}" in said
    assert "arning" not in said
    assert "external" not in said.lower()


def opened() -> AppTest:
    test = AppTest.from_file(str(APP), default_timeout=60).run()
    assert not test.exception
    return test


def test_without_a_login_the_user_of_the_machine_is_there(stack: Settings) -> None:
    test = opened()
    assert any("admin" in caption.value for caption in test.sidebar.caption)
    assert not [b for b in test.sidebar.button if b.label == "Log out"]


def test_started_by_hand_for_others_it_shows_nothing(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in (None, "0.0.0.0"):
        monkeypatch.setattr(st, "get_option", {"server.address": address}.get)
        test = opened()
        assert any("this machine only" in error.value for error in test.error)
        assert len(test.sidebar) == 0


def test_with_a_login_nothing_is_shown_before_it(stack: Settings) -> None:
    login_file(stack).parent.mkdir(parents=True)
    login_file(stack).write_text(LOGIN)
    test = opened()
    assert [b.label for b in test.button] == ["Log in"]
    assert len(test.sidebar) == 0
