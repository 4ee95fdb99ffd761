"""Starting a run in a deployment."""

from __future__ import annotations

import socket

import pytest

from tippers_dagster.errors import BadInput, TippersError
from tippers_dagster.graph.start import start_run
from tippers_dagster.settings import Settings, get_settings


def test_the_deployment_is_not_running(stack: Settings) -> None:
    with pytest.raises(TippersError, match="The deployment is not running") as caught:
        start_run(stack, ["device/devices"], by="ada")
    assert "tippers up" in (caught.value.hint or "")


def test_nothing_to_compute(stack: Settings) -> None:
    with pytest.raises(BadInput):
        start_run(stack, [], by="ada")


def test_an_unavailable_web_server(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    monkeypatch.setenv("TIPPERS_DAGSTER_WEB_URL", f"http://127.0.0.1:{port}")
    get_settings.cache_clear()
    with pytest.raises(TippersError, match="did not start the run"):
        start_run(get_settings(), ["device/devices"], by="ada")
