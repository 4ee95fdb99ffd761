"""People and roles. Pure."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import IntEnum

from tippers_dagster.errors import BadInput, TippersError

_ADDRESS = re.compile(r'[^\s@,;:<>()"\\]+@[^\s@,;:<>()"\\]+')
_LONGEST = 254


class NotAllowed(TippersError):
    """What somebody asked for takes another role."""


class Role(IntEnum):
    """What a person may do; each may also do what those before may."""

    VIEWER = 1
    """Look at everything that is not personal, and download counts."""
    ANALYST = 2
    """Define, track, materialise, label; see entities."""
    ADMIN = 3
    """Connections and people."""


@dataclass(frozen=True)
class Login:
    """Somebody who logged in.

    Attributes
    ----------
    issuer, subject
        The identity provider, and its id of the person: these never pass to somebody else.
    email
        Their current address, as by ``email_address``; it may pass to somebody else.
    """

    issuer: str
    subject: str
    email: str


def email_address(text: str) -> str:
    """A normalised address for comparisons: lower case, without surrounding space.

    Letters that only look alike stay different.

    Raises
    ------
    BadInput
        When it is not an address, or not in Unicode's composed form, as another letter could then
        stand for an ASCII one (the Kelvin sign for a k).
    """
    email = text.strip()
    composed = unicodedata.is_normalized("NFC", email)
    if not (_ADDRESS.fullmatch(email) and composed and email.isprintable()):
        raise BadInput(
            f"{text!r} is not an e-mail address.", "Roles go to the address of the login."
        )
    if len(email) > _LONGEST:
        raise BadInput(f"An e-mail address may have at most {_LONGEST} characters.")
    return email.lower()


@dataclass(frozen=True)
class Person:
    """Somebody who uses the app. ``name`` is what versions and runs carry as author."""

    name: str
    role: Role
    email: str = ""

    def may(self, role: Role) -> bool:
        """Whether this role is theirs."""
        return self.role >= role

    def require(self, role: Role, what: str) -> None:
        """Refuse what takes another role.

        Parameters
        ----------
        what
            What was asked for, as ``save definitions``.

        Raises
        ------
        NotAllowed
            Saying who can, and what they would give.
        """
        if not self.may(role):
            raise NotAllowed(
                f"{self.name} may not {what}: this takes the role {role.name.lower()}, "
                f"and theirs is {self.role.name.lower()}.",
                "An administrator gives roles: `tippers people set EMAIL ROLE`.",
            )
