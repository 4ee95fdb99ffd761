"""People and roles. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from tippers_dagster.errors import TippersError


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
