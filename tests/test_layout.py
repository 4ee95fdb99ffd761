"""The layout of the code: import contracts, imports inside functions, and the picture of it."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.conftest import REPOSITORY

PACKAGES = ("tippers_dagster", "streamlit_app")


def test_the_import_contracts_are_kept() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-logo", "--no-cache"], cwd=REPOSITORY, capture_output=True)
    assert done.returncode == 0, done.stdout.decode()


def test_the_documented_layout_is_that_of_the_code() -> None:
    spec = importlib.util.spec_from_file_location("layout", REPOSITORY / "docs" / "layout.py")
    assert spec is not None
    assert spec.loader is not None
    layout = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(layout)
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    assert layout.layout() in page, "run `make layout`"


def test_imports_inside_functions_save_start_up_time() -> None:
    found = [
        f"{module}:{line} {target}"
        for module, imports in modules().items()
        for target, line in imports.late
        if not saves_time(module, target)
    ]
    assert not found, "Move these to the top of their module:\n" + "\n".join(found)


def test_services_start_without_pandas() -> None:
    """Arrow imports it for its first array or dataset, which takes as long as all of our code."""
    names = ("definitions", "graph.launch", "graph.reload", "stack.supervisor", "stack.web")
    imports = ", ".join(f"tippers_dagster.{name}" for name in names)
    code = f"import sys, {imports}; assert 'pandas' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


# --- imports ------------------------------------------------------------------------------------
@dataclass
class Imports:
    """What a module imports: names and lines, at its top and inside functions."""

    top: list[tuple[str, int]] = field(default_factory=list)
    late: list[tuple[str, int]] = field(default_factory=list)


def saves_time(module: str, target: str) -> bool:
    """Whether importing it inside a function spares the module's importers a library."""
    if is_ours(target):
        return bool(libraries(target) - libraries(module))
    return target.split(".")[0] not in sys.stdlib_module_names


@cache
def libraries(module: str) -> frozenset[str]:
    """The libraries that importing one of our modules imports, directly or through others."""
    seen: set[str] = set()
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if not is_ours(name):
            top = name.split(".")[0]
            found |= {top} - sys.stdlib_module_names
        elif name not in seen and name in modules():
            seen.add(name)
            parts = name.split(".")
            waiting += [".".join(parts[:i]) for i in range(1, len(parts))]
            waiting += [target for target, _ in modules()[name].top]
    return frozenset(found)


def is_ours(name: str) -> bool:
    return name.split(".")[0] in PACKAGES


@cache
def modules() -> dict[str, Imports]:
    files = [f for package in PACKAGES for f in (REPOSITORY / package).rglob("*.py")]
    names = {module_name(file): file for file in files}
    return {name: imports_of(file, names.keys()) for name, file in names.items()}


def module_name(file: Path) -> str:
    parts = file.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imports_of(file: Path, known: object) -> Imports:
    found = Imports()

    def visit(node: ast.AST, *, late: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            for target in targets(child, known):
                (found.late if late else found.top).append((target, child.lineno))
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            visit(child, late=late or function)

    visit(ast.parse(file.read_text()), late=False)
    return found


def targets(node: ast.AST, known) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            yield whole if whole in known else node.module
