"""The tree of labels: a concept's values, and the concepts that refine them."""

from __future__ import annotations

from dataclasses import dataclass

from streamlit_app.services.pipeline.graph import Graph
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Concept, Kind


@dataclass(frozen=True)
class Branch:
    """A concept or one of its labels, with everything that refines it.

    ``entities``: how many entities the label model ``by`` gave this label; None if no label model
    has been computed.
    """

    concept: str
    label: str
    description: str
    entities: int | None
    by: str
    below: tuple[Branch, ...]


def value_tree(graph: Graph, concept: str) -> Branch:
    """The whole tree of labels that a concept belongs to, from its topmost concept down.

    Raises
    ------
    BadInput
        There is no such concept.
    """
    top, visited = concept, {concept}
    while (refined := _refined_by(graph.catalog, top)) and refined[0] not in visited:
        top = refined[0]
        visited.add(top)
    return _concept_branch(graph, top, frozenset())


def _concept_branch(graph: Graph, concept: str, above: frozenset[str]) -> Branch:
    catalog = graph.catalog
    definition = catalog.named(f"{Kind.CONCEPT}.", concept)
    values = catalog.values(concept)
    counts, by = _entities_by_label(graph, concept)
    above = above | {concept}

    def branches(parent: str | None) -> tuple[Branch, ...]:
        return tuple(
            Branch(
                concept,
                value.name,
                value.description,
                counts.get(value.name),
                by,
                (*branches(value.name), *refining(value.name)),
            )
            for value in values
            if value.parent == parent
        )

    def refining(label: str) -> tuple[Branch, ...]:
        names = (d.ref.name for d in catalog.of_kind(Kind.CONCEPT))
        lower = [n for n in names if _refined_by(catalog, n) == (concept, label)]
        return tuple(_concept_branch(graph, n, above) for n in lower if n not in above)

    description = definition.description if definition else ""
    return Branch(concept, "", description, None, "", branches(None))


def _refined_by(catalog: Catalog, concept: str) -> tuple[str, str] | None:
    """The concept and label that a concept refines."""
    definition = catalog.named(f"{Kind.CONCEPT}.", concept)
    body = definition.body if definition else None
    if not isinstance(body, Concept) or not body.refines:
        return None
    above, _, label = body.refines.partition(".")
    return above, label


def _entities_by_label(graph: Graph, concept: str) -> tuple[dict[str, int], str]:
    """Counts of the concept's first computed label model, and its name."""
    for definition in graph.catalog.of_kind(Kind.LABEL_MODEL):
        if definition.ref.concept == concept:
            state = graph.snapshot.state(definition.ref.asset_name)
            if counts := state.details.get("classes"):
                return dict(counts), definition.ref.name
    return {}, ""
