"""Definitions by name, and what follows from them alone. Pure: reads nothing.

A saved definition, even a retired one, replaces the one of the same name in the project's files;
that is how a definition from the files is retired.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cached_property

from tippers_dagster.catalog.cycles import topological_order
from tippers_dagster.catalog.kinds import (
    Body,
    Classifier,
    Concept,
    ConceptValue,
    DerivedIndex,
    Index,
    Kind,
    LabellingFunction,
    LabelModel,
)
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.catalog.structure import TABLES, names_read
from tippers_dagster.catalog.window import EVERYTHING, Window, parse_window
from tippers_dagster.errors import BadInput

Names = dict[tuple[str, str], Definition]


class CannotWork(Exception):
    """A message that says why a definition cannot work."""


class Lookup:
    """Definitions by name.

    Parameters
    ----------
    saved, git
        From the database and from the project's files.
    unusable
        Places that should contain a definition but cannot be read, and why.

    Attributes
    ----------
    definitions
        The active ones, including those that cannot work.
    retired
        The retired ones.
    shadowed
        Names of definitions in the files that a saved one replaces.
    """

    def __init__(
        self,
        saved: Iterable[Definition] = (),
        git: Iterable[Definition] = (),
        unusable: Mapping[str, str] | None = None,
    ) -> None:
        self._saved = by_name(saved)
        self._git = by_name(git)
        self.unusable = dict(unusable or {})
        self._all: Names = {**self._git, **self._saved}
        found = sorted(self._all.values(), key=lambda d: d.ref)
        self.definitions = {d.ref: d for d in found if d.status == "active"}
        self.retired = {d.ref: d for d in found if d.status == "retired"}
        self.shadowed = frozenset(d.ref for name, d in self._git.items() if name in self._saved)

    # --- finding ----------------------------------------------------------------------------
    def named(self, namespace: str, name: str) -> Definition | None:
        """The definition of a name in a concept (or ``kind.``), active or retired."""
        return self._all.get((namespace, name))

    def get(self, concept: str, name: str) -> Definition:
        """The active definition of this name in a concept.

        Raises
        ------
        BadInput
            Suggests similar names.
        """
        return self.resolve(f"{concept}.{name}", concept)

    def resolve(self, reference: str, concept: str) -> Definition:
        """The active definition that ``name`` or ``concept.name`` means inside a concept.

        Raises
        ------
        BadInput
            When there is none, or it is retired.
        """
        try:
            return self.need(reference, concept)
        except CannotWork as error:
            raise BadInput(str(error)) from None

    def need(self, reference: str, concept: str, kinds: tuple[Kind, ...] = ()) -> Definition:
        """Like ``resolve``, for certain kinds; raises ``CannotWork`` if there is none."""
        namespace, _, name = reference.rpartition(".")
        found = self._all.get((namespace or concept, name))
        written = f"{namespace or concept}.{name}"
        if found is None:
            what = kinds[0].in_words if kinds and kinds != TABLES else "definition"
            raise CannotWork(f"There is no {what} {written}.{self._like(written)}")
        if kinds and found.ref.kind not in kinds:
            wanted = " or ".join(kind.with_article for kind in kinds)
            raise CannotWork(
                f"{written} is {found.ref.kind.with_article}, but {wanted} is needed here."
            )
        if found.status == "retired":
            raise CannotWork(f"It needs {written}, which is retired.")
        return found

    def concept(self, name: str) -> Concept:
        """The body of a concept; raises ``CannotWork`` if it is missing, retired or unreadable."""
        found = self._all.get((f"{Kind.CONCEPT}.", name))
        if found is None:
            raise CannotWork(f"There is no concept {name}.{self._like(f'concept.{name}')}")
        if found.status == "retired":
            raise CannotWork(f"The concept {name} is retired.")
        if not isinstance(found.body, Concept):
            raise CannotWork(f"The concept {name} cannot be read.")
        return found.body

    def git(self, ref: Ref) -> Definition | None:
        """The definition of this name in the project's files, replaced or not."""
        return self._git.get((ref.namespace, ref.name))

    def saved(self, ref: Ref) -> Definition | None:
        """The definition of this name in the database, active or retired."""
        return self._saved.get((ref.namespace, ref.name))

    def _like(self, written: str) -> str:
        """A "Did you mean" question with similar names, if there are any."""
        if written not in self._near:
            near = near_names(self, written)
            self._near[written] = f" Did you mean {' or '.join(near)}?" if near else ""
        return self._near[written]

    @cached_property
    def _near(self) -> dict[str, str]:
        return {}

    # --- dependencies -----------------------------------------------------------------------
    def dependencies(self, ref: Ref) -> tuple[Ref, ...]:
        """The definitions that one reads: those that its body names, then those that its SQL reads.

        Its own concept is not included. A concept depends on the concept that it refines.
        """
        return tuple(
            dep for dep in self._reads.get(ref, ()) if dep.kind != Kind.CONCEPT or not ref.concept
        )

    def users(self, ref: Ref) -> tuple[Ref, ...]:
        """The active definitions that read this one; for a concept, also all that belong to it."""
        return self._read_by.get(ref, ())

    @cached_property
    def order(self) -> tuple[Ref, ...]:
        """Active definitions, each after those that it reads; those in cycles in any order."""
        return self._order[0]

    @cached_property
    def _reads(self) -> dict[Ref, tuple[Ref, ...]]:
        reads = {}
        for ref, definition in self.definitions.items():
            found = (self._all.get(name) for name in names_read(definition))
            # Each once, in the order in which they are named.
            refs = dict.fromkeys(d.ref for d in found if d and d.status == "active")
            reads[ref] = tuple(refs)
        return reads

    @cached_property
    def _read_by(self) -> dict[Ref, tuple[Ref, ...]]:
        users: dict[Ref, list[Ref]] = {}
        for ref, deps in self._reads.items():
            for dep in deps:
                users.setdefault(dep, []).append(ref)
        return {ref: tuple(sorted(found)) for ref, found in users.items()}

    @cached_property
    def _order(self) -> tuple[tuple[Ref, ...], dict[Ref, str]]:
        return topological_order(self._reads)

    # --- derived values ---------------------------------------------------------------------
    def values(self, concept: str) -> tuple[ConceptValue, ...]:
        """The labels of a concept, in the order of class numbers.

        Raises
        ------
        BadInput
            When there is no such concept.
        """
        try:
            return self.concept(concept).values
        except CannotWork as error:
            raise BadInput(str(error)) from None

    def labels(self, concept: str) -> tuple[str, ...]:
        """The names of a concept's labels, in order."""
        return tuple(value.name for value in self.values(concept))

    def model_labels(self, ref: Ref) -> tuple[str, ...]:
        """The labels of a label model, or a classifier's, in the order of its class numbers.

        Either those that it names, or all that its labelling functions may vote for, in the
        concept's order. Its references must be valid.
        """
        body = self.definitions[ref].body
        if isinstance(body, Classifier):
            return self.model_labels(self.resolve(body.label_model, ref.concept).ref)
        assert isinstance(body, LabelModel)
        if body.labels:
            return body.labels
        votes = {
            label
            for name in body.labelling_functions
            for label in _votes(self.resolve(name, ref.concept).body)
        }
        return tuple(label for label in self.labels(ref.concept) if label in votes)

    def index_of(self, ref: Ref) -> Ref | None:
        """The index that a definition belongs to: its own ``index`` or its rule's; None if none."""
        body = self.definitions[ref].body
        if isinstance(body, LabellingFunction):
            return self.index_of(self.resolve(body.rule, ref.concept).ref)
        named = getattr(body, "index", None)
        return self.resolve(named, ref.concept).ref if named else None

    def key_column(self, ref: Ref) -> str:
        """The key column of an index, or of a definition that belongs to one."""
        body = self.definitions[ref].body
        if isinstance(body, Index):
            return body.key
        if isinstance(body, DerivedIndex):
            return self.key_column(self.resolve(body.parent, ref.concept).ref)
        index = self.index_of(ref)
        if index is None:
            raise BadInput(f"{ref} belongs to no index, so it has no key column.")
        return self.key_column(index)

    def window(self, ref: Ref) -> Window:
        """The part of the log that a definition reads, or that the labels of a model are about.

        Its own, else that of its index if that belongs to the same concept, else the concept's. Its
        references must be valid.
        """
        index = self.index_of(ref)
        own = [ref, *([index] if index is not None and index.concept == ref.concept else ())]
        bodies = [*(self.definitions[each].body for each in own), self.concept(ref.concept)]
        found = (getattr(body, "window", None) for body in bodies)
        text = next((text for text in found if text is not None), None)
        return EVERYTHING if text is None else parse_window(text)

    def level(self, concept: str) -> int:
        """1 for a concept whose entities no label model selects, 2 for one above it, and so on.

        Follows from the indexes of its label models; without any, from those of its rules and
        features; without these too, it is one above the concept that it refines.
        """
        members = [ref for ref in self.definitions if ref.concept == concept]
        for kinds in ((Kind.LABEL_MODEL,), (Kind.RULE, Kind.FEATURE)):
            depths = [
                self._depths[dep]
                for ref in members
                if ref.kind in kinds
                for dep in self._reads[ref]
                if dep.kind in (Kind.INDEX, Kind.DERIVED_INDEX)
            ]
            if depths:
                return 1 + max(depths)
        return 1 + self._depths.get(Ref("", concept, Kind.CONCEPT), 0)

    @cached_property
    def _depths(self) -> dict[Ref, int]:
        """The number of label models or refined concepts on the longest path down."""
        depths: dict[Ref, int] = {}
        for ref in self.order:
            below = (
                depths.get(dep, 0) + (dep.kind in (Kind.LABEL_MODEL, Kind.CONCEPT))
                for dep in self.dependencies(ref)
            )
            depths[ref] = max(below, default=0)
        return depths


def near_names(catalog: Lookup, written: str) -> list[str]:
    """Names of active definitions similar to the written one, in the same concept first."""
    concept, _, name = written.rpartition(".")
    here = {ref.name: str(ref) for ref in catalog.definitions if ref.namespace == concept}
    near = difflib.get_close_matches(name, here, n=3, cutoff=0.7)
    if near:
        return [here[found] for found in near]
    names = [str(ref) for ref in catalog.definitions]
    return difflib.get_close_matches(written, names, n=3, cutoff=0.85)


def by_name(definitions: Iterable[Definition]) -> Names:
    """Definitions by their namespace and name; the last of a name counts."""
    return {(d.ref.namespace, d.ref.name): d for d in definitions}


def _votes(body: Body) -> tuple[str, ...]:
    return body.labels if isinstance(body, LabellingFunction) else ()
