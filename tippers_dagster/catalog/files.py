"""Definitions as a folder of files that people read, compare and edit.

The place gives kind, concept and name: ``concepts/device.yml``, ``connections/registrar.yml``,
``device/rules/always_on.yml`` with ``device/rules/always_on.sql`` beside it. The YAML file holds
description, owner and the fields of the body; long texts have their own files. A folder contains no
passwords.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tippers_dagster.catalog.kinds import BODIES, Kind
from tippers_dagster.catalog.model import Definition, Draft, Ref, Unreadable
from tippers_dagster.catalog.names import check_ref, read_body
from tippers_dagster.errors import BadInput
from tippers_dagster.platform import yaml_text
from tippers_dagster.platform.text import shown

FOLDERS: dict[Kind, str] = {
    kind: "indexes" if kind == Kind.INDEX else f"{kind.value}s" for kind in Kind
} | {
    Kind.DERIVED_INDEX: "derived_indexes",
    Kind.LABELLED_OCCUPANCY: "labelled_occupancies",
}
"""The folder of each kind, inside the concept's folder for kinds that belong to a concept."""

LONG_TEXTS = {"sql": ".sql", "python": ".py"}
"""Fields of bodies that have their own files, and the file extensions."""

SECRET_FIELDS = frozenset({"password"})
"""Never written and never read."""

_NAMING: tuple[str, ...] = ("kind", "concept", "name")

MAX_FILE_BYTES = 1 << 20
MAX_FILES = 20_000
_MAX_ERRORS = 20

_KINDS = {folder: kind for kind, folder in FOLDERS.items()}

Read = Callable[[PurePosixPath], bytes]
"""Reads a file's content; of a larger file, one byte more than the limit."""


@dataclass(frozen=True)
class Found:
    """The content of a folder: drafts by path, and why some files cannot be used."""

    drafts: Mapping[str, Draft] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Exported:
    """Paths in the folder: written, unchanged, and belonging to no exported definition."""

    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    left_over: tuple[str, ...]


# --- places --------------------------------------------------------------------------------------
def path_of(ref: Ref) -> PurePosixPath:
    """The path of a definition's YAML file in a folder."""
    place = PurePosixPath(ref.concept) if ref.concept else PurePosixPath()
    return place / FOLDERS[ref.kind] / f"{ref.name}.yml"


def ref_of(path: PurePosixPath) -> Ref:
    """The definition whose YAML file has this path.

    Raises
    ------
    BadInput
        When no definition belongs at this path.
    """
    *concept, folder, _ = ("", *path.parts) if len(path.parts) < 2 else path.parts
    kind = _KINDS.get(folder)
    if kind is None or len(concept) != kind.in_concept:
        raise BadInput(
            "This is not a path of a definition.",
            "Paths are like concepts/device.yml and device/rules/always_on.yml.",
        )
    ref = Ref(concept[0] if concept else "", path.stem, kind)
    check_ref(ref)
    return ref


# --- writing -------------------------------------------------------------------------------------
def render(given: Draft | Definition) -> dict[str, bytes]:
    """The files of a definition: content by path, the YAML file first."""
    check_ref(given.ref)
    path = path_of(given.ref)
    fields, texts = _fields(given)
    files = {str(path): yaml_text.dump(fields).encode()}
    for name, text in texts.items():
        encoding = "utf-8-sig" if text.startswith("\ufeff") else "utf-8"
        files[str(path.with_suffix(LONG_TEXTS[name]))] = f"{text}\n".encode(encoding)
    return files


def document(given: Draft | Definition) -> str:
    """A definition as one YAML text that includes its kind, concept and name."""
    ref = given.ref
    names = {"kind": ref.kind.value, "concept": ref.concept, "name": ref.name}
    fields, texts = _fields(given)
    return yaml_text.dump({**{k: v for k, v in names.items() if v}, **fields, **texts})


def _fields(given: Draft | Definition) -> tuple[dict[str, Any], dict[str, str]]:
    """Plain fields in a stable order, and long texts."""
    about = {"description": given.description, "owner": given.owner}
    fields: dict[str, Any] = {name: value for name, value in about.items() if value}
    if given.status != "active":
        fields["status"] = given.status
    if isinstance(given.body, Unreadable):
        raise BadInput(f"{given.ref} cannot be written: {given.body.reason}", "Delete it first.")
    body = given.body.model_dump(mode="json", exclude_defaults=True)
    texts = {name: body.pop(name) for name in LONG_TEXTS if name in body}
    for name, value in body.items():
        if name not in SECRET_FIELDS:
            fields[name] = dict(sorted(value.items())) if isinstance(value, dict) else value
    return fields, texts


def export(folder: Path, definitions: Iterable[Definition], *, prune: bool = False) -> Exported:
    """Write definitions to a folder; files that need no change are not touched.

    Parameters
    ----------
    prune
        Whether to remove the files of other definitions.

    Raises
    ------
    BadInput
        When something in the folder is a link or not a file.
    """
    files = {path: text for d in definitions for path, text in render(d).items()}
    folder.mkdir(parents=True, exist_ok=True)
    present = {str(path): folder / path for path in _walk(folder)}
    written, unchanged = [], []
    for path, content in sorted(files.items()):
        if path in present and present[path].read_bytes() == content:
            unchanged.append(path)
            continue
        _write(folder / path, content)
        written.append(path)
    left_over = [p for p in sorted(present) if p not in files and _is_ours(PurePosixPath(p))]
    if prune:
        for path in left_over:
            present[path].unlink()
    return Exported(tuple(written), tuple(unchanged), tuple(left_over))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        file.write(content)
    Path(file.name).chmod(0o644)
    os.replace(file.name, path)


def _is_ours(path: PurePosixPath) -> bool:
    """Whether an export could have written it."""
    try:
        ref_of(path.with_suffix(".yml"))
    except BadInput:
        return False
    return path.suffix in (".yml", *LONG_TEXTS.values())


# --- reading -------------------------------------------------------------------------------------
def read_folder(folder: Path) -> list[Draft]:
    """The definitions of a folder.

    Raises
    ------
    BadInput
        Names every file and field that cannot be used.
    """
    if not exists(folder, stat.S_ISDIR):
        raise BadInput(f"There is no folder {shown(str(folder))}.")
    found = scan(folder)
    if found.errors:
        lines = [f"{path}: {reason}" for path, reason in found.errors.items()]
        more = len(lines) - _MAX_ERRORS
        listed = "\n".join(lines[:_MAX_ERRORS]) + (f"\n... and {more} more." if more > 0 else "")
        raise BadInput(listed, "Nothing was imported.")
    return list(found.drafts.values())


def scan(folder: Path) -> Found:
    """The definitions in a folder, and the files that cannot be used.

    Raises
    ------
    BadInput
        When the folder contains links or too many files.
    """
    return _scan(list(_walk(folder)), lambda path: _bytes(folder / path))


def scan_contents(contents: Mapping[PurePosixPath, bytes]) -> Found:
    """The definitions in loose files, and errors for those that cannot be used."""
    return _scan(sorted(contents), contents.__getitem__)


def _scan(paths: Sequence[PurePosixPath], read: Read) -> Found:
    drafts: dict[str, Draft] = {}
    errors: dict[str, str] = {}
    texts = {path for path in paths if path.suffix in LONG_TEXTS.values()}
    for path in (p for p in paths if p.suffix in (".yml", ".yaml")):
        beside = {path.with_suffix(suffix) for suffix in LONG_TEXTS.values()} & texts
        texts -= beside
        try:
            if path.suffix == ".yaml":
                raise BadInput("Rename it to .yml.")
            ref = ref_of(path)
            drafts[str(path)] = _read(read, path, beside, ref)
        except BadInput as error:
            errors[str(path)] = str(error)
    for path in sorted(texts):
        errors[str(path)] = f"There is no {path.stem}.yml for it."
    return Found(drafts, errors)


def read_file(path: Path) -> Draft:
    """The definition in one file, written by ``document`` or placed in a folder.

    Raises
    ------
    BadInput
        Names the field that is wrong.
    """
    if not exists(path, stat.S_ISREG):
        raise BadInput(f"There is no file {shown(str(path))}.")
    path = path.absolute()
    beside = [path.with_suffix(suffix) for suffix in LONG_TEXTS.values()]
    texts = {PurePosixPath(p.name) for p in beside if p.is_file()}
    folder = path.parent
    try:
        return _read(lambda p: _bytes(folder / p), PurePosixPath(path.name), texts, _place(path))
    except BadInput as error:
        raise BadInput(f"{path.name}: {error.message}", error.hint) from None


def read_path(path: Path) -> list[Draft]:
    """The definitions in a folder, or the one in a file.

    Raises
    ------
    BadInput
        As :func:`read_folder` and :func:`read_file`.
    """
    return read_folder(path) if exists(path, stat.S_ISDIR) else [read_file(path)]


def exists(path: Path, kind: Callable[[int], bool] = lambda mode: True) -> bool:
    """Whether a path of some kind exists; false for names that the file system rejects."""
    try:
        return kind(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def read_contents(path: PurePosixPath, contents: Mapping[PurePosixPath, bytes]) -> Draft:
    """The definition in a self-describing YAML file, with its SQL or Python file.

    Raises
    ------
    BadInput
        Names the field that is wrong.
    """
    beside = {path.with_suffix(suffix) for suffix in LONG_TEXTS.values()} & contents.keys()
    return _read(contents.__getitem__, path, beside, None)


def _place(path: Path) -> Ref | None:
    """The definition that the last parts of a path name, if they do."""
    for parts in (path.parts[-3:], path.parts[-2:]):
        try:
            return ref_of(PurePosixPath(*parts))
        except BadInput:
            continue
    return None


def _read(
    read: Read, path: PurePosixPath, beside: Iterable[PurePosixPath], place: Ref | None
) -> Draft:
    fields = yaml_text.load(_text(read(path)))
    ref = _named(fields, place)
    texts = {p.suffix: _text(read(p)) for p in beside}
    if "function" in fields:
        texts.pop(".py", None)  # the function's module, not a field
    for name, suffix in LONG_TEXTS.items():
        if suffix not in texts:
            continue
        if name not in BODIES[ref.kind].model_fields:
            raise BadInput(
                f"{path.with_suffix(suffix).name}: the kind {ref.kind.value} has no {name}."
            )
        if name in fields:
            raise BadInput(f"{name}: also given in {path.with_suffix(suffix).name}.")
        fields[name] = texts[suffix]
    return _draft(ref, fields)


def _named(fields: dict[str, Any], place: Ref | None) -> Ref:
    """Kind, concept and name from the fields or the path, which must agree."""
    given = {name: fields.pop(name) for name in _NAMING if name in fields}
    if place is not None:
        known = {"kind": place.kind.value, "concept": place.concept, "name": place.name}
        for name, value in given.items():
            if value != known[name]:
                raise BadInput(f"{name}: {value!r:.60} does not match the path: {known[name]!r}.")
        return place
    names = {name: given.get(name, "") for name in _NAMING}
    for name, value in names.items():
        if not isinstance(value, str):
            raise BadInput(f"{name}: {value!r:.60} is not a name.")
    if names["kind"] not in set(Kind):
        raise BadInput(f"kind: give one of {', '.join(Kind)}.")
    ref = Ref(names["concept"], names["name"], Kind(names["kind"]))
    check_ref(ref)
    return ref


def _draft(ref: Ref, fields: dict[str, Any]) -> Draft:
    about = {name: fields.pop(name, "") for name in ("description", "owner")}
    for name, value in about.items():
        if not isinstance(value, str):
            raise BadInput(f"{name}: not a text; quote it.")
    status = fields.pop("status", "active")
    if status not in ("active", "retired"):
        raise BadInput("status: must be active or retired.")
    for secret in SECRET_FIELDS & fields.keys():
        raise BadInput(
            f"{secret}: passwords must not be in files.",
            "Set it with `tippers connections`; an import keeps the stored password.",
        )
    body = read_body(ref.kind, fields)
    return Draft(ref, body, about["description"].strip(), about["owner"].strip(), status)


def _walk(folder: Path) -> Iterator[PurePosixPath]:
    """Files below a folder, in order; hidden ones are skipped, links refused."""
    count = 0
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = sorted(name for name in names if not name.startswith("."))
        for name in (*folders, *names):
            path = Path(place, name)
            relative = path.relative_to(folder)
            if path.is_symlink() or (name in names and not path.is_file()):
                raise BadInput(f"{relative} is a link or not a regular file.")
        for name in names:
            count += 1
            yield PurePosixPath(Path(place, name).relative_to(folder).as_posix())
        if count > MAX_FILES:
            raise BadInput(f"{folder} holds more than {MAX_FILES:,} files: is it the right one?")


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadInput(f"Cannot be read: {error.strerror}.") from None


def _text(content: bytes) -> str:
    if len(content) > MAX_FILE_BYTES:
        raise BadInput(f"It is larger than {MAX_FILE_BYTES:,} bytes.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"It is not UTF-8 (byte {error.start}).") from None
