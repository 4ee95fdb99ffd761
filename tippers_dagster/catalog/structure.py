"""Which fields of a definition name other definitions, and of which kinds."""

from __future__ import annotations

from collections.abc import Iterator

from tippers_dagster.catalog.kinds import Concept, Kind
from tippers_dagster.catalog.model import Definition, Unreadable

INDEXES = (Kind.INDEX, Kind.DERIVED_INDEX)
TABLES = (*INDEXES, Kind.RULE, Kind.FEATURE, Kind.LABEL_MODEL)
"""The kinds that SQL may read."""

STRUCTURE: dict[Kind, dict[str, tuple[Kind, ...]]] = {
    Kind.DERIVED_INDEX: {"parent": INDEXES, "label_model": (Kind.LABEL_MODEL,)},
    Kind.RULE: {"index": INDEXES},
    Kind.FEATURE: {"index": INDEXES},
    Kind.LABELLING_FUNCTION: {"rule": (Kind.RULE,)},
    Kind.LABEL_MODEL: {"index": INDEXES, "labelling_functions": (Kind.LABELLING_FUNCTION,)},
    Kind.CLASSIFIER: {
        "index": INDEXES,
        "label_model": (Kind.LABEL_MODEL,),
        "features": (Kind.FEATURE,),
    },
    Kind.LABELLED_OCCUPANCY: {"by": (Kind.LABEL_MODEL, Kind.CLASSIFIER)},
    Kind.PEOPLE_COUNT: {"by": (Kind.LABEL_MODEL, Kind.CLASSIFIER)},
}
"""Fields of bodies that name other definitions, and the kinds allowed there."""

PARENT_FIELD: dict[Kind, dict[Kind, str]] = {
    kind: {parent: field for field, parents in fields.items() for parent in parents}
    for kind, fields in STRUCTURE.items()
}
"""The field of a definition that names a parent, by its kind and the parent's kind."""


def names_read(definition: Definition) -> Iterator[tuple[str, str]]:
    """Namespace and name of everything that a definition reads, its concept first."""
    concept, body = definition.ref.concept, definition.body
    if concept:
        yield f"{Kind.CONCEPT}.", concept
    for reference, _ in references(definition):
        namespace, _, name = reference.rpartition(".")
        yield namespace or concept, name
    for reference in definition.reads:
        namespace, _, name = reference.rpartition(".")
        yield namespace or concept, name
    if isinstance(body, Concept) and body.refines:
        yield f"{Kind.CONCEPT}.", body.refines.partition(".")[0]


def references(definition: Definition) -> Iterator[tuple[str, tuple[Kind, ...]]]:
    """Everything that a definition's body names, with the kinds allowed there."""
    if isinstance(definition.body, Unreadable):
        return
    for field, kinds in STRUCTURE.get(definition.ref.kind, {}).items():
        value = getattr(definition.body, field)
        for reference in (value,) if isinstance(value, str) else value or ():
            yield reference, kinds
