"""Changing definitions: one change at a time, under a lock, in one transaction.

A change holds a lock on the whole catalog for a moment and checks the current state under it, so
simultaneous changes by people or processes are made one after the other.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import sqlalchemy as sa

from tippers_dagster.catalog.catalog import same_content
from tippers_dagster.catalog.handwritten import Handwritten, read_handwritten
from tippers_dagster.catalog.kinds import Connection
from tippers_dagster.catalog.model import Definition, Draft, Ref
from tippers_dagster.catalog.rows import is_named, load, row_of
from tippers_dagster.catalog.tables import definition as table
from tippers_dagster.catalog.tables import definition_version as versions
from tippers_dagster.catalog.validate import check_form, refuse_problems, refuse_taken
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

LOCK = 0x7469_7070_6572_7302
"""Advisory lock for changing definitions."""

Action = Literal["create", "change", "retire", "activate", "delete", "restore", "rename"]


class Conflict(BadInput):
    """Somebody else has changed the definition. ``current``: what it is now, if it exists."""

    def __init__(self, message: str, hint: str, current: Definition | None) -> None:
        super().__init__(message, hint)
        self.current = current


@contextmanager
def editing(settings: Settings, *, by: str) -> Iterator[Edit]:
    """Hold the catalog's lock during one transaction.

    Parameters
    ----------
    by
        Who makes the change.
    """
    if not by.strip():
        raise BadInput("The author of the change is missing.", "Give a name.")
    handwritten = read_handwritten(settings)
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        yield Edit(connection, handwritten, by.strip())


class Edit:
    """Changes to the catalog while its lock is held. All are undone if an error is raised.

    Attributes
    ----------
    catalog
        Including the changes made so far.
    """

    def __init__(self, connection: sa.Connection, handwritten: Handwritten, by: str) -> None:
        self.connection = connection
        self.by = by
        self._handwritten = handwritten
        self.catalog = load(connection, handwritten)

    def put(
        self, drafts: Iterable[Draft], *, action: Action | None = None, force: bool = False
    ) -> list[Definition]:
        """Save drafts together; an unchanged one gets no new version.

        ``force``: even if other definitions then cannot work.
        """
        drafts = [self._tidy(draft) for draft in drafts]
        for draft in drafts:
            check_form(draft)
            refuse_taken(self.catalog, draft.ref)
        changed = [d for d in drafts if not self._is_unchanged(d)]
        if not force:
            after = self.catalog.with_drafts(changed)
            refuse_problems(self.catalog, after, [d.ref for d in changed])
        written = {d.ref: self._write(d, action) for d in changed}
        self.catalog = self.catalog.with_changes(written.values())
        return [written.get(d.ref) or self._now(d.ref) for d in drafts]

    def remove(self, ref: Ref, action: Action = "delete") -> Definition:
        """Delete a saved definition; one in the project's files takes its place again."""
        gone = self.catalog.saved(ref)
        assert gone is not None
        self.connection.execute(sa.delete(table).where(is_named(table, ref)))
        gone_at = replace(gone, version=self._next_version(ref), updated_at=dt.datetime.now(dt.UTC))
        self._record(gone_at, action)
        self.catalog = self.catalog.with_changes(removed=[ref])
        return gone

    def expect(self, ref: Ref, expected: int | None) -> None:
        """Raise ``Conflict`` if a definition no longer has the version that was read."""
        found = self.catalog.saved(ref)
        if expected is None or expected == (found.version if found else 0):
            return
        last = self.connection.execute(
            sa.select(versions)
            .where(is_named(versions, ref))
            .order_by(versions.c.version.desc())
            .limit(1)
        ).one_or_none()
        if last is None:
            raise Conflict(f"{ref} was never saved.", "Save it as a new definition.", None)
        done = "deleted" if found is None else "saved"
        base = f"version {expected}" if expected else "an unsaved state"
        raise Conflict(
            f"{ref} was {done} by {last.changed_by} on {last.changed_at:%Y-%m-%d at %H:%M:%S} UTC "
            f"(version {last.version}), after you started from {base}. Your changes were not "
            "saved.",
            f"See what changed with `tippers definitions show {ref} --history`, merge it with your "
            "changes, and save again.",
            found,
        )

    def _tidy(self, draft: Draft) -> Draft:
        draft = replace(draft, description=draft.description.strip(), owner=draft.owner.strip())
        return _with_stored_password(draft, self.catalog.saved(draft.ref))

    def _is_unchanged(self, draft: Draft) -> bool:
        found = self.catalog.named(draft.ref.namespace, draft.ref.name)
        return found is not None and same_content(found, draft)

    def _now(self, ref: Ref) -> Definition:
        found = self.catalog.named(ref.namespace, ref.name)
        assert found is not None
        return found

    def _write(self, draft: Draft, action: Action | None) -> Definition:
        before = self.catalog.saved(draft.ref)
        made = Definition(
            draft.ref,
            draft.body,
            draft.description,
            draft.owner,
            draft.status,
            version=self._next_version(draft.ref),
            updated_at=dt.datetime.now(dt.UTC),
            updated_by=self.by,
            reads=draft.reads or (),
        )
        row = row_of(made)
        if before is None:
            self.connection.execute(sa.insert(table).values(**row, namespace=draft.ref.namespace))
        else:
            self.connection.execute(
                sa.update(table).where(is_named(table, draft.ref)).values(**row)
            )
        self._record(made, action or _action(before, draft))
        return made

    def _next_version(self, ref: Ref) -> int:
        last = sa.select(sa.func.max(versions.c.version)).where(is_named(versions, ref))
        return 1 + (self.connection.scalar(last) or 0)

    def _record(self, made: Definition, action: Action) -> None:
        row = row_of(made)
        del row["updated_by"]
        changed = {"changed_at": row.pop("updated_at"), "changed_by": self.by}
        self.connection.execute(sa.insert(versions).values(**row, **changed, action=action))


def _action(before: Definition | None, draft: Draft) -> Action:
    if draft.status == "retired":
        return "retire"
    if before is None:
        return "create"
    return "activate" if before.status == "retired" else "change"


def _with_stored_password(draft: Draft, saved: Definition | None) -> Draft:
    """A connection given without a password keeps the stored one.

    Only if it leads to the same place: changing the address must not send the password elsewhere.
    """
    if saved is None or not isinstance(saved.body, Connection):
        return draft
    assert isinstance(draft.body, Connection)
    place = ("dialect", "host", "port", "database", "user", "options")
    if draft.body.password is not None or any(
        getattr(draft.body, name) != getattr(saved.body, name) for name in place
    ):
        return draft
    return replace(draft, body=draft.body.model_copy(update={"password": saved.body.password}))
