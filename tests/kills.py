"""Runs that die between replacing an asset's rows and recording the result."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import pytest

from tippers_dagster.automation.state import Recorder, load_states
from tippers_dagster.platform.lake.folder import FolderBackend
from tippers_dagster.settings import Settings

Point = Literal["writing", "recording"]
POINTS: tuple[Point, ...] = ("writing", "recording")
"""Before the first file of the lake is replaced, and after all are written, before recording."""


class Killed(BaseException):
    """Simulates the death of the process; no exception handler of tippers catches it."""


def leaves_nothing_fresh(
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    name: str,
    run: Callable[[], object],
    point: Point,
    folder: str = "",
) -> None:
    """Compute an asset again, die, and check that its version is void.

    It will then be computed again, whatever its inputs are.

    Parameters
    ----------
    name, run
        A computed asset (``Node.name``), and a function that computes it again.
    folder
        Its folder in the lake; files elsewhere are named after their content.
    """
    before = load_states(settings)[name].version
    assert before is not None
    died = []

    def die() -> None:
        died.append(point)
        raise Killed

    publish = FolderBackend._publish

    def published(self: FolderBackend, temporary: str, key: str) -> None:
        if key.startswith(folder):
            die()
        publish(self, temporary, key)

    with monkeypatch.context() as patch:
        if point == "writing":
            patch.setattr(FolderBackend, "_publish", published)
        else:
            patch.setattr(Recorder, "succeeded", lambda *_, **__: die())
        with suppress(Killed):
            run()
    assert died, f"never reached {point}"
    assert load_states(settings)[name].version != before
