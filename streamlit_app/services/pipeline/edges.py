"""Changing definitions by drawing edges between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from streamlit_app.services.app import App
from streamlit_app.services.pipeline.graph import TABLES, Graph
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.catalog import draft_of
from tippers_dagster.catalog.kinds import Body, Kind
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.catalog.structure import PARENT_FIELD
from tippers_dagster.errors import BadInput

if TYPE_CHECKING:
    from tippers_dagster.graph.save import Saved

CREATED = (
    Kind.INDEX,
    Kind.RULE,
    Kind.FEATURE,
    Kind.LABELLING_FUNCTION,
    Kind.LABEL_MODEL,
    Kind.DERIVED_INDEX,
    Kind.CLASSIFIER,
    Kind.LABELLED_OCCUPANCY,
    Kind.PEOPLE_COUNT,
)
"""Kinds of definition that the canvas can create, in the order in which they are needed."""


def _children(parent: Kind) -> tuple[Kind, ...]:
    """Kinds of definition that name a parent of this kind."""
    return tuple(child for child in CREATED if parent in PARENT_FIELD.get(child, {}))


EDGES: Mapping[str, tuple[Kind, ...]] = {
    **dict.fromkeys(TABLES, (Kind.INDEX,)),
    **{parent.value: _children(parent) for parent in CREATED},
}
"""The edges that people can draw: from a node of this kind to nodes of these kinds."""

_FIELDS = {"parent": "parent index", "by": "source of labels"}
"""Field names that need other words; the others are read as they are."""


@dataclass(frozen=True)
class Change:
    """What a new edge changes: one field of the child's definition."""

    child: Definition
    field: str
    before: str
    after: str
    body: Body

    @property
    def in_words(self) -> str:
        """The change, before it is made."""
        name, field = self.child.ref, _FIELDS.get(self.field, self.field.replace("_", " "))
        if not isinstance(getattr(self.body, self.field), str):
            return f"Adds {self.after} to the {field} of {name}."
        if self.before:
            return f"Changes the {field} of {name} from {self.before} to {self.after}."
        return f"Sets the {field} of {name} to {self.after}."


def change_of_edge(graph: Graph, parent: str, child: str) -> Change:
    """What a new edge between two nodes would change.

    Raises
    ------
    BadInput
        The kinds do not fit, or the edge already exists.
    """
    above, below = (graph.items.get(name) for name in (parent, child))
    lower = graph.pipeline.definitions.get(child)
    upper = graph.pipeline.definitions.get(parent)
    if above is None or below is None or lower is None or lower.ref.kind not in CREATED:
        raise BadInput("No edge can be drawn there.")
    if upper is None or lower.ref.kind not in EDGES.get(above.kind, ()):
        kinds = " or ".join(kind.in_words for kind in EDGES.get(above.kind, ()))
        from_, to = (f"{item.reference} ({item.kind.replace('_', ' ')})" for item in (above, below))
        raise BadInput(
            f"{from_} cannot be connected to {to}.",
            f"Drop the edge on an empty spot to create a new {kinds}." if kinds else "",
        )
    return _change(lower, PARENT_FIELD[lower.ref.kind][upper.ref.kind], upper.ref)


def apply_change(app: App, change: Change) -> Saved:
    """Save the child's definition with the change.

    Raises
    ------
    BadInput
        The changed definition would be invalid.
    Conflict
        Somebody else has changed the definition in the meantime.
    """
    from tippers_dagster.graph.save import save_definition

    app.person.require(Role.ANALYST, "change definitions")
    draft = replace(draft_of(change.child), body=change.body)
    return save_definition(
        app.settings, draft, by=app.person.name, expected_version=change.child.version
    )


def _change(lower: Definition, field: str, upper: Ref) -> Change:
    concept = lower.ref.concept
    name = upper.name if upper.concept == concept else str(upper)
    value: Any = getattr(lower.body, field)
    is_list = isinstance(value, tuple)
    present = value if is_list else (value,) if value else ()
    if name in present or f"{concept}.{name}" in present:
        raise BadInput(f"{lower.ref} already reads {name}.")
    after: Any = (*value, name) if is_list else name
    body = lower.body.model_copy(update={field: after})
    return Change(lower, field, ", ".join(present), name, body)
