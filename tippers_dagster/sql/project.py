"""The dbt project as it is now: the hand-written one with the saved definitions rendered into it.

``<home>/dbt/<fingerprint>/`` is named by the content of all that it is made from, so that whoever
has the same definitions has the same folder, and no one's changes under him. It is made aside,
parsed once, and renamed: whole or not at all.
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
from pathlib import Path
from typing import Any

import yaml

from tippers_dagster.automation.nodes import digest
from tippers_dagster.catalog import yaml_text
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.handwritten import project_source
from tippers_dagster.catalog.kinds import Connection, Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import BadInput, TippersError
from tippers_dagster.settings import Settings
from tippers_dagster.sql.environment import (
    connection_name,
    dbt_variables,
)
from tippers_dagster.sql.names import NameTable
from tippers_dagster.sql.parsing import Parser, dbt_parser
from tippers_dagster.sql.render import SourceTable, needs, render

KEPT = 3
"""The newest rendered projects are kept, whoever uses them."""

KEPT_SECONDS = 86_400
"""So are all that were used within a day."""

MOST_PARSES = 8
"""After so many definitions that dbt cannot read, no saved one is taken."""

_IGNORED = {"definitions", "target", "logs", "dbt_packages"}
_FINGERPRINT = re.compile(r"[0-9a-f]{32}")
_BROKEN = "broken.json"


class DbtError(TippersError):
    """The hand-written dbt project cannot be used."""


@dataclass(frozen=True)
class Project:
    """A rendered and parsed dbt project.

    ``broken``: the definitions that are left out of it, with all that read them, and why; those
    of ``catalog.problems`` are among them.
    """

    folder: Path
    broken: Mapping[Ref, str]

    @property
    def manifest_path(self) -> Path:
        """What dbt says of the project."""
        return self.folder / "target" / "manifest.json"

    @cached_property
    def variables(self) -> dict[str, Any]:
        """The project's variables, those of the settings among them."""
        name = "dbt_project.yml"
        return _read_yaml(name, (self.folder / name).read_bytes())["vars"]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What dbt says of the project; large."""
        import orjson

        return orjson.loads(self.manifest_path.read_bytes())


def rendered_project(settings: Settings, catalog: Catalog) -> Project:
    """The project of these definitions, made when it is not there.

    Milliseconds when it is; else dbt parses it once, however many processes ask at the same time.
    The folder stays until this process ends.

    Raises
    ------
    SettingsError
        There is no hand-written project.
    DbtError
        The hand-written project is broken, whatever the definitions.
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
                    _Making(settings, catalog, files, variables).make(draft, folder, parser)
                _prune(root, keep=folder)
    return Project(folder, _read_broken(folder))


# --- what it is made from -----------------------------------------------------------------------
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
    """Of all that decides what the folder holds; nothing has to be rendered for it."""
    parts = [
        *(digest(path, content.decode("utf-8", "replace")) for path, content in files.items()),
        *_code(),
        importlib.metadata.version("dbt-core"),
        importlib.metadata.version("dbt-postgres"),
        json.dumps(variables, sort_keys=True),
        connection_name(settings),
        *_content(catalog),
    ]
    return digest(*parts)


def _code() -> Iterator[str]:
    """The texts of the modules that render: another version of them renders otherwise."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
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
    for ref, reason in catalog.problems.items():
        yield digest(str(ref), reason)
    for ref in sorted(_put_away(catalog)):
        yield str(ref)


def _put_away(catalog: Catalog) -> set[Ref]:
    """Definitions of the files that a saved one replaces, or that are retired."""
    return {*catalog.shadowed, *catalog.retired}


# --- making it ----------------------------------------------------------------------------------
class _Making:
    """One rendered project in the making; the caller has the lock."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        files: Mapping[str, bytes],
        variables: Mapping[str, Any],
    ) -> None:
        self._settings, self._catalog = settings, catalog
        self._broken: dict[Ref, str] = dict(catalog.problems)
        rendered = render(catalog, NameTable.of(catalog, settings), _declared(files))
        self._add_broken(rendered.broken)
        self._hand_written = {
            **files,
            "dbt_project.yml": _with_variables(files, variables),
            "selectors.yml": _with_selectors(files, catalog),
        }
        self._rendered = {path: text.encode() for path, text in rendered.files.items()}

    def make(self, draft: Path, folder: Path, parser: Parser) -> None:
        """Make it beside its place, and put it there."""
        try:
            self._write_readable(draft, parser)
            _write_broken(draft, self._broken)
            draft.rename(folder)
        finally:
            _remove(draft)

    def _write_readable(self, draft: Path, parser: Parser) -> None:
        """Write the project without what dbt cannot read."""
        for _ in range(MOST_PARSES):
            self._write(draft)
            error = parser.parse()
            if error is None:
                return
            culprit = self._culprit(error)
            if culprit is None:
                break
            self._add_broken({culprit: f"dbt cannot read it: {error}"})
        self._add_broken(
            {
                ref: f"dbt cannot read the project with the saved definitions: {error}"
                for ref in self._models().values()
                if self._catalog.definitions[ref].origin == "catalog" and ref not in self._broken
            }
        )
        self._write(draft)
        error = parser.parse()
        if error is not None:
            raise DbtError(
                f"dbt cannot read the project in {project_source(self._settings)}: {error}",
                "Mend the file that it names; `tippers dbt parse` tries again.",
            )

    def _models(self) -> dict[str, Ref]:
        return {ref.model_name: ref for ref in self._catalog.definitions if ref.kind.has_sql}

    def _culprit(self, error: str) -> Ref | None:
        """The first definition that dbt's message names and that is still in the project."""
        models = self._models()
        named = (models.get(word) for word in re.findall(r"[a-z0-9_]+__[a-z0-9_]+", error))
        return next((ref for ref in named if ref and ref not in self._broken), None)

    def _add_broken(self, found: Mapping[Ref, str]) -> None:
        """Mark these as broken, and all that read them."""
        for ref, reason in found.items():
            self._broken.setdefault(ref, reason)
        for ref in self._catalog.order:
            below = next((d for d in self._catalog.dependencies(ref) if d in self._broken), None)
            if ref not in self._broken and below is not None:
                self._broken[ref] = needs(below, self._broken[below])

    def _write(self, draft: Path) -> None:
        """The files as they should be now; dbt's own of an earlier parse stay."""
        dropped = {ref.model_name for ref in (*_put_away(self._catalog), *self._broken)}
        broken = {ref.model_name for ref in self._broken}
        kept = {p: text for p, text in self._hand_written.items() if Path(p).stem not in dropped}
        kept |= {p: text for p, text in self._rendered.items() if Path(p).stem not in broken}
        _remove(draft / "models")
        for path, content in kept.items():
            target = draft / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        _seed_parse(draft)


def _declared(files: Mapping[str, bytes]) -> set[SourceTable]:
    """The tables of the sources that the hand-written project declares."""
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
    """``dbt_project.yml`` with our variables: aliases are fixed when dbt parses, so that none
    may be given later on the command line.
    """
    content = _read_yaml("dbt_project.yml", files["dbt_project.yml"])
    content["vars"] = {**(content.get("vars") or {}), **variables}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()


def _with_selectors(files: Mapping[str, bytes], catalog: Catalog) -> bytes:
    """``selectors.yml`` with the concepts and levels of saved definitions in it, too."""
    content = _read_yaml("selectors.yml", files.get("selectors.yml", b"")) or {"selectors": []}
    concepts = sorted({ref.concept for ref in catalog.definitions if ref.kind.has_sql})
    levels = sorted({f"level_{catalog.level(concept)}" for concept in concepts})
    known = {selector["name"] for selector in content["selectors"]}
    for name, tag in [*((c, f"concept_{c}") for c in concepts), *zip(levels, levels, strict=True)]:
        if name not in known:
            definition = {"method": "tag", "value": tag}
            content["selectors"].append({"name": name, "definition": definition})
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()


def _seed_parse(draft: Path) -> None:
    """Give dbt what it remembers of the newest project: it then reads only what differs."""
    memory = draft / "target" / "partial_parse.msgpack"
    newest = max(_projects(draft.parent), key=_used, default=None)
    if newest is not None and not memory.exists():
        before = newest / "target" / memory.name
        if before.exists():
            memory.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(before, memory)


# --- what is broken -----------------------------------------------------------------------------
def _write_broken(folder: Path, broken: Mapping[Ref, str]) -> None:
    lines = [[ref.concept, ref.name, ref.kind.value, reason] for ref, reason in broken.items()]
    (folder / _BROKEN).write_text(json.dumps(lines, indent=1))


def _read_broken(folder: Path) -> dict[Ref, str]:
    lines = json.loads((folder / _BROKEN).read_text())
    return {Ref(concept, name, Kind(kind)): reason for concept, name, kind, reason in lines}


# --- whose it is --------------------------------------------------------------------------------
_held: dict[Path, int] = {}
"""Descriptors of the projects that this process uses: each carries a shared lock."""


def _hold(folder: Path) -> bool:
    """Keep a project from being removed while this process lives; False when there is none."""
    if folder in _held and folder.is_dir():
        return True
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    # It may have been removed before the lock was ours.
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
    """Remove projects that nobody used for a day, and what killed processes left."""
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
        away = folder.with_name(f".old-{folder.name}")
        folder.rename(away)
        _remove(away)
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
