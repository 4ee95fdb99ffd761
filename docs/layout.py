"""Draws the packages for docs/architecture.md: `make layout` prints the picture and the table.

The picture leaves out an arrow where others lead to the same package (the transitive reduction):
what it shows is enough to see what may import what.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "tippers_dagster"
BASICS = ("settings", "errors")
"""Imported by nearly all; arrows to them would say nothing."""
COMPATIBILITY = "forecasts"
BEGIN, END = "<!-- layout: written by `make layout` -->", "<!-- end of layout -->"


def packages() -> list[str]:
    """The packages from the highest to the lowest, as the import contract lists them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(c for c in contracts["contracts"] if c["id"] == "packages")["layers"]
    return [name for name in layers if name not in BASICS]


def imports(names: list[str]) -> dict[str, set[str]]:
    """Which package imports which."""
    graph = grimp.build_graph(PACKAGE)
    for name in graph.find_children(PACKAGE):
        graph.squash_module(name)
    return {
        name: {
            other
            for other in names[names.index(name) + 1 :]
            if graph.direct_import_exists(
                importer=f"{PACKAGE}.{name}", imported=f"{PACKAGE}.{other}"
            )
        }
        for name in names
    }


def reduced(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The arrows that no longer way replaces."""

    def reached(name: str) -> set[str]:
        return graph[name].union(*map(reached, graph[name]))

    return {
        name: {o for o in others if not any(o in reached(p) for p in others - {o})}
        for name, others in graph.items()
    }


def picture(names: list[str]) -> str:
    """The packages as a Mermaid flowchart."""
    arrows = [
        f"    {name} --> {other}"
        for name, others in reduced(imports(names)).items()
        for other in sorted(others, key=names.index)
    ]
    return "\n".join(["```mermaid", "flowchart TD", *arrows, "```"])


def table(names: list[str]) -> str:
    """What each package is for, in the words of its docstring, and how large it is."""
    rows = ["| package | what it is for | modules |", "| --- | --- | ---: |"]
    for name in names:
        folder = ROOT / PACKAGE / name
        files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
        main = folder / "__init__.py" if folder.is_dir() else files[0]
        said = (ast.get_docstring(ast.parse(main.read_text())) or "").partition("\n\n")[0]
        modules = len([f for f in files if f.name != "__init__.py"])
        rows.append(f"| `{name}` | {' '.join(said.split())} | {modules} |")
    return "\n".join(rows)


def layout() -> str:
    """The part of docs/architecture.md between the markers."""
    names = packages()
    return f"{BEGIN}\n{picture(names)}\n\n{table(names)}\n{END}"


def main() -> None:
    """Print the layout, or with `--write` bring docs/architecture.md up to date."""
    if "--write" not in sys.argv:
        print(layout())
        return
    page = ROOT / "docs" / "architecture.md"
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(before + layout() + rest.partition(END)[2])


if __name__ == "__main__":
    main()
