"""All definitions at one time, their dependencies, and which cannot work. Pure: reads nothing.

A saved definition, even a retired one, replaces the one of the same name in the project's files;
that is how a definition from the files is retired.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property

from tippers_dagster.catalog.checking import (
    TABLES,
    Cannot,
    check,
    in_words,
    names_read,
    with_article,
)
from tippers_dagster.catalog.cycles import topological_order
from tippers_dagster.catalog.kinds import (
    Body,
    Concept,
    ConceptValue,
    DerivedIndex,
    Index,
    Kind,
    LabellingFunction,
    LabelModel,
)
from tippers_dagster.catalog.model import Definition, Draft, Ref
from tippers_dagster.errors import BadInput

_Names = dict[tuple[str, str], Definition]


class Catalog:
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
        self._saved = _by_name(saved)
        self._git = _by_name(git)
        self.unusable = dict(unusable or {})
        self._all: _Names = {**self._git, **self._saved}
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
        except Cannot as error:
            raise BadInput(str(error)) from None

    def need(self, reference: str, concept: str, kinds: tuple[Kind, ...] = ()) -> Definition:
        """Like ``resolve``, for certain kinds; raises ``Cannot`` if there is none."""
        namespace, _, name = reference.rpartition(".")
        found = self._all.get((namespace or concept, name))
        written = f"{namespace or concept}.{name}"
        if found is None:
            what = in_words(kinds[0]) if kinds and kinds != TABLES else "definition"
            raise Cannot(f"There is no {what} {written}.{self._like(written)}")
        if kinds and found.ref.kind not in kinds:
            wanted = " or ".join(with_article(kind) for kind in kinds)
            raise Cannot(
                f"{written} is {with_article(found.ref.kind)}, but {wanted} is needed here."
            )
        if found.status == "retired":
            raise Cannot(f"It needs {written}, which is retired.")
        return found

    def concept(self, name: str) -> Concept:
        """The body of a concept; raises ``Cannot`` if it is missing, retired or unreadable."""
        found = self._all.get((f"{Kind.CONCEPT}.", name))
        if found is None:
            raise Cannot(f"There is no concept {name}.{self._like(f'concept.{name}')}")
        if found.status == "retired":
            raise Cannot(f"The concept {name} is retired.")
        if not isinstance(found.body, Concept):
            raise Cannot(f"The concept {name} cannot be read.")
        return found.body

    def of_kind(self, kind: Kind, *, broken: bool = False) -> list[Definition]:
        """Active definitions of a kind, by name; ``broken``: also those that cannot work."""
        return [
            d
            for ref, d in self.definitions.items()
            if ref.kind == kind and (broken or ref not in self.problems)
        ]

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

    # --- what cannot work -------------------------------------------------------------------
    @property
    def problems(self) -> dict[Ref, str]:
        """Why definitions cannot work, including those that read one that cannot."""
        return self._diagnosis[0]

    def root(self, ref: Ref) -> Ref:
        """The definition at fault, for one that cannot work."""
        return self._diagnosis[1][ref]

    @cached_property
    def _diagnosis(self) -> tuple[dict[Ref, str], dict[Ref, Ref]]:
        order, cycles = self._order
        problems: dict[Ref, str] = {}
        roots: dict[Ref, Ref] = {}
        for ref in order:
            own = cycles.get(ref) or self._own_problem(ref, problems)
            bad = None if own else next((d for d in self._reads[ref] if d in problems), None)
            if own:
                problems[ref], roots[ref] = own, ref
            elif bad:
                roots[ref] = roots[bad]
                problems[ref] = f"It needs {roots[bad]}, which cannot work: {problems[roots[bad]]}"
        return problems, roots

    def _own_problem(self, ref: Ref, problems: Mapping[Ref, str]) -> str | None:
        """Why it cannot work, apart from its dependencies."""
        below = any(dep in problems for dep in self._reads[ref])
        try:
            check(self, self.definitions[ref], sound_below=not below)
        except Cannot as error:
            return str(error)
        return None

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
        except Cannot as error:
            raise BadInput(str(error)) from None

    def labels(self, concept: str) -> tuple[str, ...]:
        """The names of a concept's labels, in order."""
        return tuple(value.name for value in self.values(concept))

    def model_labels(self, ref: Ref) -> tuple[str, ...]:
        """The labels of a label model in the order of its class numbers.

        Either those that it names, or all that its labelling functions may vote for, in the
        concept's order. Its references must be valid.
        """
        body = self.definitions[ref].body
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

    # --- other states -----------------------------------------------------------------------
    def with_changes(
        self, saved: Iterable[Definition] = (), removed: Iterable[Ref] = ()
    ) -> Catalog:
        """The catalog after saving some definitions and deleting some saved ones."""
        gone = {(ref.namespace, ref.name) for ref in removed}
        kept = {name: d for name, d in self._saved.items() if name not in gone}
        return Catalog({**kept, **_by_name(saved)}.values(), self._git.values(), self.unusable)

    def changed(self, drafts: Iterable[Draft]) -> list[Draft]:
        """The drafts that differ from the current definitions."""
        found = ((draft, self.named(draft.ref.namespace, draft.ref.name)) for draft in drafts)
        return [draft for draft, known in found if known is None or not same_content(known, draft)]

    def with_drafts(self, drafts: Iterable[Draft]) -> Catalog:
        """The catalog after saving these drafts."""
        return self.with_changes(definition_of(draft) for draft in drafts)


def near_names(catalog: Catalog, written: str) -> list[str]:
    """Names of active definitions similar to the written one, in the same concept first."""
    concept, _, name = written.rpartition(".")
    here = {ref.name: str(ref) for ref in catalog.definitions if ref.namespace == concept}
    near = difflib.get_close_matches(name, here, n=3, cutoff=0.7)
    if near:
        return [here[found] for found in near]
    names = [str(ref) for ref in catalog.definitions]
    return difflib.get_close_matches(written, names, n=3, cutoff=0.85)


def definition_of(draft: Draft) -> Definition:
    """The definition that a draft would become."""
    return Definition(
        draft.ref,
        draft.body,
        draft.description,
        draft.owner,
        draft.status,
        reads=draft.reads or (),
    )


def draft_of(definition: Definition) -> Draft:
    """A draft without changes."""
    d = definition
    return Draft(d.ref, d.body, d.description, d.owner, d.status, d.reads)


def same_content(a: Draft | Definition, b: Draft | Definition) -> bool:
    """Whether two have the same content, as far as an author decides it."""
    return replace(_as_draft(a), reads=None) == replace(_as_draft(b), reads=None)


def _as_draft(given: Draft | Definition) -> Draft:
    return given if isinstance(given, Draft) else draft_of(given)


def _by_name(definitions: Iterable[Definition]) -> _Names:
    return {(d.ref.namespace, d.ref.name): d for d in definitions}


def _votes(body: Body) -> tuple[str, ...]:
    return body.labels if isinstance(body, LabellingFunction) else ()
