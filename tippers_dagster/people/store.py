"""The roles that people were given."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.errors import BadInput
from tippers_dagster.people.model import Role
from tippers_dagster.people.tables import person_role
from tippers_dagster.settings import Settings
from tippers_dagster.warehouse.engine import warehouse_engine


@dataclass(frozen=True)
class Given:
    """A role, to whom, by whom, when."""

    email: str
    role: Role
    by: str
    at: dt.datetime


def list_people(settings: Settings) -> list[Given]:
    """Everybody who was given a role."""
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(sa.select(person_role).order_by(person_role.c.email))
        return [Given(r.email, Role[r.role.upper()], r.by, r.at) for r in rows]


def role_of(settings: Settings, email: str) -> Role | None:
    """The role that somebody was given; None: none."""
    query = sa.select(person_role.c.role).where(person_role.c.email == email.strip().lower())
    with warehouse_engine(settings).connect() as connection:
        found = connection.scalar(query)
    return None if found is None else Role[found.upper()]


def set_role(settings: Settings, email: str, role: Role, *, by: str) -> None:
    """Give somebody a role, instead of the one that they have.

    Raises
    ------
    BadInput
        When that is no e-mail address.
    """
    values = {"email": _email(email), "role": role.name.lower(), "by": by}
    values |= {"at": dt.datetime.now(dt.UTC)}  # type: ignore[dict-item]
    statement = insert(person_role).values(values)
    with warehouse_engine(settings).begin() as connection:
        connection.execute(statement.on_conflict_do_update(index_elements=["email"], set_=values))


def remove(settings: Settings, email: str) -> None:
    """Take somebody's role away.

    Raises
    ------
    BadInput
        When they have none.
    """
    statement = sa.delete(person_role).where(person_role.c.email == email.strip().lower())
    with warehouse_engine(settings).begin() as connection:
        if not connection.execute(statement).rowcount:
            raise BadInput(f"{email} has no role.", "`tippers people list` shows who has.")


def _email(text: str) -> str:
    email = text.strip().lower()
    name, at, domain = email.partition("@")
    if not (name and at and domain) or any(c.isspace() or not c.isprintable() for c in email):
        raise BadInput(f"{text!r} is no e-mail address.", "Roles go to the address of the login.")
    return email
