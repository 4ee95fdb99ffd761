"""The current dbt project: the hand-written one with the saved definitions rendered into it.

``<home>/dbt/<fingerprint>/`` is named after the content it is made from. Processes with the same
definitions share a folder, and a folder never changes while it is in use. It is written under
another name, parsed once, and renamed, so it is either complete or absent.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from tippers_dagster.automation.nodes import digest
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.handwritten import project_source
from tippers_dagster.catalog.kinds import Connection, Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.catalog.window import Window
from tippers_dagster.errors import BadInput, TippersError
from tippers_dagster.platform import yaml_text
from tippers_dagster.settings import Settings
from tippers_dagster.sql.environment import (
    connection_name,
    dbt_variables,
)
from tippers_dagster.sql.names import NameTable
from tippers_dagster.sql.parsing import Parser, dbt_parser
from tippers_dagster.sql.render import SourceTable, needs, render
from tippers_dagster.sql.windows import log_models, window_files

KEPT = 3
"""How many of the newest rendered projects are kept at least."""

KEPT_SECONDS = 86_400
"""A project is also kept if it was used within a day."""

MAX_PARSES = 8
"""After this many parse errors, all saved definitions are left out."""

_IGNORED = {"definitions", "target", "logs", "dbt_packages"}
_FINGERPRINT = re.compile(r"[0-9a-f]{32}")
_BROKEN = "broken.json"
_CONNECTION = "connection"
"""Of the project's tables: dbt parses everything again for another one."""


class DbtError(TippersError):
    """The hand-written dbt project cannot be used."""


@dataclass(frozen=True)
class Project:
    """A rendered and parsed dbt project.

    ``broken``: the definitions that are left out, including those that read a broken one, and why;
    ``catalog.problems`` are among them.
    """

    folder: Path
    broken: Mapping[Ref, str]

    @property
    def manifest_path(self) -> Path:
        """The path of dbt's manifest."""
        return self.folder / "target" / "manifest.json"

    @cached_property
    def variables(self) -> dict[str, Any]:
        """The project's variables, including those from the settings."""
        name = "dbt_project.yml"
        return _read_yaml(name, (self.folder / name).read_bytes())["vars"]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """dbt's manifest of the project; large."""
        import orjson

        return orjson.loads(self.manifest_path.read_bytes())

    @property
    def staging_views(self) -> list[tuple[str, str]]:
        """With DuckDB: ``schema.table`` and SQL of the staging models, inputs first."""
        nodes = {
            unique_id: node
            for unique_id, node in self.manifest["nodes"].items()
            if node["resource_type"] == "model" and node.get("compiled_code")
        }
        inputs = {i: [d for d in n["depends_on"]["nodes"] if d in nodes] for i, n in nodes.items()}
        return [
            (f"{nodes[i]['schema']}.{nodes[i]['alias']}", nodes[i]["compiled_code"])
            for i in TopologicalSorter(inputs).static_order()
        ]


def rendered_project(settings: Settings, catalog: Catalog) -> Project:
    """The rendered project of these definitions; it is made if it does not exist.

    Takes milliseconds if it exists; otherwise dbt parses it once, however many processes need it at
    the same time. The folder is kept until this process ends.

    Raises
    ------
    SettingsError
        There is no hand-written project.
    DbtError
        The hand-written project itself is broken.
    """
    source = project_source(settings)
    variables = dbt_variables(settings)
    files = _hand_written(source)
    root = settings.home_path / "dbt"
    folder = root / _fingerprint(settings, files, variables, catalog)
    while not _hold(folder):
        root.mkdir(parents=True, exist_ok=True)
        with _exclusive(root / "lock"):
            if not folder.is_dir():
                draft = root / f".new-{os.getpid()}"
                _remove(draft)
                with dbt_parser(settings, draft) as parser:
                    _Draft(settings, catalog, files, variables).make(draft, folder, parser)
                _prune(root, keep=folder)
    return Project(folder, _read_broken(folder))


# --- content ------------------------------------------------------------------------------------
def _hand_written(source: Path) -> dict[str, bytes]:
    """The files of the hand-written project by relative path, in order."""
    found: dict[str, bytes] = {}
    for folder, folders, names in os.walk(source):
        top = Path(folder) == source
        folders[:] = sorted(
            n for n in folders if not n.startswith(".") and not (top and n in _IGNORED)
        )
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith("."):
                found[path.relative_to(source).as_posix()] = path.read_bytes()
    return found


def _fingerprint(
    settings: Settings, files: Mapping[str, bytes], variables: Mapping[str, Any], catalog: Catalog
) -> str:
    """A hash of everything that decides what the folder holds; nothing is rendered for it."""
    parts = [
        *(digest(path, content.decode("utf-8", "replace")) for path, content in files.items()),
        *_code(),
        *(importlib.metadata.version(name) for name in ("dbt-core", "dbt-duckdb", "dbt-postgres")),
        json.dumps(variables, sort_keys=True),
        connection_name(settings),
        *_content(catalog),
    ]
    return digest(*parts)


def _code() -> Iterator[str]:
    """The source code of the modules that render: other code may render something else."""
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        yield path.read_text()


def _content(catalog: Catalog) -> Iterator[str]:
    for ref, d in catalog.definitions.items():
        if ref.kind.has_sql:
            yield digest(str(ref), ref.kind, d.origin, d.description, d.owner, str(d.version))
            yield d.body.model_dump_json()
        elif ref.kind == Kind.LABEL_MODEL:
            yield digest(str(ref), ref.kind, d.description)
        elif isinstance(d.body, Connection):
            yield digest(str(ref), *(table.name for table in d.body.tables))
    for name, window in _windows(catalog).items():
        yield digest(name, str(window))
    for ref, reason in catalog.problems.items():
        yield digest(str(ref), reason)
    for ref in sorted(_hidden(catalog)):
        yield str(ref)


def _windows(catalog: Catalog) -> dict[str, Window]:
    """The window of each model that does not read everything."""
    found = {
        ref.model_name: catalog.window(ref)
        for ref in catalog.definitions
        if ref.kind.has_sql and ref not in catalog.problems
    }
    return {name: window for name, window in found.items() if not window.is_everything}


def _hidden(catalog: Catalog) -> set[Ref]:
    """Definitions from files that are replaced by a saved one or retired."""
    return {*catalog.shadowed, *catalog.retired}


# --- making it ----------------------------------------------------------------------------------
class _Draft:
    """A rendered project being made; the caller holds the lock."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        files: Mapping[str, bytes],
        variables: Mapping[str, Any],
    ) -> None:
        self._settings, self._catalog = settings, catalog
        self._broken: dict[Ref, str] = dict(catalog.problems)
        names = NameTable.of(catalog, settings)
        staging, windows = log_models(files), _windows(catalog)
        engine = settings.sql_engine
        rendered = render(catalog, names, _declared(files), engine, windows, staging)
        self._add_broken(rendered.broken)
        self._hand_written = {
            **files,
            **window_files(staging, windows),
            "dbt_project.yml": _with_variables(files, variables),
            "selectors.yml": _with_selectors(files, catalog),
        }
        self._rendered = {path: text.encode() for path, text in rendered.files.items()}

    def make(self, draft: Path, folder: Path, parser: Parser) -> None:
        """Make the project in ``draft``, then rename it to ``folder``."""
        try:
            self._write_parsable(draft, parser)
            _write_broken(draft, self._broken)
            draft.rename(folder)
        finally:
            _remove(draft)

    def _write_parsable(self, draft: Path, parser: Parser) -> None:
        """Write the project without the definitions that dbt cannot parse."""
        for _ in range(MAX_PARSES):
            self._write(draft)
            error = parser.parse()
            if error is None:
                return
            culprit = self._culprit(error)
            if culprit is None:
                break
            self._add_broken({culprit: f"dbt cannot parse it: {error}"})
        self._add_broken(
            {
                ref: f"dbt cannot parse the project with the saved definitions: {error}"
                for ref in self._models().values()
                if self._catalog.definitions[ref].origin == "catalog" and ref not in self._broken
            }
        )
        self._write(draft)
        error = parser.parse()
        if error is not None:
            raise DbtError(
                f"dbt cannot parse the project in {project_source(self._settings)}: {error}",
                "Fix the file named in the message, then run `tippers dbt parse`.",
            )

    def _models(self) -> dict[str, Ref]:
        return {ref.model_name: ref for ref in self._catalog.definitions if ref.kind.has_sql}

    def _culprit(self, error: str) -> Ref | None:
        """The first definition named in dbt's message that is still in the project."""
        models = self._models()
        named = (models.get(word) for word in re.findall(r"[a-z0-9_]+__[a-z0-9_]+", error))
        return next((ref for ref in named if ref and ref not in self._broken), None)

    def _add_broken(self, found: Mapping[Ref, str]) -> None:
        """Mark these definitions as broken, and all that read them."""
        for ref, reason in found.items():
            self._broken.setdefault(ref, reason)
        for ref in self._catalog.order:
            below = next((d for d in self._catalog.dependencies(ref) if d in self._broken), None)
            if ref not in self._broken and below is not None:
                self._broken[ref] = needs(below, self._broken[below])

    def _write(self, draft: Path) -> None:
        """Write the current files; dbt's files from an earlier parse stay."""
        dropped = {ref.model_name for ref in (*_hidden(self._catalog), *self._broken)}
        broken = {ref.model_name for ref in self._broken}
        kept = {p: text for p, text in self._hand_written.items() if Path(p).stem not in dropped}
        kept |= {p: text for p, text in self._rendered.items() if Path(p).stem not in broken}
        _remove(draft / "models")
        for path, content in kept.items():
            target = draft / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        _seed_parse(draft, connection_name(self._settings))


def _declared(files: Mapping[str, bytes]) -> set[SourceTable]:
    """The source tables that the hand-written project declares."""
    found: set[SourceTable] = set()
    for path, content in files.items():
        if Path(path).suffix in (".yml", ".yaml") and re.search(rb"^sources:", content, re.M):
            for source in (_read_yaml(path, content) or {}).get("sources") or ():
                found |= {(source["name"], t["name"]) for t in source.get("tables") or ()}
    return found


def _read_yaml(path: str, text: bytes) -> Any:
    """The content of a YAML file of the hand-written project."""
    try:
        return yaml_text.load_project_file(text.decode())
    except (BadInput, UnicodeDecodeError) as error:
        raise DbtError(f"The project's {path} cannot be read: {error}", "Fix the file.") from None


def _with_variables(files: Mapping[str, bytes], variables: Mapping[str, Any]) -> bytes:
    """``dbt_project.yml`` with our variables.

    Aliases are fixed when dbt parses, so variables cannot be passed on the command line later.
    """
    content = _read_yaml("dbt_project.yml", files["dbt_project.yml"])
    content["vars"] = {**(content.get("vars") or {}), **variables}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()


def _with_selectors(files: Mapping[str, bytes], catalog: Catalog) -> bytes:
    """``selectors.yml`` with selectors for the concepts and levels of saved definitions."""
    content = _read_yaml("selectors.yml", files.get("selectors.yml", b"")) or {"selectors": []}
    concepts = sorted({ref.concept for ref in catalog.definitions if ref.kind.has_sql})
    levels = sorted({f"level_{catalog.level(concept)}" for concept in concepts})
    known = {selector["name"] for selector in content["selectors"]}
    for name, tag in [*((c, f"concept_{c}") for c in concepts), *zip(levels, levels, strict=True)]:
        if name not in known:
            definition = {"method": "tag", "value": tag}
            content["selectors"].append({"name": name, "definition": definition})
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()


def _seed_parse(draft: Path, connection: str) -> None:
    """Copy dbt's parse state from the newest project, so that dbt parses only what differs."""
    (draft / _CONNECTION).write_text(connection)
    memory = draft / "target" / "partial_parse.msgpack"
    if memory.exists():
        return
    before = [p / "target" / memory.name for p in _projects(draft.parent) if _of(p, connection)]
    newest = max(filter(Path.exists, before), key=lambda file: _used(file.parents[1]), default=None)
    if newest is not None:
        memory.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(newest, memory)


def _of(project: Path, connection: str) -> bool:
    file = project / _CONNECTION
    return file.exists() and file.read_text() == connection


# --- broken definitions -------------------------------------------------------------------------
def _write_broken(folder: Path, broken: Mapping[Ref, str]) -> None:
    lines = [[ref.concept, ref.name, ref.kind.value, reason] for ref, reason in broken.items()]
    (folder / _BROKEN).write_text(json.dumps(lines, indent=1))


def _read_broken(folder: Path) -> dict[Ref, str]:
    lines = json.loads((folder / _BROKEN).read_text())
    return {Ref(concept, name, Kind(kind)): reason for concept, name, kind, reason in lines}


# --- keeping and removing -----------------------------------------------------------------------
_held: dict[Path, int] = {}
"""Open projects of this process: each descriptor holds a shared lock."""


def _hold(folder: Path) -> bool:
    """Keep a project from being removed while this process lives; False if it does not exist."""
    if folder in _held and folder.is_dir():
        return True
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    # It may have been removed before we got the lock.
    if not folder.is_dir() or not os.path.samestat(os.fstat(descriptor), folder.stat()):
        os.close(descriptor)
        return False
    os.utime(folder)
    _held[folder] = descriptor
    return True


def _projects(root: Path) -> list[Path]:
    return [p for p in root.iterdir() if _FINGERPRINT.fullmatch(p.name)]


def _used(folder: Path) -> float:
    return folder.stat().st_mtime


def _prune(root: Path, keep: Path) -> None:
    """Remove projects that nobody used for a day, and leftovers of killed processes."""
    for path in root.glob(".*-*"):
        _remove(path)
    old = sorted((p for p in _projects(root) if p != keep), key=_used, reverse=True)
    for folder in old[KEPT - 1 :]:
        if time.time() - _used(folder) > KEPT_SECONDS:
            _remove_unused(folder)


def _remove_unused(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        old = folder.with_name(f".old-{folder.name}")
        folder.rename(old)
        _remove(old)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
