"""Nothing in the packages loads executable content: no pickle, no model through its MLmodel."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

FORBIDDEN_MODULES = {"pickle", "_pickle", "cloudpickle", "dill", "shelve", "marshal", "jsonpickle"}
FORBIDDEN_CALLS = {
    *(
        "torch.load",
        "torch.save",
        "joblib.load",
        "joblib.dump",
        "pd.read_pickle",
        "pandas.read_pickle",
    ),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all", "yaml.full_load_all"),
    *("mlflow.sklearn.load_model", "mlflow.pyfunc.load_model", "mlflow.lightgbm.load_model"),
    *("mlflow.pytorch.load_model", "mlflow.pyfunc.load_pyfunc", "skops.io.load"),
}
SAFE_YAML = {"yaml.CSafeLoader", "yaml.SafeLoader", "_Loader"}
ONLY_IN = {"skops.io.loads": "tippers_dagster/learning/saved.py"}
"""Calls that are allowed in one module, which checks their input."""


def modules() -> Iterator[Path]:
    for package in ("tippers_dagster", "streamlit_app"):
        yield from sorted((ROOT / package).rglob("*.py"))


def faults(text: str, path: str) -> list[str]:
    """Forbidden code in a module, with line numbers."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names]
            found += [
                f"{node.lineno}: {n}" for n in names if n.partition(".")[0] in FORBIDDEN_MODULES
            ]
        elif isinstance(node, ast.Call) and not _allowed(node, path):
            found.append(f"{node.lineno}: {ast.unparse(node)[:80]}")
    return found


def _allowed(call: ast.Call, path: str) -> bool:
    name = ast.unparse(call.func)
    given = {k.arg: ast.unparse(k.value) for k in call.keywords}
    if name in ("np.load", "numpy.load"):
        return given.get("allow_pickle") == "False"
    if name == "yaml.load":
        loader = given.get("Loader") or ast.unparse(call.args[1]) if call.args[1:] else ""
        return loader in SAFE_YAML
    if name in ONLY_IN:
        return path == ONLY_IN[name]
    return name not in FORBIDDEN_CALLS


def test_no_module_loads_executable_content() -> None:
    found = {
        (name := path.relative_to(ROOT).as_posix()): faults(path.read_text(), name)
        for path in modules()
    }
    assert len(found) > 100
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from cloudpickle import loads",
        "np.load(file)",
        "np.load(file, allow_pickle=True)",
        "torch.load(file, weights_only=True)",
        "mlflow.sklearn.load_model(place)",
        "yaml.load(text, yaml.Loader)",
        "yaml.load(text)",
        "skops.io.loads(content, trusted=types)",
    ],
)
def test_such_code_would_be_found(line: str) -> None:
    assert faults(line, "tippers_dagster/learning/models.py")
