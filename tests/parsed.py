"""Rendered dbt projects are shared by the homes of all tests: each content is parsed once.

A project is named after what it is made from, so a home takes one that is there for its own.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


class ParsedProjects:
    """A folder of parsed projects, for all processes of a test run."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._homes: set[Path] = set()

    def keep_in(self, folder: Path) -> None:
        """Where they are kept; before that nothing is shared."""
        folder.mkdir(exist_ok=True)
        self._folder = folder

    def lend(self, home: Path) -> None:
        """Let a home find them."""
        if self._folder is None:
            return
        own = home / "dbt"
        own.mkdir(exist_ok=True)
        for project in self._folder.iterdir():
            with suppress(FileExistsError):
                (own / project.name).symlink_to(project)
        self._homes.add(home)

    def collect(self) -> None:
        """Keep what these homes have parsed; they find it where it was."""
        for home in self._homes:
            for project in (home / "dbt").glob("*/target/manifest.json"):
                self._collect(project.parents[1])
        self._homes.clear()

    def _collect(self, project: Path) -> None:
        if self._folder is None or project.is_symlink() or not (project / "broken.json").exists():
            return
        kept = self._folder / project.name
        # Another process has it, or the home is on another disk.
        with suppress(OSError):
            project.rename(kept)
            project.symlink_to(kept)


PARSED = ParsedProjects()
