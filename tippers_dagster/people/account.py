"""The operating system's account, for whoever works without a login."""

from __future__ import annotations

import getpass


def user_name() -> str:
    """The name of the current account; empty when the system does not know it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return ""
