"""Parts of a reading: one at a time, in time, and reported once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from tippers_dagster.errors import LakeError
from tippers_dagster.settings import Settings
from tippers_dagster.watching.parts import Part, Result


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


class Slow:
    """Something that takes until it is let go, and counts how often it was read."""

    def __init__(self) -> None:
        self.go, self.times = Event(), 0

    def __call__(self) -> int:
        self.times += 1
        assert self.go.wait(10)
        return self.times


def part(pool: ThreadPoolExecutor, read: Callable[[], int], **options: float) -> Part[int]:
    return Part(Settings(), pool, "it", read, **{"keep_seconds": 0.0, **options})  # type: ignore[arg-type]


def ask(of: Part[int], seconds: float = 10) -> Result[int]:
    of.begin()
    return of.result(time.monotonic() + seconds)


def test_all_who_ask_at_once_share_one_reading(pool: ThreadPoolExecutor) -> None:
    slow = Slow()
    shared = part(pool, slow, keep_seconds=60)
    with ThreadPoolExecutor(20) as others:
        asked = [others.submit(ask, shared) for _ in range(20)]
        time.sleep(0.1)
        slow.go.set()
        assert {one.result() for one in asked} == {Result(1)}
    assert ask(shared) == Result(1), "it is kept"


def test_a_value_is_read_again_when_it_is_old(pool: ThreadPoolExecutor) -> None:
    slow = Slow()
    slow.go.set()
    quick = part(pool, slow)
    assert [ask(quick).value for _ in range(3)] == [1, 2, 3]


def test_what_takes_too_long_is_missing_until_it_is_there(pool: ThreadPoolExecutor) -> None:
    slow = Slow()
    late = part(pool, slow, keep_seconds=60)
    assert ask(late, 0.01) == Result(None, "It takes too long to read.")
    assert ask(late, 0.01).value is None
    slow.go.set()
    assert ask(late) == Result(1)
    assert slow.times == 1


def test_outdated_sizes_are_given_meanwhile(pool: ThreadPoolExecutor) -> None:
    slow = Slow()
    sizes = part(pool, slow, outdated=True)
    assert ask(sizes, 0.01) == Result(None), "no failure: it is being measured"
    slow.go.set()
    assert ask(sizes) == Result(1)
    slow.go.clear()
    assert ask(sizes, 0.01) == Result(1)
    slow.go.set()


def test_a_failure_is_logged_once_without_secrets(
    pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [LakeError("postgresql://ada:hunter2@db is full"), LakeError("It is another one.")]

    def fail() -> int:
        raise failures[0]

    failing = part(pool, fail)
    with caplog.at_level(logging.ERROR):
        assert ask(failing).failure == "postgresql://ada:***@db is full"
        ask(failing)
        assert len(caplog.records) == 1
        failures.pop(0)
        ask(failing)
    assert [record.exc_info for record in caplog.records] == [None, None]
    assert "hunter2" not in caplog.text


def test_unexpected_errors_are_logged_with_their_place(
    pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    assert ask(part(pool, lambda: 1 // 0)).failure == "integer division or modulo by zero"
    assert "ZeroDivisionError" in caplog.text
