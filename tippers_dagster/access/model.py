"""Users and roles: pure functions."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import IntEnum

from tippers_dagster.errors import BadInput, TippersError

_ADDRESS = re.compile(r'[^\s@,;:<>()"\\]+@[^\s@,;:<>()"\\]+')
_MAX_CHARACTERS = 254


class NotAllowed(TippersError):
    """The user's role does not allow the action."""


class Role(IntEnum):
    """What a user may do; each role includes the previous ones."""

    VIEWER = 1
    """See everything that is not personal, and download counts."""
    ANALYST = 2
    """Define, track, materialise and label; see entities."""
    ADMIN = 3
    """Manage connections and users."""


@dataclass(frozen=True)
class Login:
    """A user who logged in.

    Attributes
    ----------
    issuer, subject
        The identity provider, and its id of the user, which is never given to another user.
    email
        The current address, from ``email_address``; another user may get it later.
    """

    issuer: str
    subject: str
    email: str


def email_address(text: str) -> str:
    """A normalised address for comparisons: lower case, without surrounding space.

    Different letters that look alike stay different.

    Raises
    ------
    BadInput
        When it is not an address, or not in Unicode's composed form, as another character could
        then stand for an ASCII letter (the Kelvin sign for a k).
    """
    email = text.strip()
    composed = unicodedata.is_normalized("NFC", email)
    if not (_ADDRESS.fullmatch(email) and composed and email.isprintable()):
        raise BadInput(
            f"{text!r} is not an e-mail address.", "Give the address that the user logs in with."
        )
    if len(email) > _MAX_CHARACTERS:
        raise BadInput(f"An e-mail address has at most {_MAX_CHARACTERS} characters.")
    return email.lower()


@dataclass(frozen=True)
class Person:
    """A user of the app. ``name`` is the author in versions and runs."""

    name: str
    role: Role
    email: str = ""

    def may(self, role: Role) -> bool:
        """Whether the user has this role."""
        return self.role >= role

    def require(self, role: Role, what: str) -> None:
        """Raise unless the user has a role.

        Parameters
        ----------
        what
            The action, such as ``save definitions``.

        Raises
        ------
        NotAllowed
            Names the role that is needed.
        """
        if not self.may(role):
            raise NotAllowed(
                f"{self.name} may not {what}: it needs the {role.name.lower()} role, "
                f"and {self.name} is {self.role.name.lower()}.",
                "An administrator can change the role: `tippers people set EMAIL ROLE`.",
            )
