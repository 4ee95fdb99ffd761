"""One definition: its state, its dependencies and its versions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streamlit_app.services.app import App
from streamlit_app.services.definitions.edit import Edit
from streamlit_app.services.definitions.listing import State, load, state_of
from streamlit_app.services.definitions.text import diff, text_of
from tippers_dagster.catalog import store
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.lookup import near_names
from tippers_dagster.catalog.model import Definition, Ref, Unreadable
from tippers_dagster.catalog.rows import Version
from tippers_dagster.errors import BadInput


@dataclass(frozen=True)
class Opened:
    """A definition with its dependencies.

    ``definition`` is None if it was deleted and only its history is left. ``git`` is the
    definition of the same name in the project's files.
    """

    ref: Ref
    definition: Definition | None
    state: State | Literal["deleted"]
    problem: str
    reads: tuple[Ref, ...]
    users: tuple[Ref, ...]
    git: Definition | None

    @property
    def from_files(self) -> bool:
        """Whether it is the one in the project's files."""
        return self.definition is not None and self.definition.origin == "git"

    @property
    def overrides_files(self) -> bool:
        """Whether it overrides one in the project's files."""
        return not self.from_files and self.definition is not None and self.git is not None


def open_ref(app: App, catalog: Catalog, written: str) -> Ref:
    """The definition named ``concept.name``, even if it was deleted.

    Raises
    ------
    BadInput
        With similar names.
    """
    namespace, _, name = written.rpartition(".")
    kinds = {kind.value for kind in Kind if not kind.in_concept}
    found = catalog.named(f"{namespace}." if namespace in kinds else namespace, name)
    if found is not None:
        return found.ref
    try:
        return store.find(app.settings, written)
    except BadInput:
        near = near_names(catalog, written)
        hint = f"Did you mean {' or '.join(near)}?" if near else "See the list of definitions."
        raise BadInput(f"There is no definition {written!r}.", hint) from None


def opened(catalog: Catalog, ref: Ref) -> Opened:
    """The current state of a definition."""
    found = catalog.named(ref.namespace, ref.name)
    if found is not None and found.ref != ref:
        found = None
    return Opened(
        ref=ref,
        definition=found,
        state=state_of(catalog, found) if found else "deleted",
        problem=catalog.problems.get(ref, ""),
        reads=catalog.dependencies(ref),
        users=catalog.users(ref),
        git=catalog.git(ref),
    )


def changed_by_others(catalog: Catalog, edit: Edit) -> bool:
    """Whether somebody saved or deleted the definition after it was opened."""
    saved = catalog.saved(edit.ref)
    return (saved.version if saved else 0) != edit.expected


def dependents(catalog: Catalog, ref: Ref) -> list[Ref]:
    """All definitions that depend on one, directly or indirectly, in order of computation."""
    found = {ref}
    for other in catalog.order:
        if any(dep in found for dep in catalog.dependencies(other)):
            found.add(other)
    if ref.kind == Kind.CONCEPT:
        found.update(catalog.users(ref))
    return [other for other in catalog.order if other in found and other != ref]


def removal(catalog: Catalog, ref: Ref) -> Literal["delete", "used", "files"]:
    """How a definition can be removed.

    ``used``: only retired, because others use it. ``files``: only retired, because it comes with
    the project's files. One that overrides a file can be deleted, which restores the file's.
    """
    if catalog.saved(ref) is None:
        return "files"
    git = catalog.git(ref)
    if (git is None or git.ref != ref) and catalog.users(ref):
        return "used"
    return "delete"


def unreadable(definition: Definition | None) -> bool:
    """Whether this version of the app cannot read its body."""
    return definition is not None and isinstance(definition.body, Unreadable)


# --- versions ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Past:
    """A version, and the fields that it changed."""

    version: Version
    changed: tuple[str, ...]
    diff: str


def history(app: App, ref: Ref) -> list[Past]:
    """All versions, newest first, each with its changes."""
    found = store.history(app.settings, ref)
    git = load(app).git(ref)
    first = text_of(git) if git is not None and git.ref == ref else ""
    past = []
    for at, version in enumerate(found):
        before = found[at + 1] if at + 1 < len(found) else None
        old = text_of(before) if before else first
        fields = store.changed_fields(before, version) if before else []
        text = "" if version.action == "delete" else text_of(version)
        past.append(Past(version, tuple(fields), diff(old, text) if text else ""))
    return past
