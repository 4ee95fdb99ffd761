"""Definitions as files that are uploaded and downloaded."""

from __future__ import annotations

import io
import lzma
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from streamlit_app.services import definitions
from streamlit_app.services.app import App
from streamlit_app.services.definition_forms import same, text_of
from tippers_dagster.access.model import Role
from tippers_dagster.catalog import files
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Definition, Draft, Ref, Unreadable
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.text import shown

if TYPE_CHECKING:
    from tippers_dagster.graph.save import Imported

LARGEST_UPLOAD = 16 << 20
"""Bytes of all files of an upload, as they are sent."""

LARGEST_UNPACKED = 64 << 20
"""Bytes of all files of its zips, unpacked."""

LONGEST_NAME = 255
"""Bytes of a file's name, the limit of common file systems."""

MOST_LEVELS = 20
"""Nested folders; definitions need two, below any that were zipped with them."""

_ENCRYPTED = 1
"""The bit of a zip's flags."""

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


# --- out -----------------------------------------------------------------------------------------
def to_export(
    catalog: Catalog, *, concepts: Collection[str] = (), git: bool = False
) -> list[Definition]:
    """The definitions that an export would hold, retired ones too.

    Parameters
    ----------
    concepts
        Only these; empty: all.
    git
        Also those that come with the project's files.
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
    """A zip of YAML, SQL and Python files in their places, without passwords."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for definition in chosen:
            for path, content in files.render(definition).items():
                archive.writestr(path, content)
    return made.getvalue()


# --- in ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Planned:
    """What importing one definition would do."""

    draft: Draft
    outcome: Literal["created", "changed", "unchanged"]
    diff: str = ""


@dataclass(frozen=True)
class Plan:
    """What an import would do, and what stands against it, by file or definition."""

    planned: tuple[Planned, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)

    @property
    def changing(self) -> list[Planned]:
        """Those that are new or different."""
        return [p for p in self.planned if p.outcome != "unchanged"]


def plan(app: App, catalog: Catalog, uploads: Sequence[tuple[str, bytes]]) -> Plan:
    """Read uploaded files and look at what importing them would do; nothing is saved.

    Parameters
    ----------
    uploads
        Names and contents: a zip of exported files, or YAML files, each with its SQL or Python
        file where it has one.

    Raises
    ------
    BadInput
        As :func:`read_uploads`.
    NotAllowed
        When the person may not change definitions.
    """
    from tippers_dagster.catalog.validate import problems_of
    from tippers_dagster.graph.save import checks

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
        return Planned(draft, "created", definitions.diff("", text_of(draft)))
    if same(before, draft):
        return Planned(draft, "unchanged")
    return Planned(draft, "changed", definitions.diff(text_of(before), text_of(draft)))


def import_planned(app: App, made: Plan) -> Imported:
    """Save all that was planned, or nothing.

    Raises
    ------
    BadInput
        Naming each definition that cannot work.
    """
    from tippers_dagster.catalog import store
    from tippers_dagster.graph.save import import_drafts
    from tippers_dagster.occupancy.datasets import follow

    kinds = [p.draft.ref.kind for p in made.changing]
    definitions.require_write(app, kinds, "import definitions")
    # What was as planned may be another now, and is then changed back: not by whoever may not.
    drafts = [
        p.draft
        for p in made.planned
        if p.outcome != "unchanged" or definitions.may_write(app, p.draft.ref.kind)
    ]
    if made.problems:
        raise BadInput("Some of these files cannot be used.", "Mend them; nothing was imported.")
    done = import_drafts(app.settings, drafts, by=app.person.name)
    for ref, outcome in done.outcomes.items():
        if ref.kind == Kind.DATASET and outcome != "unchanged":
            follow(app.settings, store.get(app.settings, ref))
    return done


def read_uploads(uploads: Sequence[tuple[str, bytes]]) -> files.Found:
    """The definitions of uploaded files, and why some cannot be used; nothing is unpacked to disk.

    Raises
    ------
    BadInput
        When a zip is damaged, too large, or contains names that cannot be of definitions.
    """
    if sum(len(content) for _, content in uploads) > LARGEST_UPLOAD:
        raise BadInput(f"The upload is over {LARGEST_UPLOAD >> 20} MiB.", "Upload it in parts.")
    zipped: dict[PurePosixPath, bytes] = {}
    loose: dict[PurePosixPath, bytes] = {}
    for name, content in uploads:
        path = _checked_path(name.replace("\\", "/").rpartition("/")[2])
        if path.suffix.lower() == ".zip":
            room = LARGEST_UNPACKED - sum(map(len, zipped.values()))
            _add(zipped, _unpacked(path.name, content, room))
        else:
            _add(loose, {path: content})
    found, alone = files.scan_contents(_below_top(zipped)), _read_loose(loose)
    return files.Found({**found.drafts, **alone.drafts}, {**found.errors, **alone.errors})


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
        When it leads out of the folder, is empty, too long, or has characters that names may not.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise BadInput(
            f"The upload contains {shown(name)}, which leads out of it.",
            "Use relative paths, with / between folders.",
        )
    if not path.parts or shown(name, len(name)) != name:
        raise BadInput(
            f"The upload contains an invalid file name: {shown(name) or '(empty)'}.", "Rename it."
        )
    if len(path.parts) > MOST_LEVELS or max(len(p.encode()) for p in path.parts) > LONGEST_NAME:
        raise BadInput(
            f"The upload contains a name that is too long: {shown(name)}",
            f"Names may have {LONGEST_NAME} bytes, in up to {MOST_LEVELS} folders.",
        )
    return path


# --- zips ----------------------------------------------------------------------------------------
def _unpacked(zip_name: str, content: bytes, room: int) -> dict[PurePosixPath, bytes]:
    """The files of a zip by path, hidden ones left out.

    Raises
    ------
    BadInput
        When it is not a zip, is damaged or encrypted, or contains more than ``room`` bytes.
    """
    found: dict[PurePosixPath, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [e for e in archive.infolist() if not e.is_dir()]
            if len(entries) > files.MOST_FILES or sum(e.file_size for e in entries) > room:
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
            "Export definitions for an example of the layout.",
        ) from None
    both = {parent for path in found for parent in path.parents} & found.keys()
    if both:
        raise BadInput(f"{zip_name} contains {shown(str(min(both)))} as a file and as a folder.")
    return found


def _entry_path(entry: zipfile.ZipInfo) -> PurePosixPath:
    # Python cuts a name at the first NUL; other programs may show what follows.
    path = _checked_path(entry.orig_filename)
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise BadInput(
            f"The zip contains the link {shown(entry.filename)}.", "Add the file itself."
        )
    if entry.flag_bits & _ENCRYPTED:
        raise BadInput(f"{shown(entry.filename)} is encrypted.", "Zip it without a password.")
    return path


def _unpack(zip_name: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, room: int) -> bytes:
    """The content of one file; the size that the zip declares is not trusted."""
    with archive.open(entry) as packed:
        data = packed.read(room + 1)
    if len(data) > room:
        raise _too_large(zip_name)
    return data


def _too_large(zip_name: str) -> BadInput:
    return BadInput(
        f"{zip_name} is too large for definitions: more than {files.MOST_FILES:,} files or "
        f"{LARGEST_UNPACKED >> 20} MiB.",
        "Is it the right file?",
    )


def _below_top(contents: Mapping[PurePosixPath, bytes]) -> dict[PurePosixPath, bytes]:
    """Paths from the folder with the definitions: people zip the folder around them, too."""
    found = dict(contents)
    while found and not any(map(_is_place, found)):
        if len({path.parts[0] for path in found}) > 1 or PurePosixPath() in _parents(found):
            break
        found = {PurePosixPath(*path.parts[1:]): content for path, content in found.items()}
    return found


def _parents(paths: Iterable[PurePosixPath]) -> set[PurePosixPath]:
    return {path.parent for path in paths}


def _is_place(path: PurePosixPath) -> bool:
    """Whether a definition belongs in this place."""
    try:
        files.ref_of(path)
    except BadInput:
        return False
    return path.suffix == ".yml"


# --- loose files ---------------------------------------------------------------------------------
def _read_loose(contents: Mapping[PurePosixPath, bytes]) -> files.Found:
    """YAML files that say themselves what they are, with texts of the same name beside them."""
    drafts: dict[str, Draft] = {}
    errors: dict[str, str] = {}
    seen: dict[Ref, str] = {}
    for path in contents:
        name = path.name
        if path.suffix.lower() not in (".yml", ".yaml"):
            if not any(path.with_suffix(s) in contents for s in (".yml", ".yaml")):
                errors[name] = f"There is no {path.stem}.yml beside it."
            continue
        try:
            draft = files.read_contents(path, contents)
        except BadInput as error:
            errors[name] = str(error)
            continue
        if draft.ref in seen:
            errors[name] = f"It is {draft.ref}, as {seen[draft.ref]} is."
        seen[draft.ref] = name
        drafts[name] = draft
    return files.Found(drafts, errors)
