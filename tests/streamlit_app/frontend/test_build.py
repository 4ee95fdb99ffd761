"""The built components are those of their sources, and need nothing from elsewhere."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

FRONTEND = Path(__file__).parents[3] / "streamlit_app" / "frontend"
BUILT = FRONTEND / "dist"
LARGEST = 600_000
"""Bytes of a bundle; its compressed size is a third."""


def sources_hash() -> str:
    """As ``build.mjs`` computes it."""
    inside = (path for path in (FRONTEND / "src").rglob("*") if path.is_file())
    names = [path.relative_to(FRONTEND).as_posix() for path in inside]
    mixed = hashlib.sha256()
    for name in sorted(["build.mjs", "package.json", "package-lock.json", *names]):
        mixed.update(f"{name}\0".encode())
        mixed.update((FRONTEND / name).read_bytes())
    return mixed.hexdigest()


def test_the_bundles_were_built_from_these_sources() -> None:
    built = (BUILT / "sources.sha256").read_text().strip()
    assert built == sources_hash(), "`npm ci && npm run build` in streamlit_app/frontend"


def test_building_again_gives_the_same(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None or not (FRONTEND / "node_modules" / "esbuild").is_dir():
        pytest.skip("no Node.js, or its packages are not installed here")
    subprocess.run([node, "build.mjs", tmp_path], cwd=FRONTEND, check=True, capture_output=True)
    names = sorted(path.name for path in BUILT.iterdir())
    assert names == ["LICENSES.txt", "canvas.js", "editor.js", "sources.sha256"]
    for name in names:
        assert (tmp_path / name).read_bytes() == (BUILT / name).read_bytes(), name


@pytest.mark.slow
def test_the_types_fit() -> None:
    compiler = FRONTEND / "node_modules" / ".bin" / "tsc"
    if not compiler.exists():
        pytest.skip("the packages are not installed here")
    done = subprocess.run(
        [compiler, "--noEmit"], cwd=FRONTEND, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["canvas", "editor"])
def test_nothing_is_fetched_from_elsewhere(name: str) -> None:
    text = (BUILT / f"{name}.js").read_text()
    assert len(text) < LARGEST
    assert not re.search(r"""(?:import|fetch|importScripts)\s*\(\s*["'`]https?:""", text)
    assert not re.search(r"""(?:@import|url\()\s*["']?https?:""", text)
    hosts = set(re.findall(r"https?://([\w.-]+)", text))
    # Namespaces of XML, addresses within error messages, and the canvas's own credit.
    assert hosts <= {"www.w3.org", "react.dev", "reactflow.dev", "codemirror.net"}, hosts


def test_the_lock_file_has_no_download_addresses() -> None:
    lock = (FRONTEND / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert '"integrity"' in lock
    assert not re.search(r"registry|\.tgz", lock)


def test_the_licences_of_what_is_inside_are_there() -> None:
    text = (BUILT / "LICENSES.txt").read_text()
    for name in ("@xyflow/react", "react", "@codemirror/view", "d3-zoom"):
        assert re.search(rf"^{re.escape(name)} \d", text, re.MULTILINE), name
