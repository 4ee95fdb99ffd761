"""Authentication of the app's users, with a login or a proxy in front."""

from __future__ import annotations

import re
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from tippers_dagster.access.model import Login, NotAllowed, Person, Role, email_address
from tippers_dagster.access.store import role_of
from tippers_dagster.errors import BadInput, SettingsError
from tippers_dagster.platform.dagster.addresses import LOOPBACK
from tippers_dagster.platform.keys import replace_secret
from tippers_dagster.settings import Settings

Entrance = Literal["login", "proxy", "local"]

_COOKIE_SECRET = re.compile(r"""(?m)^(\s*cookie_secret\s*=\s*)("[^"\n]*"|'[^'\n]*')""")


def login_file(settings: Settings) -> Path:
    """Streamlit's secrets file of this deployment, which may not exist."""
    return settings.streamlit_secrets or settings.home_path / "streamlit" / "secrets.toml"


def has_login(settings: Settings) -> bool:
    """Whether users log in: the secrets file has a section ``auth``.

    Raises
    ------
    SettingsError
        When the file in the settings does not exist, or is not TOML.
    """
    return _auth(settings) is not None


def renew_cookie_secret(settings: Settings) -> None:
    """Replace the secret that signs the cookies of logins: everyone has to log in again.

    Raises
    ------
    SettingsError
        When there is no login, or its file cannot be changed.
    """
    path = login_file(settings)
    text = path.read_text() if path.is_file() else ""
    found = _COOKIE_SECRET.findall(text)
    if len(found) != 1 or not has_login(settings):
        raise SettingsError(
            f"{path} has no line cookie_secret of its own in [auth].",
            "Without a login there is nothing to renew. Otherwise change it by hand.",
        )
    replaced = _COOKIE_SECRET.sub(rf'\g<1>"{secrets.token_hex(32)}"', text)
    before, after = tomllib.loads(text), tomllib.loads(replaced)
    for content in (before, after):
        content["auth"].pop("cookie_secret", None)
    if before != after:
        raise SettingsError(f"cookie_secret in {path} cannot be replaced.", "Change it by hand.")
    try:
        replace_secret(path, replaced.rstrip("\n"))
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written: {error.strerror}.", "Change cookie_secret in it by hand."
        ) from error


def redirect_address(settings: Settings) -> str | None:
    """The login's redirect URI; None without a login."""
    found = (_auth(settings) or {}).get("redirect_uri")
    return None if found is None else str(found)


def entrance(settings: Settings) -> Entrance:
    """How users authenticate: with a login, by a proxy's header, or by being on this machine.

    Without a login or a proxy, everyone is an administrator. The app must then listen on this
    machine only, and no setting may make it reachable from elsewhere.

    Raises
    ------
    SettingsError
        When unidentified users could reach the app, or both a login and a proxy are configured.
    """
    login, header = has_login(settings), settings.streamlit_user_header
    if login and header:
        raise SettingsError(
            f"Both {login_file(settings)} and TIPPERS_STREAMLIT_USER_HEADER are configured.",
            "Use only one of them.",
        )
    if login or header:
        return "login" if login else "proxy"
    for forbidden, why in (
        (settings.streamlit_host not in LOOPBACK, f"not on {settings.streamlit_host}"),
        (settings.streamlit_protected, "not behind a proxy (TIPPERS_STREAMLIT_PROTECTED)"),
        (not _is_local(settings.streamlit_public_url), "not at TIPPERS_STREAMLIT_PUBLIC_URL"),
    ):
        if forbidden:
            raise SettingsError(
                "Without a login, everyone is an administrator, so the app may serve this machine "
                f"only; {why}.",
                f"Add an [auth] section to {login_file(settings)}, or set "
                "TIPPERS_STREAMLIT_USER_HEADER to the header in which the proxy in front of the "
                "app sends the user, such as X-Forwarded-Email (see docs/app.md).",
            )
    return "local"


def person_from_claims(settings: Settings, claims: Mapping[str, Any]) -> Person:
    """The user with these login claims.

    Raises
    ------
    NotAllowed
        When the login has no verified e-mail address, or the user has no role.
    """
    issuer, subject = claims.get("iss"), claims.get("sub")
    if not (isinstance(issuer, str) and isinstance(subject, str) and issuer and subject):
        raise NotAllowed(
            "Your login does not identify you: its issuer or subject is missing.",
            "Ask the administrator of the login to add it.",
        )
    email = _address(claims.get("email"))
    if email is None or not _is_verified(settings, issuer, claims.get("email_verified")):
        raise NotAllowed(
            "Your login has no verified e-mail address.",
            "Ask the administrator of the login to add it. If all addresses of "
            f"{issuer} are verified, add it to TIPPERS_TRUSTED_ISSUERS.",
        )
    login = Login(issuer, subject, email)
    role = _claimed(settings, claims) if settings.role_claim else role_of(settings, login)
    return _person(settings, login, role)


def person_from_header(settings: Settings, values: Sequence[str]) -> Person:
    """The user named in the proxy's header, from all its values in a request.

    Raises
    ------
    NotAllowed
        When there is not exactly one e-mail address, or the user has no role.
    """
    header = settings.streamlit_user_header
    email = _address(values[0]) if len(values) == 1 else None
    if email is None:
        raise NotAllowed(
            f"The request does not have exactly one e-mail address in the header {header}.",
            "Open the app through its proxy, which sets this header "
            "(TIPPERS_STREAMLIT_USER_HEADER).",
        )
    login = Login(f"header {header.lower()}", email, email)
    return _person(settings, login, role_of(settings, login))


def _auth(settings: Settings) -> Mapping[str, Any] | None:
    path = login_file(settings)
    if not path.is_file():
        if settings.streamlit_secrets is not None:
            raise SettingsError(f"There is no file {path}.", "Check TIPPERS_STREAMLIT_SECRETS.")
        return None
    try:
        found = tomllib.loads(path.read_text()).get("auth")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None
    if found is not None and not isinstance(found, dict):
        raise SettingsError(f"In {path} auth is not a section.", "See docs/app.md.")
    return found


def _is_local(url: str | None) -> bool:
    return url is None or urlsplit(url).hostname in LOOPBACK


def _address(value: object) -> str | None:
    try:
        return email_address(value) if isinstance(value, str) else None
    except BadInput:
        return None


def _is_verified(settings: Settings, issuer: str, verified: object) -> bool:
    """Whether the claim is true; for a trusted issuer also if it is missing or the text "true"."""
    trusted = {name.strip() for name in settings.trusted_issuers.split(",")}
    return verified is True or (issuer in trusted and verified in (None, "true", "True"))


def _person(settings: Settings, login: Login, role: Role | None) -> Person:
    if role is None and settings.default_role != "none":
        role = Role[settings.default_role.upper()]
    if role is None:
        raise NotAllowed(
            f"{login.email} has no role here.",
            f"An administrator can assign one: `tippers people set {login.email} viewer`.",
        )
    return Person(login.email, role, login.email)


def _claimed(settings: Settings, claims: Mapping[str, Any]) -> Role | None:
    """The highest role in the claim, which may be a list."""
    value = claims.get(settings.role_claim)
    values = value if isinstance(value, list | tuple) else [value]
    known = {role.name.lower(): role for role in Role}
    return max((known[v] for v in map(str, values) if v in known), default=None)
