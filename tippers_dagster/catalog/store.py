"""Finding, saving, retiring and deleting definitions, and their history."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import sqlalchemy as sa

from tippers_dagster.catalog.catalog import Catalog, draft_of, same_content
from tippers_dagster.catalog.editing import LOCK, Action, Conflict, Edit, editing
from tippers_dagster.catalog.handwritten import read_handwritten
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.lookup import near_names
from tippers_dagster.catalog.model import Definition, Draft, Ref, Unreadable
from tippers_dagster.catalog.names import read_body
from tippers_dagster.catalog.rows import Version, is_named, load, version_of
from tippers_dagster.catalog.tables import definition_version as versions
from tippers_dagster.catalog.validate import Checks, checked, refuse_problems
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

Outcome = Literal["created", "changed", "unchanged"]

__all__ = [
    "LOCK",
    "Checks",
    "Conflict",
    "Draft",
    "Version",
    "activate",
    "changed_fields",
    "delete",
    "find",
    "get",
    "history",
    "list_definitions",
    "load_catalog",
    "rename",
    "restore",
    "retire",
    "save",
    "save_all",
    "version",
]


# --- reading -------------------------------------------------------------------------------------
def load_catalog(settings: Settings) -> Catalog:
    """The current definitions, from the project's files and the database."""
    handwritten = read_handwritten(settings)
    with warehouse_engine(settings).connect() as connection:
        return load(connection, handwritten)


def get(settings: Settings, ref: Ref) -> Definition:
    """A definition, active or retired.

    Raises
    ------
    BadInput
        When there is none with this name and kind.
    """
    found = load_catalog(settings).named(ref.namespace, ref.name)
    if found is None or found.ref != ref:
        raise BadInput(f"There is no {ref.kind.in_words} {ref}.")
    return found


def list_definitions(
    settings: Settings,
    *,
    kind: Kind | None = None,
    concept: str | None = None,
    retired: bool = False,
) -> list[Definition]:
    """Definitions by concept and name; ``retired``: retired ones too."""
    catalog = load_catalog(settings)
    found = {**catalog.definitions, **(catalog.retired if retired else {})}
    return [
        d
        for ref, d in sorted(found.items())
        if kind in (None, ref.kind) and concept in (None, ref.concept, _concept_named(ref))
    ]


def _concept_named(ref: Ref) -> str | None:
    return ref.name if ref.kind == Kind.CONCEPT else None


def find(settings: Settings, written: str) -> Ref:
    """The definition that ``concept.name``, or ``kind.name`` outside concepts, refers to.

    Also finds deleted definitions, which still have a history.

    Raises
    ------
    BadInput
        Suggests similar names.
    """
    catalog = load_catalog(settings)
    concept, _, name = written.partition(".")
    kinds = {kind.value: kind for kind in Kind if not kind.in_concept}
    namespace = f"{concept}." if concept in kinds else concept
    found = catalog.named(namespace, name)
    if found is not None:
        return found.ref
    past = sa.select(versions.c.kind).where(
        versions.c.name == name,
        versions.c.kind == concept if concept in kinds else versions.c.concept == concept,
    )
    with warehouse_engine(settings).connect() as connection:
        kind = connection.scalar(past.order_by(versions.c.changed_at.desc()).limit(1))
    if kind is not None:
        return Ref("" if concept in kinds else concept, name, Kind(kind))
    near = near_names(catalog, written)
    hint = (
        f"Did you mean {' or '.join(near)}?"
        if near
        else "`tippers definitions list` shows all definitions."
    )
    raise BadInput(f"There is no definition {written!r}.", hint)


def history(settings: Settings, ref: Ref) -> list[Version]:
    """All versions of a definition, newest first; empty if it was never saved."""
    query = sa.select(versions).where(is_named(versions, ref)).order_by(versions.c.version.desc())
    with warehouse_engine(settings).connect() as connection:
        return [version_of(row) for row in connection.execute(query)]


def version(settings: Settings, ref: Ref, number: int) -> Version:
    """One version; BadInput if there is none with this number."""
    found = {v.version: v for v in history(settings, ref)}
    if number not in found:
        known = ", ".join(str(n) for n in sorted(found)) or "none"
        raise BadInput(f"{ref} has no version {number}.", f"Its versions: {known}.")
    return found[number]


def changed_fields(before: Version | None, after: Version) -> list[str]:
    """The names of the fields that differ between two versions."""
    old = _fields(before) if before else {}
    new = _fields(after)
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def _fields(found: Version) -> dict[str, object]:
    about = {"description": found.description, "owner": found.owner, "status": found.status}
    return {**about, **found.body}


# --- changing ------------------------------------------------------------------------------------
def save(
    settings: Settings,
    draft: Draft,
    *,
    by: str,
    expected_version: int | None = None,
    checks: Checks | None = None,
) -> Definition:
    """Save a definition; an unchanged one gets no new version.

    Parameters
    ----------
    by
        Who saves it.
    expected_version
        The version that the author started from, 0 if none was saved; None: do not check.
    checks
        Further checks of its texts.

    Raises
    ------
    Conflict
        When somebody else has saved it meanwhile.
    BadInput
        When it cannot work, or would break other definitions.
    """
    return _save(settings, draft, by, expected_version, checks, None)


def save_all(
    settings: Settings, drafts: Iterable[Draft], *, by: str, checks: Checks | None = None
) -> dict[Ref, Outcome]:
    """Save many definitions, all or none; returns what happened to each.

    Raises
    ------
    BadInput
        Names each definition that cannot work.
    """
    drafts = list(drafts)
    catalog = load_catalog(settings)
    changed = catalog.changed(drafts)
    ready = {d.ref: d for d in checked(changed, catalog, checks or Checks())}
    with editing(settings, by=by) as edit:
        before = edit.catalog
        made = edit.put(ready.get(draft.ref, draft) for draft in drafts)
    outcome: dict[Ref, Outcome] = {}
    for definition in made:
        known = before.named(definition.ref.namespace, definition.ref.name)
        if known is None:
            outcome[definition.ref] = "created"
        else:
            same = same_content(known, definition)
            outcome[definition.ref] = "unchanged" if same else "changed"
    return outcome


def retire(
    settings: Settings, ref: Ref, *, by: str, expected_version: int | None = None
) -> Definition:
    """Retire a definition; it keeps its name and history, and can be activated again.

    Definitions that use it report that they cannot work until it is active again or they are
    changed. A definition in the project's files is retired by saving a retired copy.
    """
    with editing(settings, by=by) as edit:
        edit.expect(ref, expected_version)
        found = _existing(edit.catalog, ref)
        if found.status == "retired":
            return found
        if isinstance(found.body, Unreadable):
            raise BadInput(f"{ref} cannot be read: {found.body.reason}", "Delete or restore it.")
        return edit.put([replace(draft_of(found), status="retired")], force=True)[0]


def activate(
    settings: Settings,
    ref: Ref,
    *,
    by: str,
    expected_version: int | None = None,
    checks: Checks | None = None,
) -> Definition:
    """Activate a retired definition; BadInput if it cannot work."""
    with editing(settings, by=by) as edit:
        edit.expect(ref, expected_version)
        found = _existing(edit.catalog, ref)
        if found.status == "active":
            return found
        if edit.catalog.git(ref) and _only_retired(edit, ref):
            edit.remove(ref)
            return _existing(edit.catalog, ref)
    draft = replace(draft_of(found), status="active")
    return _save(settings, draft, by, found.version, checks, None)


def _only_retired(edit: Edit, ref: Ref) -> bool:
    """Whether nobody has saved other content in place of the definition in the files."""
    query = (
        sa.select(versions.c.action)
        .where(is_named(versions, ref), versions.c.action != "retire")
        .order_by(versions.c.version.desc())
        .limit(1)
    )
    return edit.connection.scalar(query) in (None, "delete")


def delete(
    settings: Settings, ref: Ref, *, by: str, expected_version: int | None = None
) -> Definition:
    """Delete a saved definition and return it. Its history stays.

    A definition in the project's files that it replaced takes its place again.

    Raises
    ------
    BadInput
        When others use it (with their names), or it is in the project's files.
    """
    with editing(settings, by=by) as edit:
        edit.expect(ref, expected_version)
        _existing(edit.catalog, ref)
        if edit.catalog.saved(ref) is None:
            raise BadInput(
                f"{ref} is in the project's files and cannot be deleted here.",
                f"`tippers definitions retire {ref}` retires it.",
            )
        before = edit.catalog
        gone = edit.remove(ref)
        back = edit.catalog.git(ref)
        if back is None or back.ref != ref:
            _refuse_used(before, ref, "deleted")
        refuse_problems(before, edit.catalog, [])
        return gone


def rename(settings: Settings, ref: Ref, name: str, *, by: str) -> Definition:
    """Rename a saved definition that nobody uses, within its concept."""
    with editing(settings, by=by) as edit:
        found = _existing(edit.catalog, ref)
        if edit.catalog.saved(ref) is None or edit.catalog.git(ref) is not None:
            raise BadInput(f"{ref} is in the project's files and cannot be renamed here.")
        _refuse_used(edit.catalog, ref, "renamed")
        to = replace(ref, name=name)
        if edit.catalog.named(to.namespace, name) is not None:
            raise BadInput(f"There is already a definition {to}.", "Choose another name.")
        edit.remove(ref, "rename")
        return edit.put([replace(draft_of(found), ref=to)], action="rename")[0]


def restore(
    settings: Settings,
    ref: Ref,
    number: int,
    *,
    by: str,
    expected_version: int | None = None,
    checks: Checks | None = None,
) -> Definition:
    """Save an earlier version as the newest; also for a deleted definition."""
    past = version(settings, ref, number)
    try:
        body = read_body(ref.kind, past.body)
    except BadInput as error:
        raise BadInput(
            f"Version {number} of {ref} can no longer be used:\n{error.message}"
        ) from None
    draft = Draft(ref, body, past.description, past.owner)
    return _save(settings, draft, by, expected_version, checks, "restore")


def _save(
    settings: Settings,
    draft: Draft,
    by: str,
    expected_version: int | None,
    checks: Checks | None,
    action: Action | None,
) -> Definition:
    catalog = load_catalog(settings)
    for changed in catalog.changed([draft]):
        # Before the lock: checking texts takes time.
        draft = checked([changed], catalog, checks or Checks())[0]
    with editing(settings, by=by) as edit:
        found = edit.catalog.named(draft.ref.namespace, draft.ref.name)
        if found is None or not same_content(found, draft):
            edit.expect(draft.ref, expected_version)
        return edit.put([draft], action=action)[0]


def _existing(catalog: Catalog, ref: Ref) -> Definition:
    found = catalog.named(ref.namespace, ref.name)
    if found is None or found.ref != ref:
        raise BadInput(
            f"There is no definition {ref}.", "`tippers definitions list` shows all definitions."
        )
    return found


def _refuse_used(catalog: Catalog, ref: Ref, done: str) -> None:
    users = catalog.users(ref)
    if users:
        raise BadInput(
            f"{ref} cannot be {done}: it is used by {', '.join(map(str, users))}.",
            f"Change those first. Or retire it with `tippers definitions retire {ref}`: it keeps "
            "its name and history, and the definitions that use it report that they cannot work.",
        )
