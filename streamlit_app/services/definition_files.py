"""Definitions as files that are uploaded and downloaded."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from streamlit_app.services import definitions
from streamlit_app.services.app import App
from streamlit_app.services.definition_forms import same, text_of
from tippers_dagster.catalog import files
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Definition, Draft, Ref, Unreadable
from tippers_dagster.errors import BadInput
from tippers_dagster.people.model import Role

if TYPE_CHECKING:
    from tippers_dagster.pipeline.save import Imported

LARGEST_UPLOAD = 64 << 20
"""Bytes of all files of an upload, unpacked."""


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


def plan(app: App, catalog: Catalog, uploads: Mapping[str, bytes]) -> Plan:
    """Read uploaded files and look at what importing them would do; nothing is saved.

    Parameters
    ----------
    uploads
        Content by file name: one zip of exported files, or YAML files, each with its SQL or
        Python file where it has one.

    Raises
    ------
    BadInput
        When an upload is no zip, or holds what cannot be definitions.
    NotAllowed
        When the person may not change definitions.
    """
    from tippers_dagster.catalog.validate import problems_of
    from tippers_dagster.pipeline.save import checks

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
    from tippers_dagster.datasets.store import follow
    from tippers_dagster.pipeline.save import import_drafts

    drafts = [p.draft for p in made.planned]
    kinds = [p.draft.ref.kind for p in made.changing]
    definitions.require_write(app, kinds, "import definitions")
    if made.problems:
        raise BadInput("Some of these files cannot be used.", "Mend them; nothing was imported.")
    done = import_drafts(app.settings, drafts, by=app.person.name)
    for ref, outcome in done.outcomes.items():
        if ref.kind == Kind.DATASET and outcome != "unchanged":
            follow(app.settings, store.get(app.settings, ref))
    return done


def read_uploads(uploads: Mapping[str, bytes]) -> files.Found:
    """The definitions of uploaded files, and why some cannot be used."""
    with tempfile.TemporaryDirectory(prefix="tippers-import-") as place:
        folder = Path(place)
        loose: dict[str, bytes] = {}
        unpacked = 0
        for name, content in uploads.items():
            if PurePosixPath(name).suffix.lower() == ".zip":
                unpacked += _unpack(content, folder / "zip", LARGEST_UPLOAD - unpacked)
            else:
                loose[PurePosixPath(name).name] = content
        found = files.scan(_top(folder / "zip")) if (folder / "zip").is_dir() else files.Found()
        alone = _read_loose(folder / "loose", loose)
    return files.Found({**found.drafts, **alone.drafts}, {**found.errors, **alone.errors})


def _unpack(content: bytes, folder: Path, room: int) -> int:
    """Write a zip's files below a folder, and nowhere else; returns their bytes."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile:
        raise BadInput("This is no zip file.", "Export one, and look at how it is made.") from None
    with archive:
        entries = [e for e in archive.infolist() if not e.is_dir()]
        if len(entries) > files.MOST_FILES or sum(e.file_size for e in entries) > room:
            raise BadInput("The zip holds more than can be definitions.", "Is it the right one?")
        written = 0
        folder.mkdir(exist_ok=True)
        for entry in entries:
            path = PurePosixPath(entry.filename)
            if path.is_absolute() or ".." in path.parts or "\\" in entry.filename:
                raise BadInput(f"The zip holds {entry.filename!r}, which leads out of it.")
            if any(part.startswith((".", "__MACOSX")) for part in path.parts):
                continue
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            written += _write(archive, entry, target, room - written)
    return written


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, room: int) -> int:
    """Unpack one file, whatever size the zip says that it has."""
    try:
        with archive.open(entry) as packed:
            data = packed.read(room + 1)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise BadInput(f"{entry.filename} cannot be unpacked: {error}") from None
    if len(data) > room:
        raise BadInput("The zip holds more than can be definitions.", "Is it the right one?")
    target.write_bytes(data)
    return len(data)


def _top(folder: Path) -> Path:
    """The folder with the definitions: people zip the folder around them, too."""
    while True:
        inside = list(folder.iterdir())
        if len(inside) != 1 or not inside[0].is_dir() or _is_place(folder):
            return folder
        folder = inside[0]


def _is_place(folder: Path) -> bool:
    """Whether some file below is in the place of a definition, seen from this folder."""
    for path in folder.rglob("*.yml"):
        try:
            files.ref_of(PurePosixPath(path.relative_to(folder).as_posix()))
        except BadInput:
            continue
        return True
    return False


def _read_loose(folder: Path, loose: Mapping[str, bytes]) -> files.Found:
    """YAML files that say themselves what they are, with texts of the same name beside them."""
    folder.mkdir()
    for name, content in loose.items():
        if len(content) > files.LARGEST_FILE:
            raise BadInput(f"{name} is larger than {files.LARGEST_FILE:,} bytes.")
        (folder / name).write_bytes(content)
    drafts: dict[str, Draft] = {}
    errors: dict[str, str] = {}
    seen: dict[Ref, str] = {}
    for name in loose:
        path = folder / name
        if path.suffix.lower() not in (".yml", ".yaml"):
            if not any(path.with_suffix(s).name in loose for s in (".yml", ".yaml")):
                errors[name] = f"There is no {path.stem}.yml beside it."
            continue
        try:
            draft = files.read_file(path)
        except BadInput as error:
            errors[name] = str(error).removeprefix(f"{name}: ")
            continue
        if draft.ref in seen:
            errors[name] = f"It is {draft.ref}, as {seen[draft.ref]} is."
        seen[draft.ref] = name
        drafts[name] = draft
    return files.Found(drafts, errors)
