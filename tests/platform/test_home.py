"""The home and the files in it are private to their owner."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tippers_dagster.platform.dagster.environment import dagster_environment
from tippers_dagster.platform.home import HomeError, private_home
from tippers_dagster.platform.keys import device_key
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.stack.doctor import examine


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """The umask of a shell: the code makes files private, not the tests."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def open_to_others(top: Path) -> list[Path]:
    return [path for path in (top, *top.rglob("*")) if mode(path) & 0o077]


def test_a_new_home_and_later_files_are_private(tmp_path: Path) -> None:
    home = private_home(tmp_path / "above" / "home")
    (home / "file").touch()
    (home / "folder").mkdir()
    subprocess.run([sys.executable, "-c", f"open({str(home / 'child')!r}, 'w')"], check=True)
    assert open_to_others(tmp_path / "above") == []


@pytest.mark.parametrize("use", [databases, device_key, dagster_environment, lambda _: examine()])
def test_an_open_home_is_made_private_at_first_use(
    home: Path, stack: Settings, monkeypatch: pytest.MonkeyPatch, use: object
) -> None:
    monkeypatch.delenv("TIPPERS_DEVICE_KEY")
    get_settings.cache_clear()
    databases.cache_clear()
    folder = stack.home_path
    folder.chmod(0o755)
    (folder / "logs").mkdir(mode=0o755)
    (folder / "up.lock").touch(mode=0o644)
    os.umask(0o022)
    use(get_settings())  # type: ignore[operator]
    assert open_to_others(folder) == []


def test_no_other_folder_is_made_private(tmp_path: Path) -> None:
    documents = tmp_path / "documents"
    documents.mkdir(mode=0o755)
    (documents / "thesis.txt").touch()
    with pytest.raises(HomeError, match="holds other files") as caught:
        private_home(documents)
    assert "TIPPERS_HOME" in (caught.value.hint or "")
    assert mode(documents) == 0o755
    documents.chmod(0o700)
    assert private_home(documents) == documents

    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "device_key").touch()
    shared.chmod(0o1777)
    with pytest.raises(HomeError, match="holds other files"):
        private_home(shared)


def test_targets_of_links_in_a_home_stay_unchanged(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)
    (tmp_path / "disk").mkdir(mode=0o755)
    (tmp_path / "home" / "lake").symlink_to(tmp_path / "disk")
    (tmp_path / "home" / "up.lock").touch()
    private_home(tmp_path / "home")
    assert mode(tmp_path / "home") == 0o700
    assert mode(tmp_path / "disk") == 0o755


USE = """
import os, sys
from pathlib import Path
from tippers_dagster.platform.home import private_home
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
private_home(Path(sys.argv[1]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_open_home_of_another_user_is_refused() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        done = subprocess.run(
            [sys.executable, "-c", USE, name, str(pwd.getpwnam("nobody").pw_uid)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "belongs to another user" in done.stderr


def test_every_command_makes_the_home_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("TIPPERS_HOME", str(home))
    for command in (["people", "list"], ["dagster", "run", "list"]):
        done = subprocess.run(
            [sys.executable, "-m", "tippers_dagster.cli", *command],
            capture_output=True,
            text=True,
            check=False,
            umask=0o022,
        )
        assert done.returncode == 0, done.stderr
        assert open_to_others(home) == []
