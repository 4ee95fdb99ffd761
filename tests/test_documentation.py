"""Links, commands, settings and modules that the documentation names exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer.main
from typer.core import TyperGroup

from tippers_dagster.cli import build_app
from tippers_dagster.settings import Settings

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for folder in (".", "docs", "benchmarks")
    for path in (REPOSITORY / folder).glob("*.md")
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.M | re.S)
INLINE = re.compile(r"`([^`\n]+)`")
MODULE = re.compile(
    r"\b(?:tippers_dagster/)?[a-z_/]+/[a-z_]+\.py\b|\btippers_dagster(?:\.[a-z_]+)+"
)


@cache
def text_of(page: str) -> str:
    return (REPOSITORY / page).read_text()


@cache
def anchors(page: str) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text_of(page)), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for link in LINK.findall(FENCED.sub("", text_of(page))):
        if link.startswith("http"):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        assert target.exists(), f"{page} links to {link}"
        if anchor:
            name = target.resolve().relative_to(REPOSITORY.resolve()).as_posix()
            assert anchor in anchors(name), f"{page} links to {link}"


@pytest.mark.parametrize("page", PAGES)
def test_every_command_exists_with_its_options(page: str) -> None:
    for line in commands(text_of(page)):
        check_command(line)


def commands(text: str) -> Iterator[str]:
    """The command lines that begin with ``tippers``, without comments."""
    for block in FENCED.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("tippers "):
                yield re.sub(r"\s#.*", "", line)
    for code in INLINE.findall(FENCED.sub("", text)):
        if code.startswith("tippers "):
            yield code


@cache
def application() -> TyperGroup:
    app = typer.main.get_command(build_app())
    assert isinstance(app, TyperGroup)
    return app


def check_command(line: str) -> None:
    words = shlex.split(line.replace("[", " ").replace("]", " "))[1:]
    chosen = [application()]
    while words and isinstance(chosen[0], TyperGroup):
        names = [words.pop(0)]
        while len(words) > 1 and words[0] == "|":
            names.append(words[1])
            del words[:2]
        group = chosen[0]
        assert names[0] in group.commands or names == ["..."], line
        assert all(name in group.commands for name in names if name != "..."), line
        chosen = [group.commands[name] for name in names if name in group.commands]
    if not any(command.context_settings.get("ignore_unknown_options") for command in chosen):
        known = {name for command in chosen for p in command.params for name in p.opts}
        known |= {name for command in chosen for p in command.params for name in p.secondary_opts}
        assert {word for word in words if word.startswith("--")} <= known, line


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_exists(page: str) -> None:
    # Those of tests are in the script of CI.
    texts = text_of(".env.example") + text_of(".ci/run")
    listed = set(re.findall(r"\bTIPPERS_[A-Z0-9_]+", texts))
    known = listed | {f"TIPPERS_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"\bTIPPERS_[A-Z0-9_]+", text_of(page))) <= known


@pytest.mark.parametrize("page", PAGES)
def test_every_module_exists(page: str) -> None:
    for name in MODULE.findall(text_of(page)):
        path = Path(name.removesuffix(".py").replace(".", "/").removeprefix("tippers_dagster/"))
        # What follows a module's name in a dotted path is a function of it.
        assert is_module(path) or (not name.endswith(".py") and is_module(path.parent)), name


def is_module(path: Path) -> bool:
    places = [REPOSITORY / "tippers_dagster" / path, REPOSITORY / path]
    return any(place.with_suffix(".py").is_file() for place in places)
