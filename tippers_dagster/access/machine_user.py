"""The user of this machine who runs a command, or the app without a login."""

import getpass


def machine_user() -> str:
    """The user's name; empty where the machine has none for this user, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
