"""Numbers with their nouns, for the commands."""

from tippers_dagster.text import counted

__all__ = ["counted"]
