"""What a form offers to choose from: definitions, labels and columns that fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.checking import DEVICE_KEY
from tippers_dagster.catalog.kinds import Classifier, DerivedIndex, Kind, LabellingFunction
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.catalog.structure import INDEXES
from tippers_dagster.errors import BadInput


# --- definitions ---------------------------------------------------------------------------------
def written_name(ref: Ref, concept: str) -> str:
    """A definition's name as written inside a concept."""
    return ref.name if ref.concept == concept else str(ref)


def find(catalog: Catalog, written: str, concept: str) -> Definition | None:
    """The definition that a name refers to inside a concept, in any state."""
    namespace, _, name = written.rpartition(".")
    return catalog.named(namespace or concept, name) if name else None


def find_working(catalog: Catalog, written: str, concept: str) -> Definition | None:
    """Like ``find``, but only if the definition is active and not broken."""
    found = find(catalog, written, concept)
    if found is None or found.status != "active" or found.ref in catalog.problems:
        return None
    return found


def choices(
    catalog: Catalog, kinds: Sequence[Kind], concept: str, chosen: Sequence[str] = ()
) -> list[str]:
    """Names of active definitions of some kinds, as written inside a concept.

    The concept's own come first. Names already chosen are kept as written, even if no such
    definition exists.
    """
    written: dict[Ref, str] = {}
    unknown = []
    for name in chosen:
        found = find(catalog, name, concept)
        if name and found is not None:
            written[found.ref] = name
        elif name:
            unknown.append(name)
    refs = [d.ref for kind in kinds for d in catalog.of_kind(kind, broken=True)]
    ordered = sorted(refs, key=lambda ref: (ref.concept != concept, ref))
    active = [written.get(ref, written_name(ref, concept)) for ref in ordered]
    retired = [name for ref, name in written.items() if ref not in refs]
    return [*active, *retired, *unknown]


def index_choices(catalog: Catalog, concept: str, chosen: str) -> list[str]:
    """The indexes that a definition may use."""
    return choices(catalog, INDEXES, concept, [chosen])


def function_choices(
    catalog: Catalog, concept: str, index: str, chosen: Sequence[str]
) -> list[str]:
    """The concept's labelling functions that vote on the entities of an index."""
    wanted = find(catalog, index, concept)

    def fits(name: str) -> bool:
        found = find_working(catalog, name, concept)
        return (
            found is not None
            and found.ref.concept == concept
            and wanted is not None
            and catalog.index_of(found.ref) == wanted.ref
        )

    names = choices(catalog, (Kind.LABELLING_FUNCTION,), concept, chosen)
    return [name for name in names if name in chosen or fits(name)]


def feature_choices(catalog: Catalog, concept: str, index: str, chosen: Sequence[str]) -> list[str]:
    """The features of an index, and of the indexes that it is derived from."""
    own = find(catalog, index, concept)
    usable = set() if own is None else {own.ref, *_derived_from(catalog, own)}

    def fits(name: str) -> bool:
        found = find_working(catalog, name, concept)
        return found is not None and catalog.index_of(found.ref) in usable

    names = choices(catalog, (Kind.FEATURE,), concept, chosen)
    return [name for name in names if name in chosen or fits(name)]


def _derived_from(catalog: Catalog, index: Definition) -> Iterator[Ref]:
    """The indexes that an index is derived from, nearest first."""
    seen = {index.ref}
    found: Definition | None = index
    while found is not None and isinstance(found.body, DerivedIndex):
        found = find(catalog, found.body.parent, found.ref.concept)
        if found is None or found.ref in seen:
            return
        seen.add(found.ref)
        yield found.ref


def device_label_sources(catalog: Catalog, chosen: str) -> list[str]:
    """The label models and classifiers that label devices, as ``concept.name``."""

    def fits(name: str) -> bool:
        found = find_working(catalog, name, "")
        return found is not None and catalog.key_column(found.ref) == DEVICE_KEY

    names = choices(catalog, (Kind.LABEL_MODEL, Kind.CLASSIFIER), "", [chosen])
    return [name for name in names if name == chosen or fits(name)]


# --- labels --------------------------------------------------------------------------------------
def labels_of_concept(catalog: Catalog, concept: str) -> list[str]:
    """The labels of a concept; empty if it cannot be read."""
    try:
        return list(catalog.labels(concept))
    except BadInput:
        return []


def labels_from(catalog: Catalog, source: str, concept: str = "") -> list[str]:
    """The labels that a label model gives, or that a classifier learns from one."""
    found = find_working(catalog, source, concept)
    if found is not None and isinstance(found.body, Classifier):
        found = find_working(catalog, found.body.label_model, found.ref.concept)
    if found is None or found.ref.kind != Kind.LABEL_MODEL:
        return []
    return list(catalog.model_labels(found.ref))


def planned_labels(
    catalog: Catalog, concept: str, functions: Sequence[str], chosen: Sequence[str]
) -> list[str]:
    """The labels that a label model will have: those chosen, or all that its functions vote for."""
    if chosen:
        return list(chosen)
    votes: set[str] = set()
    for name in functions:
        found = find(catalog, name, concept)
        if found is not None and isinstance(found.body, LabellingFunction):
            votes.update(found.body.labels)
    return [label for label in labels_of_concept(catalog, concept) if label in votes]


def refinable_labels(catalog: Catalog, concept: str) -> list[str]:
    """The labels of other concepts, written as ``people.RESIDENT``."""
    return [
        f"{d.ref.name}.{label}"
        for d in catalog.of_kind(Kind.CONCEPT)
        if d.ref.name != concept
        for label in labels_of_concept(catalog, d.ref.name)
    ]
