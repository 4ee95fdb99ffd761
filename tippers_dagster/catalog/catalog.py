"""All definitions at one time: which cannot work, and the state after a change. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property

from tippers_dagster.catalog.checking import check
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.lookup import CannotWork, Lookup, by_name
from tippers_dagster.catalog.model import Definition, Draft, Ref


class Catalog(Lookup):
    """Definitions by name, their problems, and the catalog after changes."""

    def of_kind(self, kind: Kind, *, broken: bool = False) -> list[Definition]:
        """Active definitions of a kind, by name; ``broken``: also those that cannot work."""
        return [
            d
            for ref, d in self.definitions.items()
            if ref.kind == kind and (broken or ref not in self.problems)
        ]

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
        except CannotWork as error:
            return str(error)
        return None

    # --- other states -----------------------------------------------------------------------
    def with_changes(
        self, saved: Iterable[Definition] = (), removed: Iterable[Ref] = ()
    ) -> Catalog:
        """The catalog after saving some definitions and deleting some saved ones."""
        gone = {(ref.namespace, ref.name) for ref in removed}
        kept = {name: d for name, d in self._saved.items() if name not in gone}
        return Catalog({**kept, **by_name(saved)}.values(), self._git.values(), self.unusable)

    def changed(self, drafts: Iterable[Draft]) -> list[Draft]:
        """The drafts that differ from the current definitions."""
        found = ((draft, self.named(draft.ref.namespace, draft.ref.name)) for draft in drafts)
        return [draft for draft, known in found if known is None or not same_content(known, draft)]

    def with_drafts(self, drafts: Iterable[Draft]) -> Catalog:
        """The catalog after saving these drafts."""
        return self.with_changes(definition_of(draft) for draft in drafts)


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
