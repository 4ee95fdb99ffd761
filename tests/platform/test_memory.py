"""Free memory of the machine and its control groups, and waiting for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from tippers_dagster.errors import LowMemory
from tippers_dagster.platform import memory
from tippers_dagster.platform.memory import free_memory, wait_for_memory
from tippers_dagster.settings import Settings

MB = 1 << 20
UNLIMITED = 9223372036854771712


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 8000 MB available."""
    figures = psutil.virtual_memory()._replace(available=8000 * MB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: figures)


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def group2(folder: Path, limit: object, used: int = 0, cache: int = 0) -> None:
    """A control group of version 2, in MB."""
    given = limit if isinstance(limit, str) else limit * MB  # type: ignore[operator]
    stat = f"anon {used * MB}\nfile 7\ninactive_file {cache * MB}\nactive_file 9"
    write(folder, memory__max=given, memory__current=used * MB, memory__stat=stat)


def group1(folder: Path, limit: int, used: int = 0, cache: int = 0) -> None:
    """A control group of version 1, in MB."""
    write(
        folder,
        memory__limit_in_bytes=min(limit * MB, UNLIMITED),
        memory__usage_in_bytes=used * MB,
        memory__stat=f"cache 1\ntotal_inactive_file {cache * MB}",
    )


def free(tmp_path: Path, mine: str) -> int:
    """Free MB of a process in these groups."""
    (tmp_path / "mine").write_text(mine)
    return free_memory(tmp_path / "groups", tmp_path / "mine") // MB


def test_a_container_of_version_2(tmp_path: Path) -> None:
    """Its own group is the root that it sees. Cached pages are reclaimed when needed."""
    group2(tmp_path / "groups", 1000, used=900, cache=250)
    assert free(tmp_path, "0::/\n") == 350


def test_the_tightest_of_nested_groups_counts(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    write(groups, cgroup__procs="")  # the outermost has no limit
    group2(groups / "system.slice", 600, used=500)
    group2(groups / "system.slice" / "tippers.service", 2000, used=400)
    assert free(tmp_path, "0::/system.slice/tippers.service\n") == 100
    group2(groups / "system.slice", "max", used=500)
    assert free(tmp_path, "0::/system.slice/tippers.service\n") == 1600
    group2(groups / "system.slice" / "tippers.service", "max", used=400)
    assert free(tmp_path, "0::/system.slice/tippers.service\n") == 8000


def test_a_container_of_version_1(tmp_path: Path) -> None:
    """It sees the group's path on the host, which does not exist inside."""
    group1(tmp_path / "groups" / "memory", 1000, used=900, cache=50)
    assert free(tmp_path, "5:cpu,cpuacct:/\n4:memory:/docker/4f2a\n0::/\n") == 150
    group1(tmp_path / "groups" / "memory", UNLIMITED, used=900)
    assert free(tmp_path, "4:memory:/docker/4f2a\n") == 8000


def test_nothing_is_free_above_the_limit(tmp_path: Path) -> None:
    group2(tmp_path / "groups", 100, used=130)
    assert free(tmp_path, "0::/\n") == 0


@pytest.mark.parametrize("mine", ["", "0::/\n", "0::/../outside\n", "3:cpu:/\n"])
def test_without_limits_the_machine_counts(tmp_path: Path, mine: str) -> None:
    (tmp_path / "groups").mkdir()
    assert free(tmp_path, mine) == 8000
    assert free_memory(tmp_path / "no", tmp_path / "nothing") == 8000 * MB


class Clock:
    """Time that passes only by sleeping, and the free memory at each poll."""

    def __init__(self, *polls: int) -> None:
        self.now, self.polls = 0.0, list(polls)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def free(self) -> int:
        return (self.polls.pop(0) if len(self.polls) > 1 else self.polls[0]) * MB


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock(100, 100, 900)
    monkeypatch.setattr(memory, "time", made)
    monkeypatch.setattr(memory, "free_memory", made.free)
    return made


def settings_of(**changes: object) -> Settings:
    values: Mapping[str, object] = {"min_free_memory_mb": 512, "memory_wait_seconds": 60, **changes}
    return Settings(**values)  # type: ignore[arg-type]


def test_it_waits_until_there_is_enough(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    wait_for_memory(settings_of(), logging.getLogger())
    assert clock.now == 4
    assert [r.message for r in caplog.records] == [
        "Waiting for memory: 100 MB free, TIPPERS_MIN_FREE_MEMORY_MB is 512."
    ], "logged once"


def test_it_does_not_wait_forever(clock: Clock) -> None:
    clock.polls = [12]
    with pytest.raises(
        LowMemory, match="Only 12 MB of memory are free after waiting 60 s"
    ) as caught:
        wait_for_memory(settings_of(), logging.getLogger())
    assert clock.now == 60
    assert "TIPPERS_MIN_FREE_MEMORY_MB" in (caught.value.hint or "")
