"""What all previews need: the catalog with the draft in it, and what has been computed."""

from __future__ import annotations

from dataclasses import replace

from streamlit_app.services.definitions.edit import Edit, draft
from tippers_dagster.automation.state import load_states
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.model import Draft, Ref
from tippers_dagster.errors import BadInput, TippersError
from tippers_dagster.settings import Settings


class NeverComputed(TippersError):
    """Something that a preview reads, ``ref``, has never been computed."""

    def __init__(self, ref: Ref) -> None:
        super().__init__(
            f"No preview yet: the {ref.kind.in_words} {ref} has never been computed.",
            "Save anyway, or wait for the run that computes it.",
        )
        self.ref = ref


def planned(catalog: Catalog, edit: Edit) -> tuple[Draft, Catalog]:
    """The draft in a form, which need not have a name yet, and the catalog with it saved.

    Raises
    ------
    BadInput
        If the draft is not valid, or could not work in this catalog.
    """
    made = draft(edit if edit.name else replace(edit, name="not_named_yet"))
    # An unchanged draft is left out: a function from the project's files would lose its origin.
    after = catalog.with_drafts(catalog.changed([made]))
    if made.ref in after.problems:
        raise BadInput(after.problems[made.ref])
    return made, after


def current_versions(settings: Settings) -> dict[str, str]:
    """The current version of every computed asset, in one query."""
    return {name: s.version for name, s in load_states(settings).items() if s.version}


def version_of(versions: dict[str, str], ref: Ref) -> str:
    """The version of a definition's asset among ``current_versions``.

    Raises
    ------
    NeverComputed
        If it has none.
    """
    if ref.asset_name not in versions:
        raise NeverComputed(ref)
    return versions[ref.asset_name]
