"""Runs that die where it would hurt: between replacing what an asset holds and recording it."""

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
"""Before the first file of the lake is replaced, and when all is written and nothing recorded."""


class Killed(BaseException):
    """The process died. No handler of an exception of the product catches it."""


def leaves_nothing_fresh(
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    name: str,
    run: Callable[[], object],
    point: Point,
    folder: str = "",
) -> None:
    """Compute an asset again, die, and see that it has not the version that it had.

    Whatever its inputs are afterwards, it will be computed again.

    Parameters
    ----------
    name, run
        Of an asset that was computed (``Node.name``), and what computes it again.
    folder
        Where its files are in the lake; others are content of their own names.
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
    assert died, f"it never came to {point}"
    assert load_states(settings)[name].version != before
