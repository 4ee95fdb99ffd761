"""Whether people log in, and who they are by what their login says of them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tippers_dagster.errors import SettingsError
from tippers_dagster.people.model import NotAllowed, Person, Role
from tippers_dagster.people.store import role_of
from tippers_dagster.settings import Settings

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def login_file(settings: Settings) -> Path:
    """Streamlit's secrets file of this deployment; it need not be there."""
    return settings.streamlit_secrets or settings.home_path / "streamlit" / "secrets.toml"


def has_login(settings: Settings) -> bool:
    """Whether people log in: the secrets file has a section ``auth``.

    Raises
    ------
    SettingsError
        When the file that the settings name is not there, or is not TOML.
    """
    path = login_file(settings)
    if not path.is_file():
        if settings.streamlit_secrets is not None:
            raise SettingsError(f"There is no file {path}.", "TIPPERS_STREAMLIT_SECRETS names it.")
        return False
    try:
        return "auth" in tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None


def check_address(settings: Settings) -> None:
    """Refuse to listen for others when anybody could come in.

    Raises
    ------
    SettingsError
        Another address than the machine's own, no login, and nothing in front.
    """
    host = settings.streamlit_host
    if host in LOOPBACK or settings.streamlit_protected or has_login(settings):
        return
    raise SettingsError(
        f"Without a login the app listens on this machine only, not on {host}.",
        f"Put an [auth] section into {login_file(settings)} (docs/app.md), or set "
        "TIPPERS_STREAMLIT_PROTECTED=true when something in front lets only the right people in.",
    )


def person_of(settings: Settings, claims: Mapping[str, Any]) -> Person:
    """Who somebody is, by the claims of their login.

    Raises
    ------
    NotAllowed
        When the login gives no verified e-mail address, or they have no role and get none.
    """
    email = str(claims.get("email") or "").strip().lower()
    if not email or claims.get("email_verified", True) in (False, "false"):
        raise NotAllowed(
            "Your login says no verified e-mail address.", "Ask whoever runs the login for it."
        )
    role = _claimed(settings, claims) if settings.role_claim else role_of(settings, email)
    if role is None and settings.default_role != "none":
        role = Role[settings.default_role.upper()]
    if role is None:
        raise NotAllowed(
            f"{email} has no role here.",
            f"An administrator gives one: `tippers people set {email} viewer`.",
        )
    return Person(email, role, email)


def _claimed(settings: Settings, claims: Mapping[str, Any]) -> Role | None:
    """The highest role among the values of the claim; a claim may be a list."""
    value = claims.get(settings.role_claim)
    values = value if isinstance(value, list | tuple) else [value]
    known = {role.name.lower(): role for role in Role}
    return max((known[v] for v in map(str, values) if v in known), default=None)
