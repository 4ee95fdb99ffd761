"""Snorkel's ``@labeling_function``s, imported from the project's files.

They run unchanged, row by row, so they can do what conditions and the safe subset cannot. Only
files of the project are ever loaded, never anything saved through a browser.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tippers_dagster.catalog.kinds import LabellingFunction
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.expressions.nodes import ABSTAIN
from tippers_dagster.labelling.expressions.values import Columns, plain
from tippers_dagster.labelling.program import (
    VoteResult,
    checked,
    class_numbers,
    shown_values,
)

if TYPE_CHECKING:
    from snorkel.labeling import LabelingFunction

_BATCH = 10_000
_CHECKED = "_tippers_not_null"


class NullCompared(TypeError):
    """A labelling function compared a null with ``==``, ``!=`` or ``in``."""


class Row(SimpleNamespace):
    """One row of a rule: ``row.x``, ``row["x"]`` and ``row.get("x")``; nulls are ``None``."""

    def __getitem__(self, name: str) -> Any:
        return self.__dict__[name]

    def __contains__(self, name: str) -> bool:
        return name in self.__dict__

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a column; the default only if there is no such column."""
        return self.__dict__.get(name, default)


@dataclass(frozen=True, eq=False)
class GitFunction:
    """A Snorkel labelling function, and the meaning of its votes.

    Parameters
    ----------
    function
        Snorkel's function object.
    values
        The concept's labels in order; their positions are the class numbers.
    labels
        The labels that it may vote for.
    path
        The file it was loaded from.
    mentioned
        All names and texts in the file: messages show only columns among them.
    """

    function: Callable[[Row], object]
    values: tuple[str, ...]
    labels: tuple[str, ...]
    path: Path
    mentioned: frozenset[str] = frozenset()

    def vote(self, table: pa.Table | Columns) -> VoteResult:
        """Vote on every row, one after the other.

        A row for which the function raises an error counts as an abstention: because of a null if
        it computed or compared with ``None``, otherwise because of an error.

        Raises
        ------
        BadInput
            When it returns something that is not a vote, or a label that it may not vote for.
        AllRowsFailed
            When it failed on every row with values.
        """
        rows = table.table if isinstance(table, Columns) else table
        votes = np.full(rows.num_rows, ABSTAIN, np.int8)
        failures: dict[bool, list[tuple[int, str]]] = {True: [], False: []}
        for at, row in enumerate(_rows(rows)):
            try:
                answer = self.function(row)
            except Exception as error:  # noqa: BLE001 - it may raise anything; everything is counted
                failures[_is_null(error)].append((at, _error_text(error, self.path)))
                continue
            votes[at] = self._number(answer)
        nulls, errors = failures[True], failures[False]
        example = None
        if nulls or errors:
            at, text = (errors or nulls)[0]
            names = [name for name in rows.column_names if name in self.mentioned]
            values = {name: rows.column(name)[at].as_py() for name in names}
            example = f"row {at + 1}: {text}{shown_values(values)}"
        return checked(VoteResult(votes, len(nulls), len(errors), example))

    def _number(self, answer: object) -> int:
        """The class number of the function's result."""
        label: object = answer
        if isinstance(answer, int | np.integer) and not isinstance(answer, bool):
            if answer == ABSTAIN:
                return ABSTAIN
            label = self.values[answer] if 0 <= answer < len(self.values) else answer
        elif answer is None or (isinstance(answer, str) and answer == "ABSTAIN"):
            return ABSTAIN
        if isinstance(label, str) and label in self.labels:
            return self.values.index(label)
        raise BadInput(
            f"{self.path.name} returned {label!r:.60}, which is not in its list of labels.",
            f"It may return {self._allowed()} or -1 to abstain.",
        )

    def _allowed(self) -> str:
        return ", ".join(f"{self.values.index(label)} ({label})" for label in self.labels)


def git_function_path(dbt_project: Path, concept: str, name: str) -> Path:
    """The path of the Python file of a labelling function in the project's files."""
    return dbt_project / "definitions" / concept / "labelling_functions" / f"{name}.py"


def content_hash(path: Path) -> str:
    """A hash of the file's text, which changes with the function. Nothing is loaded.

    Raises
    ------
    BadInput
        When there is no such file.
    """
    return hashlib.blake2b(_text(path), digest_size=16).hexdigest()


def load_git_function(path: Path, body: LabellingFunction, values: Sequence[str]) -> GitFunction:
    """Load the file of a labelling function, and find ``body.function`` in it.

    Parameters
    ----------
    path
        From ``git_function_path``.
    body
        The definition's body; ``function`` is the name of the Snorkel function.
    values
        The concept's labels in order.

    Raises
    ------
    BadInput
        The file is missing or cannot be loaded, has no such function, or its labels are not the
        concept's.
    """
    class_numbers(body, values)
    if body.function is None:
        raise BadInput("The definition names no function.", "Set `function`.")
    module = load_module(path)
    function = _find(module, body.function, path)
    return GitFunction(function, tuple(values), tuple(body.labels), path, _mentioned(path))


def _mentioned(path: Path) -> frozenset[str]:
    nodes = list(ast.walk(ast.parse(_text(path))))
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
    return frozenset(names | {text for text in texts if isinstance(text, str)})


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadInput(
            f"There is no file {path.name} in {path.parent}.",
            "A definition's Snorkel function must be in a file beside its YAML file.",
        ) from None


def load_module(path: Path) -> ModuleType:
    """Run the file, once per content, as a module with a unique name.

    Raises
    ------
    BadInput
        When the file is missing or raises an error.
    """
    place = hashlib.blake2b(str(path.resolve()).encode(), digest_size=6).hexdigest()
    name = f"_tippers_git_{place}_{content_hash(path)}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_loader(name, _Loader(name, str(path)))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    setattr(module, _CHECKED, _not_null)
    sys.modules[name] = module  # data classes and pickle look up their module
    try:
        _Loader(name, str(path)).exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise BadInput(
            f"{path} cannot be loaded: {_error_text(error, path)}.", "Fix the file."
        ) from error
    return module


def _find(module: ModuleType, name: str, path: Path) -> LabelingFunction:
    from snorkel.labeling import LabelingFunction

    found = {
        key: value for key, value in vars(module).items() if isinstance(value, LabelingFunction)
    }
    for key, function in found.items():
        if name in (key, function.name):
            return function
    raise BadInput(
        f"{path} has no labelling function {name!r}.",
        f"Its functions: {', '.join(found)}."
        if found
        else "Put @labeling_function() from snorkel.labeling before it.",
    )


def _rows(table: pa.Table) -> Iterator[Row]:
    """Rows with the same values as for compiled functions: numerics are floats."""
    names = table.column_names
    columns = [plain(table.column(name)) for name in names]
    for start in range(0, table.num_rows, _BATCH):
        lists = [column.slice(start, _BATCH).to_pylist() for column in columns]
        for values in zip(*lists, strict=True):
            row = Row()
            row.__dict__.update(zip(names, values, strict=True))
            yield row


def _is_null(error: Exception) -> bool:
    """Whether a ``None`` caused it: Python's messages name its type."""
    return isinstance(error, NullCompared) or (
        isinstance(error, TypeError | AttributeError) and "NoneType" in str(error)
    )


def _error_text(error: BaseException, path: Path) -> str:
    """The error, and its line in the function's file."""
    line, at = None, error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == str(path):
            line = at.tb_lineno
        at = at.tb_next
    place = "" if line is None else f" (line {line})"
    return f"{type(error).__name__}: {error}{place}"


# --- nulls -------------------------------------------------------------------------------------
def _not_null(value: Any) -> Any:
    if value is None:
        raise NullCompared("a null (None) is compared; test it with `is None` first")
    return value


class _Loader(SourceFileLoader):
    """Loads a module whose labelling functions cannot compare nulls.

    For Python, ``None == 1`` is false and ``None != 1`` true, while every other comparison with
    ``None`` is an error. A labelling function must not vote on a missing value, and must mean the
    same in every form; so inside labelling functions ``==``, ``!=`` and ``in`` are errors too.
    """

    def source_to_code(  # type: ignore[override]
        self, data: bytes, path: str, *, _optimize: int = -1
    ) -> CodeType:
        tree = ast.parse(data, path)
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and _is_labelling(function):
                function.body = [_NullChecks().visit(part) for part in function.body]
        return compile(ast.fix_missing_locations(tree), path, "exec", optimize=_optimize)

    def get_code(self, fullname: str) -> CodeType:
        """Compile the text itself: a cached file would lack the checks."""
        return self.source_to_code(self.get_data(self.path), self.path)


def _is_labelling(function: ast.FunctionDef) -> bool:
    for decorator in function.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        match called:
            case ast.Name(id="labeling_function") | ast.Attribute(attr="labeling_function"):
                return True
    return False


class _NullChecks(ast.NodeTransformer):
    """Checks every operand of an equality with ``_not_null``, unless one is the constant None."""

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        operands = [node.left, *node.comparators]
        if any(isinstance(o, ast.Constant) and o.value is None for o in operands):
            return node
        for at, operator in enumerate(node.ops):
            if isinstance(operator, ast.Eq | ast.NotEq | ast.In | ast.NotIn):
                operands[at] = _wrapped(operands[at])
                operands[at + 1] = _wrapped(operands[at + 1])
        node.left, node.comparators = operands[0], operands[1:]
        return node


def _wrapped(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == _CHECKED:
        return node
    call = ast.Call(ast.Name(_CHECKED, ast.Load()), [node], [])
    return ast.copy_location(call, node)
