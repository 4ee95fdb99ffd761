"""A second deployment to restore to, with its own home, databases and lake."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import SessionServer, enter
from tippers_dagster.settings import Settings


@contextmanager
def other_machine(
    server: SessionServer, folder: Path, monkeypatch: pytest.MonkeyPatch, **more: str
) -> Iterator[Settings]:
    """The settings of an empty deployment in a folder, which becomes this process's own."""
    folder.mkdir()
    urls = {name: server.create() for name in ("TIPPERS_DATABASE_URL", "TIPPERS_DAGSTER_URL")}
    with monkeypatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("TIPPERS_")]:
            if name not in ("TIPPERS_DBT_PROJECT", "TIPPERS_THREADS", "TIPPERS_SHARED"):
                patch.delenv(name)
        yield enter(patch, {"TIPPERS_HOME": str(folder / "home"), **urls, **more})
    for url in urls.values():
        server.drop(url)
