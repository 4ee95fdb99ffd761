"""``tippers people``: what those who log in to the app may do."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from tippers_dagster.people.account import user_name
from tippers_dagster.settings import get_settings

Email = Annotated[str, typer.Argument(help="The address that their login says.")]
RoleName = Annotated[
    Literal["viewer", "analyst", "admin"], typer.Argument(help="Each may do what those before may.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    people = typer.Typer(no_args_is_help=True, help="What those who log in to the app may do.")
    people.command("list")(list_all)
    people.command("set")(set_role)
    people.command("remove")(remove)
    app.add_typer(people, name="people")


def list_all() -> None:
    """List everybody who was given a role."""
    from tippers_dagster.people.store import list_people

    found = list_people(get_settings())
    for given in found:
        login = f"{given.subject} of {given.issuer}" if given.subject else "not logged in yet"
        typer.echo(
            f"{given.email}  {given.role.name.lower()}  "
            f"(by {given.by}, {given.at:%Y-%m-%d %H:%M}; {login})"
        )
    if not found:
        typer.echo("Nobody was given a role: `tippers people set EMAIL analyst`.")


def set_role(email: Email, role: RoleName) -> None:
    """Give somebody a role; it replaces the one that they have.

    The first person to log in with this address claims it. If the address passes to someone else
    later, the role does not.
    """
    from tippers_dagster.people import store
    from tippers_dagster.people.model import Role

    given = store.set_role(get_settings(), email, Role[role.upper()], by=user_name())
    if given.subject is None:
        typer.echo(f"{given.email} is {role} from their first login on.")
    else:
        typer.echo(
            f"{given.email} is {role}, effective immediately: {given.subject} of {given.issuer}. "
            "If the address now belongs to somebody else, remove it first."
        )


def remove(email: Email) -> None:
    """Take somebody's role away."""
    from tippers_dagster.people import store

    store.remove(get_settings(), email)
    typer.echo(f"{email} has no role of their own now.")
