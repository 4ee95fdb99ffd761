"""Text from users, files and databases cannot control the terminal."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
import typer
from rich.table import Table

from tippers_dagster.cli import progress
from tippers_dagster.platform.terminal import printable_output, table_console
from tippers_dagster.platform.text import printable, shown

ACTING = {
    "a\0b": r"a\x00b",
    "\x1b[2J\x1b]0;title\x07": r"\x1b[2J\x1b]0;title\x07",
    "\x9b31m": r"\x9b31m",
    "one\rtwo": r"one\x0dtwo".replace("x0d", "r"),
    "\u202etxt.exe": r"\u202etxt.exe",
    "\u2066x\u2069": r"\u2066x\u2069",
    "\ud800": r"\ud800",
    "\x7f\x08": r"\x7f\x08",
}


@pytest.mark.parametrize("text", ACTING, ids=ascii)
def test_control_characters_are_shown_as_escapes(text: str) -> None:
    assert printable(text) == ACTING[text]
    assert shown(text) == ACTING[text]
    assert printable(printable(text)) == printable(text)


def test_other_texts_stay_unchanged() -> None:
    text = "Café 漢字 😀\tb\r\nc\n"
    assert printable(text) == text
    assert shown("a\nb\tc") == r"a\nb\tc"
    assert shown("x" * 100, 10) == "x" * 10 + "..."


class Terminal(io.StringIO):
    """Captures output, and counts as a terminal."""

    def isatty(self) -> bool:
        return True


def test_output_is_printable_and_keeps_colours_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for output, red in ((io.StringIO(), "red"), (Terminal(), "\x1b[31mred\x1b[0m")):
        monkeypatch.setattr(sys, "stdout", output)
        with printable_output():
            typer.echo("a\x1b]0;b\0")
            typer.secho("red", fg="red")
            print("\u202ec\x1b[2J")
        assert sys.stdout is output
        assert output.getvalue() == f"a\\x1b]0;b\\x00\n{red}\n\\u202ec\\x1b[2J\n"


def test_tables_show_names_literally(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    with printable_output():
        table = Table("head \x1b[1m", title="title \0")
        table.add_row("[/x] [bold]b[/] :door: \x1b]0;t\x07")
        table_console().print(table)
        table_console().print("[red]\0")
    text = output.getvalue()
    assert "[/x] [bold]b[/] :door: \\x1b]0;t\\x07" in text
    assert "head \\x1b[1m" in text
    assert "title \\x00" in text
    assert "[red]\\x00\n" in text
    assert not any(unicodedata.category(c) == "Cc" and c != "\n" for c in text)


def test_bars_move_in_a_terminal_and_are_lines_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    for output in (io.StringIO(), Terminal()):
        monkeypatch.setattr(sys, "stdout", output)
        monkeypatch.setenv("TERM", "xterm")
        with printable_output():
            with progress.progress_bars(table_console()) as show:
                for name in ("first", "second"):
                    show(name, 0, 2)
                    show(name, 1, 2)
                    show(name, 2, 2)
            show("nothing to do", 0, 0)
        if not output.isatty():
            assert output.getvalue() == "first ...\nsecond ...\n"
        else:
            assert "100%" in output.getvalue()
            assert "\\x1b" not in output.getvalue()


def test_no_message_of_a_command_controls_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "calendar.yml"
    file.write_text('periods:\n- {kind: "x\\e[2J\\0\\u202e", first_day: 2025-01-01, '
                    "last_day: 2025-01-02}\n")  # fmt: skip
    terminal, its_end = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "tippers_dagster.cli", "calendar", "import", str(file)],
        stdout=its_end,
        stderr=its_end,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(its_end)
    received = b""
    try:
        while block := os.read(terminal, 1 << 16):
            received += block
    except OSError:  # the process ended
        pass
    os.close(terminal)
    assert done.wait() == 1
    text = received.decode().replace("\x1b[31m", "").replace("\x1b[0m", "")
    assert "is not a kind of period" in text
    assert "x1b[2J" in text
    assert not any(c in text for c in "\x1b\0\u202e")


def test_commands_print_tables_with_the_same_console() -> None:
    package = Path(__file__).parents[1] / "tippers_dagster"
    others = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "rich.console import Console\n\n    class" not in path.read_text()
        and " Console(" in path.read_text()
    ]
    assert others == []


def test_long_tasks_report_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    with progress.progress_bars(table_console()) as show:
        show("long", 0, 4)
        show("long", 3, 4)
    assert output.getvalue() == "long ...\nlong: 75%\n"
