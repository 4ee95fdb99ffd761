"""Definitions and their versions as database rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.handwritten import Handwritten
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Definition, Ref, Status, Unreadable
from tippers_dagster.catalog.names import read_body
from tippers_dagster.catalog.tables import definition as table
from tippers_dagster.errors import BadInput


@dataclass(frozen=True)
class Version:
    """One version of a definition. ``body`` is as stored, perhaps in an older format."""

    ref: Ref
    version: int
    action: str
    description: str
    owner: str
    status: Status
    body: Mapping[str, Any]
    changed_at: dt.datetime
    changed_by: str


def load(connection: sa.Connection, handwritten: Handwritten) -> Catalog:
    """The catalog from the database and the project's files."""
    saved, unusable = [], dict(handwritten.unusable)
    for row in connection.execute(sa.select(table)):
        try:
            saved.append(_definition(row))
        except ValueError:
            unusable[f"{row.namespace}{row.name}"] = f"There is no kind {row.kind!r}."
    return Catalog(saved, handwritten.definitions, unusable)


def _definition(row: sa.Row[Any]) -> Definition:
    ref = Ref(row.concept, row.name, Kind(row.kind))
    try:
        body = read_body(ref.kind, row.body)
    except BadInput as error:
        body = Unreadable(reason=f"It cannot be read: {error.message}", raw=row.body)
    return Definition(
        ref,
        body,
        row.description,
        row.owner,
        row.status,
        row.version,
        row.updated_at,
        row.updated_by,
        reads=tuple(row.reads),
    )


def row_of(made: Definition) -> dict[str, Any]:
    """The columns of a definition, except its namespace."""
    body = made.body
    raw = body.raw if isinstance(body, Unreadable) else body.model_dump(mode="json")
    return {
        "kind": made.ref.kind.value,
        "concept": made.ref.concept,
        "name": made.ref.name,
        "description": made.description,
        "owner": made.owner,
        "status": made.status,
        "version": made.version,
        "body": raw,
        "reads": list(made.reads),
        "updated_at": made.updated_at,
        "updated_by": made.updated_by,
    }


def version_of(row: sa.Row[Any]) -> Version:
    """The version in a row of the version table."""
    return Version(
        Ref(row.concept, row.name, Kind(row.kind)),
        row.version,
        row.action,
        row.description,
        row.owner,
        row.status,
        row.body,
        row.changed_at,
        row.changed_by,
    )


def is_named(where: sa.Table, ref: Ref) -> sa.ColumnElement[bool]:
    """The condition that rows belong to this definition."""
    return sa.and_(
        where.c.kind == ref.kind.value, where.c.concept == ref.concept, where.c.name == ref.name
    )
