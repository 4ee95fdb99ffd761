"""`tippers pipeline`."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from tests.graph.small import ALL, Small
from tippers_dagster.automation.nodes import Node
from tippers_dagster.automation.state import recorder
from tippers_dagster.cli import build_app
from tippers_dagster.errors import TippersError


def run(*arguments: str) -> str:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(
        build_app(["pipeline"]), ["pipeline", *arguments], catch_exceptions=True
    )
    if isinstance(done.exception, TippersError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_status_gives_reasons(small: Small) -> None:
    small.save(*ALL)
    small.insert_by_hand("rule", "odd", {"sql": "[red]SELECT", "index": "devices"})
    output = run("status")
    assert "device/devices" in output
    assert "Not computed yet." in output
    assert "1 broken" in output


def test_reload_and_retry(small: Small) -> None:
    assert "The deployment is not running" in run("reload")
    node = Node(("device", "devices"), "1")
    recorder(small.settings, [node], "run").failed(node.key, "no such column")
    assert "1 asset will be retried." in run("retry")


@pytest.mark.slow
def test_materialize_prints_each_asset(small: Small) -> None:
    small.save(*ALL)
    output = run("materialize", "device.devices")
    assert "computed  device.devices, 6 rows" in output
    assert "All assets are up to date." in run("materialize", "device.devices")
    small.execute("ALTER TABLE source.space RENAME TO elsewhere")
    with pytest.raises(TippersError, match="could not be computed"):
        run("materialize", "device.devices")
