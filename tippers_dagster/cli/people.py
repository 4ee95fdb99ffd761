"""``tippers people``: roles of the app's users."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from tippers_dagster.access.machine_user import machine_user
from tippers_dagster.settings import get_settings

Email = Annotated[str, typer.Argument(help="The e-mail address of their login.")]
RoleName = Annotated[
    Literal["viewer", "analyst", "admin"],
    typer.Argument(help="Each role includes the previous ones."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    people = typer.Typer(no_args_is_help=True, help="Roles of the app's users.")
    people.command("list")(list_all)
    people.command("set")(set_role)
    people.command("remove")(remove)
    app.add_typer(people, name="people")


def list_all() -> None:
    """List the users who have a role."""
    from tippers_dagster.access.store import list_people

    found = list_people(get_settings())
    for given in found:
        login = f"{given.subject} of {given.issuer}" if given.subject else "not logged in yet"
        typer.echo(
            f"{given.email}  {given.role.name.lower()}  "
            f"(by {given.by}, {given.at:%Y-%m-%d %H:%M}; {login})"
        )
    if not found:
        typer.echo("No roles are assigned yet. Assign one: `tippers people set EMAIL analyst`")


def set_role(email: Email, role: RoleName) -> None:
    """Assign a role to a user, in place of their present one.

    The first user to log in with this address gets the role; a later user of it does not.
    """
    from tippers_dagster.access import store
    from tippers_dagster.access.model import Role

    given = store.set_role(get_settings(), email, Role[role.upper()], by=machine_user())
    if given.subject is None:
        typer.echo(f"{given.email} will be {role} from the first login on.")
    else:
        typer.echo(
            f"{given.email} is {role} now: {given.subject} of {given.issuer}. If the address "
            "belongs to somebody else by now, remove the role first and set it again."
        )


def remove(email: Email) -> None:
    """Remove a user's role."""
    from tippers_dagster.access import store

    store.remove(get_settings(), email)
    typer.echo(f"The role of {email} is removed.")
