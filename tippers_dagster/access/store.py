"""The roles of users.

A role is assigned to an e-mail address. It is an invitation until a user logs in with that address.
From then on it belongs to the issuer and subject of their login, and not to a user who gets the
same address later.
"""

from __future__ import annotations

import datetime as dt
import unicodedata
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.access.model import Login, Role, email_address
from tippers_dagster.access.tables import person_role
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings


@dataclass(frozen=True)
class Given:
    """A role of a user, with who assigned it, and when.

    ``issuer`` and ``subject`` identify the login; None: the user has not logged in yet.
    """

    email: str
    role: Role
    by: str
    at: dt.datetime
    issuer: str | None = None
    subject: str | None = None


def list_people(settings: Settings) -> list[Given]:
    """All assigned roles, by e-mail address."""
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(sa.select(person_role).order_by(person_role.c.email))
        return [Given(r.email, Role[r.role.upper()], r.by, r.at, r.issuer, r.subject) for r in rows]


def role_of(settings: Settings, login: Login) -> Role | None:
    """The role of a login; None if it has none.

    An invitation of the login's address is bound to the login, and replaces its earlier role.
    """
    theirs, invited = _theirs(login), _invited(login)
    query = sa.select(person_role.c.role, person_role.c.subject).where(sa.or_(theirs, invited))
    with warehouse_engine(settings).connect() as connection:
        rows = connection.execute(query).all()
    if any(row.subject is None for row in rows):
        return _accept(settings, login)
    return _role(rows[0].role) if rows else None


def set_role(settings: Settings, email: str, role: Role, *, by: str) -> Given:
    """Assign a role to an address, replacing an earlier one; returns the assigned role.

    Raises
    ------
    BadInput
        When it is not an e-mail address.
    """
    values = {"email": _typed(email), "role": role.name.lower(), "by": by}
    values |= {"at": dt.datetime.now(dt.UTC)}  # type: ignore[dict-item]
    statement = insert(person_role).values(values)
    statement = statement.on_conflict_do_update(index_elements=["email"], set_=values)
    with warehouse_engine(settings).begin() as connection:
        row = connection.execute(statement.returning(person_role)).one()
    return Given(row.email, role, row.by, row.at, row.issuer, row.subject)


def remove(settings: Settings, email: str) -> None:
    """Remove a user's role.

    Raises
    ------
    BadInput
        When the user has none.
    """
    statement = sa.delete(person_role).where(person_role.c.email == _typed(email))
    with warehouse_engine(settings).begin() as connection:
        if not connection.execute(statement).rowcount:
            raise BadInput(f"{email} has no role.", "`tippers people list` lists all roles.")


def _accept(settings: Settings, login: Login) -> Role | None:
    """Bind the invitation to this login, unless another login was faster."""
    theirs, invited = _theirs(login), _invited(login)
    now = dt.datetime.now(dt.UTC)
    bound = {"issuer": login.issuer, "subject": login.subject, "bound_at": now}
    with warehouse_engine(settings).begin() as connection:
        query = sa.select(person_role.c.role)
        role = connection.scalar(query.where(invited).with_for_update())
        if role is None:
            role = connection.scalar(query.where(theirs))
            return None if role is None else _role(role)
        connection.execute(sa.delete(person_role).where(theirs))
        connection.execute(sa.update(person_role).where(invited).values(bound))
    return _role(role)


def _theirs(login: Login) -> sa.ColumnElement[bool]:
    return sa.and_(person_role.c.issuer == login.issuer, person_role.c.subject == login.subject)


def _invited(login: Login) -> sa.ColumnElement[bool]:
    return sa.and_(person_role.c.email == login.email, person_role.c.subject.is_(None))


def _role(name: str) -> Role:
    return Role[name.upper()]


def _typed(email: str) -> str:
    # Some keyboards and file systems produce accents as separate characters.
    return email_address(unicodedata.normalize("NFC", email))
