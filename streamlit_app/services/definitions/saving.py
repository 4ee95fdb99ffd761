"""Changing definitions: saving, conflicts, retiring, deleting, renaming, restoring."""

from __future__ import annotations

from collections.abc import Iterable

from streamlit_app.services.app import App
from streamlit_app.services.definitions.edit import Edit, draft
from streamlit_app.services.definitions.listing import load
from streamlit_app.services.definitions.text import text_of
from tippers_dagster.access.model import Role
from tippers_dagster.catalog import store
from tippers_dagster.catalog.editing import Conflict
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Definition, Draft, Ref
from tippers_dagster.errors import BadInput
from tippers_dagster.graph.reload import Reloaded, reload_definitions
from tippers_dagster.graph.save import Saved, checks, save_definition


def may_write(app: App, kind: Kind) -> bool:
    """Whether the person may change definitions of a kind."""
    return app.person.may(Role.ADMIN if kind in _OF_ADMINS else Role.ANALYST)


_OF_ADMINS = (Kind.CONNECTION, Kind.LOG_SOURCE)
"""Kinds that say which other databases are read, and how the log is."""


def require_write(app: App, kinds: Iterable[Kind], what: str = "change definitions") -> None:
    """Refuse anybody who may not change definitions of these kinds.

    Raises
    ------
    NotAllowed
        Naming the role that is needed.
    """
    app.person.require(Role.ANALYST, what)
    if set(kinds).intersection(_OF_ADMINS):
        app.person.require(Role.ADMIN, "change connections and log sources")


# --- saving --------------------------------------------------------------------------------------
def save(app: App, edit: Edit, *, over: Definition | None = None) -> Saved | None:
    """Save the form, and have the running deployment load it.

    Parameters
    ----------
    over
        Somebody else's version that the person has seen and replaces, unless it changed again.

    Returns
    -------
    Saved or None
        None if somebody else saved first; ``edit`` then holds their version.

    Raises
    ------
    BadInput
        Why it cannot be saved.
    """
    require_write(app, [edit.kind], "save definitions")
    made = draft(edit)
    if edit.is_new:
        _refuse_taken_name(app, made)
    expected = over.version if over is not None else edit.expected
    try:
        saved = save_definition(app.settings, made, by=app.person.name, expected_version=expected)
    except Conflict as conflict:
        edit.conflict, edit.theirs = True, conflict.current
        return None
    edit.replace(saved.definition)
    return saved


def save_deleted(app: App, edit: Edit) -> Saved | None:
    """Like ``save``, for a definition that somebody deleted meanwhile: it is created again."""
    edit.expected = 0
    return save(app, edit)


def _refuse_taken_name(app: App, made: Draft) -> None:
    found = load(app).named(made.ref.namespace, made.ref.name)
    if found is not None:
        kind = found.ref.kind.in_words
        raise BadInput(
            f"{found.ref} already exists ({kind}).",
            "Choose another name, or open the existing definition.",
        )


def take_theirs(app: App, edit: Edit) -> None:
    """Continue from somebody else's version, and keep this session's text to look at."""
    edit.set_aside.append(text_of(edit))
    if edit.theirs is not None:
        edit.replace(edit.theirs)
    edit.conflict, edit.theirs = False, None


# --- other changes -------------------------------------------------------------------------------
def retire(app: App, ref: Ref, expected: int | None = None) -> Reloaded:
    """Take a definition out of use."""
    require_write(app, [ref.kind], "retire definitions")
    store.retire(app.settings, ref, by=app.person.name, expected_version=expected)
    return reload_definitions(app.settings)


def activate(app: App, ref: Ref, expected: int | None = None) -> Reloaded:
    """Take a retired definition back into use."""
    require_write(app, [ref.kind], "activate definitions")
    store.activate(
        app.settings,
        ref,
        by=app.person.name,
        expected_version=expected,
        checks=checks(app.settings),
    )
    return reload_definitions(app.settings)


def delete(app: App, ref: Ref, expected: int | None = None) -> Reloaded:
    """Delete a saved definition. Its history stays; one in the project's files comes back.

    Raises
    ------
    BadInput
        If others use it, with their names.
    """
    require_write(app, [ref.kind], "delete definitions")
    store.delete(app.settings, ref, by=app.person.name, expected_version=expected)
    return reload_definitions(app.settings)


def rename(app: App, ref: Ref, name: str) -> tuple[Ref, Reloaded]:
    """Rename a definition that nothing uses."""
    require_write(app, [ref.kind], "rename definitions")
    done = store.rename(app.settings, ref, name.strip(), by=app.person.name)
    return done.ref, reload_definitions(app.settings)


def restore(app: App, ref: Ref, number: int, expected: int | None = None) -> Reloaded:
    """Save an earlier version as the newest one."""
    require_write(app, [ref.kind], "restore definitions")
    store.restore(
        app.settings,
        ref,
        number,
        by=app.person.name,
        expected_version=expected,
        checks=checks(app.settings),
    )
    return reload_definitions(app.settings)
