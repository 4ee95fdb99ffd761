"""`tippers keys show | rotate`."""

from __future__ import annotations

from enum import StrEnum

import typer

from tippers_dagster.errors import BadInput
from tippers_dagster.platform.terminal import table_console


class Rotated(StrEnum):
    """Keys that can be rotated."""

    PASSWORDS = "passwords"
    LOGIN = "login"
    DEVICE = "device"


NO_DEVICE_KEY = (
    "The device key cannot be rotated.",
    "Every hash in log, lake and list of forgotten devices would have to change at once; those of "
    "people and of forgotten devices cannot be computed again. See docs/operations.md, Keys.",
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    keys = typer.Typer(no_args_is_help=True, help="Keys and secrets: where they are; new ones.")
    keys.command("show")(show)
    keys.command("rotate")(rotate)
    app.add_typer(keys, name="keys")


def show() -> None:
    """Show which keys there are and where, and what a new one costs; never their values."""
    from rich.table import Table

    from tippers_dagster.access.login import has_login, login_file
    from tippers_dagster.connections.secrets import SETTING, secrets_file, secrets_keys
    from tippers_dagster.platform.keys import device_key_file
    from tippers_dagster.settings import get_settings

    settings = get_settings()
    device = device_key_file(settings)
    number = len(secrets_keys(settings) or ())
    of_passwords = SETTING if settings.secrets_keys is not None else str(secrets_file(settings))
    rows = [
        (
            "device",
            "TIPPERS_DEVICE_KEY"
            if settings.device_key is not None
            else str(device)
            if device.exists()
            else "not created yet",
            "hashes of devices and people; passwords of builder and reader",
            "cannot be rotated",
        ),
        (
            "passwords",
            of_passwords if number else "not created yet",
            f"stored passwords of connections; keys: {number}",
            "they are encrypted again, in one transaction",
        ),
        (
            "login",
            str(login_file(settings)) if has_login(settings) else "no login",
            "cookies of users who logged in",
            "they log in again",
        ),
    ]
    table = Table()
    for column in ("key", "where", "for", "a new one"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    table_console().print(table)


def rotate(
    which: Rotated = typer.Argument(help="passwords: stored passwords; login: cookies."),
) -> None:
    """Replace a key by a new one."""
    from tippers_dagster.access.login import renew_cookie_secret
    from tippers_dagster.connections import secrets
    from tippers_dagster.settings import get_settings

    settings = get_settings()
    if which is Rotated.DEVICE:
        raise BadInput(*NO_DEVICE_KEY)
    if which is Rotated.LOGIN:
        renew_cookie_secret(settings)
        typer.echo("New cookie secret: everyone logs in again. Restart the app.")
        return
    count = secrets.rotate(settings)
    typer.echo(f"Passwords encrypted with the newest key: {count}.")
    if settings.secrets_keys is not None:
        typer.echo(f"The older keys can be removed from {secrets.SETTING}.")
