"""The definitions in the project's files.

Those that are dbt models are described beside them, in ``config.meta`` of
``dbt_project/models/<concept>/<concept>__<name>.yml``. All others are in
``dbt_project/definitions``, in the form of an export.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from tippers_dagster.catalog.files import ref_of, scan
from tippers_dagster.catalog.kinds import BODIES, Kind
from tippers_dagster.catalog.model import Definition, Ref, Unreadable
from tippers_dagster.catalog.names import check_ref, read_body
from tippers_dagster.catalog.plain_sql import PlainSql
from tippers_dagster.errors import BadInput, SettingsError
from tippers_dagster.platform import yaml_text
from tippers_dagster.settings import Settings

DEFINITIONS = "definitions"
"""The folder of the dbt project with the definitions that are not dbt models."""

_PACKAGE = Path(__file__).parents[1]
_MODEL_NAME = re.compile(r"""(['"])(?P<concept>[a-z0-9]+(?:_[a-z0-9]+)*)__(?P<name>[a-z0-9_]+)\1""")
"""A definition's dbt model, as named in Jinja."""


@dataclass(frozen=True)
class Handwritten:
    """Definitions, and the files that should hold one but cannot be read: path and reason."""

    definitions: tuple[Definition, ...] = ()
    unusable: Mapping[str, str] = field(default_factory=dict)


def project_source(settings: Settings) -> Path:
    """The folder of the hand-written dbt project; beside the package's modules when installed.

    Raises
    ------
    SettingsError
        When there is none.
    """
    places = (_PACKAGE / "dbt_project", _PACKAGE.parent / "dbt_project")
    found = (settings.dbt_project,) if settings.dbt_project else places
    for folder in found:
        if (folder / "dbt_project.yml").is_file():
            return folder.absolute()
    raise SettingsError(
        f"There is no dbt project in {' or '.join(str(folder) for folder in found)}.",
        "Set TIPPERS_DBT_PROJECT to the folder with dbt_project.yml, or leave it unset.",
    )


def read_handwritten(settings: Settings) -> Handwritten:
    """The definitions in the project's files; read again only when a file has changed."""
    project = project_source(settings)
    return _read(project, settings.timezone, _stamp(project))


def _stamp(project: Path) -> tuple[tuple[str, int, int], ...]:
    """A value that changes whenever a file that may hold a definition does."""
    found = []
    for folder in (project / "models", project / "macros", project / DEFINITIONS):
        for path in sorted(folder.rglob("*.*")):
            if path.suffix in (".yml", ".sql", ".py") and path.is_file():
                stat = path.stat()
                found.append((str(path), stat.st_mtime_ns, stat.st_size))
    return tuple(found)


@lru_cache(maxsize=4)
def _read(project: Path, timezone: str, stamp: tuple[tuple[str, int, int], ...]) -> Handwritten:
    found: dict[tuple[str, str], Definition] = {}
    unusable: dict[str, str] = {}
    for where, definition in (*_models(project, PlainSql(project, timezone)), *_others(project)):
        if isinstance(definition, str):
            unusable[where] = definition
            continue
        ref = definition.ref
        if (ref.namespace, ref.name) in found:
            unusable[where] = f"There is another definition {ref} in the project's files."
            continue
        found[ref.namespace, ref.name] = definition
    return Handwritten(tuple(found.values()), unusable)


# --- dbt models ----------------------------------------------------------------------------------
def _models(project: Path, plain: PlainSql) -> Iterator[tuple[str, Definition | str]]:
    for path in sorted((project / "models").rglob("*.yml")):
        where = path.relative_to(project).as_posix()
        try:
            content = yaml_text.load_project_file(path.read_text())
        except (BadInput, UnicodeDecodeError) as error:
            yield where, f"It cannot be read: {error}"
            continue
        models = content.get("models") if isinstance(content, dict) else None
        for model in models or ():
            meta = _meta(model)
            if "kind" in meta:
                yield f"{where}: {model.get('name')}", _model(path, model, meta, plain)


def _meta(model: object) -> dict[str, Any]:
    config = model.get("config") if isinstance(model, dict) else None
    meta = config.get("meta") if isinstance(config, dict) else None
    return meta if isinstance(meta, dict) else {}


def _model(
    path: Path, model: Mapping[str, Any], meta: Mapping[str, Any], plain: PlainSql
) -> Definition | str:
    """The definition that a model's properties describe, or why there is none."""
    try:
        kind = Kind(meta["kind"])
    except ValueError:
        return f"There is no kind {meta['kind']!r}."
    ref = Ref(str(meta.get("concept", "")), str(meta.get("name", "")), kind)
    try:
        check_ref(ref)
    except BadInput as error:
        return error.message
    if ref.model_name != model.get("name"):
        return f"The model of {ref} must be named {ref.model_name}."
    sql = path.with_name(f"{ref.model_name}.sql")
    if not kind.has_sql or not sql.is_file():
        return f"There is no {sql.name} for it."
    text = sql.read_text()
    values = {**meta, "sql": plain(text)}
    # A rule's `key` is for dbt's tests only; it follows from its index.
    values = {name: values[name] for name in BODIES[kind].model_fields if name in values}
    about = (str(model.get("description") or "").strip(), str(meta.get("owner") or "").strip())
    return _definition(ref, values, *about, reads=_reads(text, ref))


def _definition(
    ref: Ref, values: Mapping[str, Any], description: str, owner: str, reads: tuple[str, ...]
) -> Definition:
    try:
        body = read_body(ref.kind, values)
    except BadInput as error:
        body = Unreadable(reason=f"It cannot be read: {error.message}")
    return Definition(ref, body, description, owner, origin="git", reads=reads)


def _reads(text: str, ref: Ref) -> tuple[str, ...]:
    """The other definitions that a model's Jinja names."""
    found = {f"{match['concept']}.{match['name']}" for match in _MODEL_NAME.finditer(text)}
    return tuple(sorted(found - {str(ref)}))


# --- others --------------------------------------------------------------------------------------
def _others(project: Path) -> Iterator[tuple[str, Definition | str]]:
    folder = project / DEFINITIONS
    if not folder.is_dir():
        return
    try:
        found = scan(folder)
    except BadInput as error:
        yield DEFINITIONS, error.message
        return
    for path, draft in found.drafts.items():
        about = (draft.description, draft.owner, draft.status)
        yield f"{DEFINITIONS}/{path}", Definition(draft.ref, draft.body, *about, origin="git")
    for path, reason in found.errors.items():
        yield f"{DEFINITIONS}/{path}", _unreadable(path, reason)


def _unreadable(path: str, reason: str) -> Definition | str:
    try:
        ref = ref_of(PurePosixPath(path))
    except BadInput:
        return reason
    return Definition(ref, Unreadable(reason=f"It cannot be read: {reason}"), origin="git")
