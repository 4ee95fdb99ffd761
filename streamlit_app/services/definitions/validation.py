"""All checks of a definition, before it is saved, with the place of each fault."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from streamlit_app.services.app import App
from streamlit_app.services.definitions.edit import Edit, draft
from streamlit_app.services.definitions.opened import dependents
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.catalog.validate import checked
from tippers_dagster.errors import BadInput
from tippers_dagster.graph.save import checks
from tippers_dagster.labelling.expressions.nodes import FunctionRefused

_PLACE = re.compile(r"^Line (\d+), column (\d+): ")


@dataclass(frozen=True)
class Fault:
    """Why a definition cannot be saved.

    ``field`` is the text that is at fault (``sql``, ``python`` or ``expression``) if known, with
    ``line`` and ``column`` from 1. ``condition`` counts from 0.
    """

    message: str
    hint: str = ""
    field: Literal["", "sql", "python", "expression"] = ""
    line: int = 1
    column: int = 1
    condition: int = 0


@dataclass(frozen=True)
class Validation:
    """Whether a definition can be saved, and which definitions would be recomputed."""

    faults: tuple[Fault, ...] = ()
    makes_stale: tuple[Ref, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether it can be saved."""
        return not self.faults


def validate(app: App, catalog: Catalog, edit: Edit) -> Validation:
    """Run the same checks as saving, including those in the database.

    Raises
    ------
    NotAllowed
        If the person may not change definitions.
    """
    app.person.require(Role.ANALYST, "check definitions")
    try:
        made = draft(edit)
        if edit.is_new and catalog.named(made.ref.namespace, made.ref.name) is not None:
            raise BadInput(f"{made.ref} already exists.", "Choose another name.")
        checked([made], catalog, checks(app.settings))
    except BadInput as error:
        return Validation((fault_of(error, edit),))
    return Validation(
        makes_stale=tuple(r for r in dependents(catalog, made.ref) if r.kind != Kind.CONCEPT)
    )


def fault_of(error: BadInput, edit: Edit) -> Fault:
    """The fault that an error reports, at its place in the form."""
    message, hint = error.message, error.hint or ""
    if isinstance(error, FunctionRefused):
        place = error.place
        reason = message.partition(": ")[2] or message
        if edit.fields.get("mode") == "python":
            return Fault(reason, hint, "python", place.line, place.column)
        condition = (place.condition or 1) - 1
        return Fault(reason, hint, "expression", place.line, place.column, condition)
    found = _PLACE.match(message)
    if found and "sql" in edit.fields:
        return Fault(message[found.end() :], hint, "sql", int(found[1]), int(found[2]))
    return Fault(message, hint)  # about the whole definition: shown above the buttons
