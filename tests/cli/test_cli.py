"""The command line as a whole: quick, lazy, and plain about errors."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tippers_dagster import __version__, cli


def tippers(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tippers_dagster.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_names_every_command() -> None:
    done = tippers("--help")
    assert done.returncode == 0
    for command in cli.COMMANDS:
        assert f" {command} " in done.stdout


def test_help_imports_nothing_heavy() -> None:
    heavy = {"dagster", "pandas", "pyarrow", "sqlalchemy", "numpy", "pydantic_settings"}
    code = (
        "import sys; import tippers_dagster.cli as cli; cli.build_app([]); "
        f"assert not {heavy} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_is_there(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if command in ("dagster", "dbt"):  # have the help of Dagster and dbt
        return
    monkeypatch.setattr(sys, "argv", ["tippers", command, "--help"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    done = capsys.readouterr()
    assert not end.value.code, done.err
    assert "placeholder of" not in done.out
    assert f"tippers {command}" in done.out


def test_the_version_is_that_of_the_package() -> None:
    done = tippers("--version")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == __version__


def test_an_unknown_command_is_refused() -> None:
    done = tippers("no-such-command")
    assert done.returncode == 2
    assert "no-such-command" in done.stderr


def test_an_error_has_a_message_and_a_hint_but_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TIPPERS_CHUNK", "fortnight")
    done = tippers("env")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("TIPPERS_CHUNK: ")
    assert "Traceback" not in done.stderr


def test_a_database_that_is_away_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("DATABASE", "DAGSTER"):
        monkeypatch.setenv(f"TIPPERS_{name}_URL", "postgresql://ada:hunter2@127.0.0.1:9/x")
    done = tippers("occupancy", "status")
    assert done.returncode == 1
    assert "A database is unavailable" in done.stderr
    assert "tippers doctor" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


def test_a_keyboard_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(modules: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "build_app", interrupted)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 130
