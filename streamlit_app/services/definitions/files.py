"""Export of definitions to a zip, and import from uploaded files."""

from __future__ import annotations

import io
import lzma
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from streamlit_app.services.app import App
from streamlit_app.services.definitions.saving import may_write, require_write
from streamlit_app.services.definitions.text import diff, text_of
from tippers_dagster.access.model import Role
from tippers_dagster.catalog import files, store
from tippers_dagster.catalog.catalog import Catalog, same_content
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Definition, Draft, Ref, Unreadable
from tippers_dagster.catalog.validate import problems_of
from tippers_dagster.errors import BadInput
from tippers_dagster.graph.save import Imported, checks, import_drafts
from tippers_dagster.occupancy.datasets import follow
from tippers_dagster.platform.text import shown

MAX_UPLOAD_BYTES = 16 << 20
"""Bytes of all uploaded files together."""

MAX_UNPACKED_BYTES = 64 << 20
"""Bytes of all files in the uploaded zips, unpacked."""

MAX_NAME_BYTES = 255
"""The limit of common file systems."""

MAX_LEVELS = 20
"""Nested folders. Definitions need two, below any folders that were zipped with them."""

_ENCRYPTED = 1
"""The bit in a zip entry's flags."""

_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    ValueError,
)
"""What Python's readers raise for damaged or unsupported archives."""


# --- export --------------------------------------------------------------------------------------
def to_export(
    catalog: Catalog, *, concepts: Collection[str] = (), git: bool = False
) -> list[Definition]:
    """The definitions to export, including retired ones.

    Parameters
    ----------
    concepts
        Only these concepts; all if empty.
    git
        Whether to include those in the project's files.
    """
    found = {**catalog.definitions, **catalog.retired}
    return [
        d
        for ref, d in sorted(found.items())
        if not isinstance(d.body, Unreadable)
        and (git or d.origin == "catalog")
        and (not concepts or (ref.concept or ref.name) in concepts)
    ]


def exported(chosen: Sequence[Definition]) -> bytes:
    """A zip of YAML, SQL and Python files in their folders, without passwords."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for definition in chosen:
            for path, content in files.render(definition).items():
                archive.writestr(path, content)
    return packed.getvalue()


# --- import --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Planned:
    """The outcome that importing one definition would have."""

    draft: Draft
    outcome: Literal["created", "changed", "unchanged"]
    diff: str = ""


@dataclass(frozen=True)
class Plan:
    """What an import would do, and its problems by file or definition."""

    planned: tuple[Planned, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def changing(self) -> list[Planned]:
        """New and changed definitions."""
        return [p for p in self.planned if p.outcome != "unchanged"]


def plan(app: App, catalog: Catalog, uploads: Sequence[tuple[str, bytes]]) -> Plan:
    """Read uploaded files and work out what importing them would do. Nothing is saved.

    Parameters
    ----------
    uploads
        Names and contents: a zip of exported files, or YAML files with their SQL or Python files.

    Raises
    ------
    BadInput
        As in :func:`read_uploads`.
    NotAllowed
        If the person may not change definitions.
    """
    app.person.require(Role.ANALYST, "import definitions")
    found = read_uploads(uploads)
    drafts = list(found.drafts.values())
    after = catalog.with_drafts(catalog.changed(drafts))
    changed = {d.ref for d in catalog.changed(drafts)}
    problems = dict(found.errors)
    for problem in problems_of(drafts, after, checks(app.settings), deep=changed):
        problems[str(problem.ref)] = " ".join(filter(None, (problem.message, problem.hint)))
    return Plan(tuple(_planned(catalog, draft) for draft in drafts), problems)


def _planned(catalog: Catalog, draft: Draft) -> Planned:
    before = catalog.named(draft.ref.namespace, draft.ref.name)
    if before is None:
        return Planned(draft, "created", diff("", text_of(draft)))
    if same_content(before, draft):
        return Planned(draft, "unchanged")
    return Planned(draft, "changed", diff(text_of(before), text_of(draft)))


def import_planned(app: App, made: Plan) -> Imported:
    """Save all definitions of a plan, or none.

    Raises
    ------
    BadInput
        Naming each definition that cannot work.
    """
    kinds = [p.draft.ref.kind for p in made.changing]
    require_write(app, kinds, "import definitions")
    # A definition planned as unchanged may have changed since. Importing it changes it back, so it
    # is left out if the person may not write its kind.
    drafts = [
        p.draft
        for p in made.planned
        if p.outcome != "unchanged" or may_write(app, p.draft.ref.kind)
    ]
    if made.problems:
        raise BadInput("Some files cannot be used.", "Nothing was imported. Fix the files first.")
    done = import_drafts(app.settings, drafts, by=app.person.name)
    for ref, outcome in done.outcomes.items():
        if ref.kind == Kind.DATASET and outcome != "unchanged":
            follow(app.settings, store.get(app.settings, ref))
    return done


def read_uploads(uploads: Sequence[tuple[str, bytes]]) -> files.Found:
    """The definitions in uploaded files, and the reasons why some files cannot be used.

    Nothing is unpacked to disk.

    Raises
    ------
    BadInput
        If a zip is damaged or too large, or contains a name that no definition can have.
    """
    if sum(len(content) for _, content in uploads) > MAX_UPLOAD_BYTES:
        raise BadInput(
            f"The upload is over {MAX_UPLOAD_BYTES >> 20} MiB.", "Upload the files in parts."
        )
    zipped: dict[PurePosixPath, bytes] = {}
    single: dict[PurePosixPath, bytes] = {}
    for name, content in uploads:
        path = _checked_path(name.replace("\\", "/").rpartition("/")[2])
        if path.suffix.lower() == ".zip":
            room = MAX_UNPACKED_BYTES - sum(map(len, zipped.values()))
            _add(zipped, _unpacked(path.name, content, room))
        else:
            _add(single, {path: content})
    in_zips, alone = files.scan_contents(_below_top(zipped)), _read_single_files(single)
    return files.Found({**in_zips.drafts, **alone.drafts}, {**in_zips.errors, **alone.errors})


def _add(contents: dict[PurePosixPath, bytes], more: Mapping[PurePosixPath, bytes]) -> None:
    for path, content in more.items():
        if path in contents:
            raise BadInput(f"Two files are named {shown(str(path))}.", "Upload one of them.")
        contents[path] = content


def _checked_path(name: str) -> PurePosixPath:
    """A relative path that is valid on every file system.

    Raises
    ------
    BadInput
        If it leads out of the folder, is empty or too long, or contains control characters.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise BadInput(
            f"The upload contains {shown(name)}, which points outside it.",
            "Use relative paths, with / between folders.",
        )
    if not path.parts or shown(name, len(name)) != name:
        raise BadInput(
            f"The upload contains an invalid file name: {shown(name) or '(empty)'}.", "Rename it."
        )
    if len(path.parts) > MAX_LEVELS or max(len(p.encode()) for p in path.parts) > MAX_NAME_BYTES:
        raise BadInput(
            f"The upload contains a name that is too long: {shown(name)}",
            f"Names may have up to {MAX_NAME_BYTES} bytes, in up to {MAX_LEVELS} nested folders.",
        )
    return path


# --- zips ----------------------------------------------------------------------------------------
def _unpacked(zip_name: str, content: bytes, room: int) -> dict[PurePosixPath, bytes]:
    """The files in a zip by path, without hidden ones.

    Raises
    ------
    BadInput
        If it is not a zip, is damaged or encrypted, or contains more than ``room`` bytes.
    """
    found: dict[PurePosixPath, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [e for e in archive.infolist() if not e.is_dir()]
            if len(entries) > files.MAX_FILES or sum(e.file_size for e in entries) > room:
                raise _too_large(zip_name)
            for entry in entries:
                path = _entry_path(entry)
                if any(part.startswith((".", "__MACOSX")) for part in path.parts):
                    continue
                data = _unpack(zip_name, archive, entry, room)
                room -= len(data)
                _add(found, {path: data})
    except _ZIP_ERRORS as error:
        raise BadInput(
            f"{zip_name} is not a zip file, or is damaged: {error}",
            "Export some definitions to see the expected layout.",
        ) from None
    both = {parent for path in found for parent in path.parents} & found.keys()
    if both:
        raise BadInput(f"{zip_name} contains {shown(str(min(both)))} as a file and as a folder.")
    return found


def _entry_path(entry: zipfile.ZipInfo) -> PurePosixPath:
    # Python cuts a name at the first NUL; other programs may show the rest.
    path = _checked_path(entry.orig_filename)
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise BadInput(
            f"The zip contains the link {shown(entry.filename)}.", "Add the file it points to."
        )
    if entry.flag_bits & _ENCRYPTED:
        raise BadInput(f"{shown(entry.filename)} is encrypted.", "Zip it without a password.")
    return path


def _unpack(zip_name: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, room: int) -> bytes:
    """The content of one file. The size declared in the zip is not trusted."""
    with archive.open(entry) as packed:
        data = packed.read(room + 1)
    if len(data) > room:
        raise _too_large(zip_name)
    return data


def _too_large(zip_name: str) -> BadInput:
    return BadInput(
        f"{zip_name} is too large for definitions: more than {files.MAX_FILES:,} files or "
        f"{MAX_UNPACKED_BYTES >> 20} MiB.",
        "Is it the right file?",
    )


def _below_top(contents: Mapping[PurePosixPath, bytes]) -> dict[PurePosixPath, bytes]:
    """Paths relative to the folder of the definitions, for a zip made of a folder around it."""
    found = dict(contents)
    while found and not any(map(_is_definition_path, found)):
        if len({path.parts[0] for path in found}) > 1 or PurePosixPath() in _parents(found):
            break
        found = {PurePosixPath(*path.parts[1:]): content for path, content in found.items()}
    return found


def _parents(paths: Iterable[PurePosixPath]) -> set[PurePosixPath]:
    return {path.parent for path in paths}


def _is_definition_path(path: PurePosixPath) -> bool:
    """Whether this is a path that a definition's YAML file has."""
    try:
        files.ref_of(path)
    except BadInput:
        return False
    return path.suffix == ".yml"


# --- single files --------------------------------------------------------------------------------
def _read_single_files(contents: Mapping[PurePosixPath, bytes]) -> files.Found:
    """YAML files that state their kind and name, with SQL or Python files of the same name."""
    drafts: dict[str, Draft] = {}
    errors: dict[str, str] = {}
    seen: dict[Ref, str] = {}
    for path in contents:
        name = path.name
        if path.suffix.lower() not in (".yml", ".yaml"):
            if not any(path.with_suffix(s) in contents for s in (".yml", ".yaml")):
                errors[name] = f"{path.stem}.yml is missing from the upload."
            continue
        try:
            draft = files.read_contents(path, contents)
        except BadInput as error:
            errors[name] = str(error)
            continue
        if draft.ref in seen:
            errors[name] = f"It defines {draft.ref}, and so does {seen[draft.ref]}."
        seen[draft.ref] = name
        drafts[name] = draft
    return files.Found(drafts, errors)
