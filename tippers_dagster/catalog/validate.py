"""Checks whether a draft may be saved: by the catalog itself, and by higher packages.

The catalog does not understand SQL or Python; packages that do supply a function per kind.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import BODIES, Kind
from tippers_dagster.catalog.model import Draft, Ref, Unreadable
from tippers_dagster.catalog.names import check_ref
from tippers_dagster.errors import BadInput

_MOST_LINES = 20

Validator = Callable[[Draft, Catalog], None]
"""Raises BadInput if a draft cannot be saved. The catalog contains the draft."""

References = Callable[[Draft, Catalog], Iterable[str]]
"""The definitions that a draft's SQL reads, as ``concept.name``."""


@dataclass(frozen=True)
class Checks:
    """Deeper checks of drafts, by kind."""

    validators: Mapping[Kind, Validator] = field(default_factory=dict)
    references: Mapping[Kind, References] = field(default_factory=dict)

    def __or__(self, other: Checks) -> Checks:
        """Both sets of checks; for a kind in both, those of ``other``."""
        return Checks(
            {**self.validators, **other.validators}, {**self.references, **other.references}
        )


@dataclass(frozen=True)
class Problem:
    """Why a definition cannot be saved or cannot work, and a hint."""

    ref: Ref
    message: str
    hint: str | None = None


def check_form(draft: Draft) -> None:
    """Refuse a draft that the database cannot store.

    Raises
    ------
    BadInput
        A wrong name, a body of another kind, or characters that cannot be stored.
    """
    check_ref(draft.ref)
    if isinstance(draft.body, Unreadable):
        raise BadInput(draft.body.reason)
    if type(draft.body) is not BODIES[draft.ref.kind]:
        raise BadInput(f"The body of {draft.ref} is not one of {draft.ref.kind.with_article}.")
    texts = [draft.description, draft.owner, *_texts(draft.body.model_dump())]
    for text in texts:
        if "\0" in text or text != text.encode(errors="replace").decode():
            raise BadInput(
                f"{draft.ref} contains a character that cannot be stored (NUL or a lone "
                "surrogate).",
                "Type the text again, or read it from a file in UTF-8.",
            )


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _texts(item)


def checked(drafts: Iterable[Draft], catalog: Catalog, checks: Checks) -> list[Draft]:
    """The drafts with the definitions that their SQL reads, if all may be saved together.

    Raises
    ------
    BadInput
        Names each definition that is wrong or would no longer work.
    """
    drafts = list(drafts)
    for draft in drafts:
        check_form(draft)
        refuse_taken(catalog, draft.ref)
    after = catalog.with_drafts(drafts)
    refuse_problems(catalog, after, [draft.ref for draft in drafts])
    errors: list[tuple[Ref, BadInput]] = []
    for draft in drafts:
        try:
            if draft.status == "active" and draft.ref.kind in checks.validators:
                checks.validators[draft.ref.kind](draft, after)
        except BadInput as error:
            errors.append((draft.ref, error))
    _raise_together(errors, alone=len(drafts) == 1)
    return [_with_reads(draft, after, checks) for draft in drafts]


def _with_reads(draft: Draft, catalog: Catalog, checks: Checks) -> Draft:
    if draft.ref.kind not in checks.references:
        return draft
    reads = checks.references[draft.ref.kind](draft, catalog)
    return replace(draft, reads=tuple(sorted(set(reads))))


def _raise_together(errors: list[tuple[Ref, BadInput]], *, alone: bool) -> None:
    if len(errors) == 1 and alone:
        raise errors[0][1]
    if errors:
        lines = [f"{ref}: {error.message}" for ref, error in errors]
        hints = dict.fromkeys(error.hint for _, error in errors if error.hint)
        raise BadInput("\n".join(lines), "\n".join(hints) or None)


def refuse_problems(before: Catalog, after: Catalog, changed: Iterable[Ref]) -> None:
    """Refuse a change that leaves a changed definition broken, or breaks another one.

    Raises
    ------
    BadInput
        With the reasons.
    """
    changed = set(changed)
    own = [ref for ref in after.problems if ref in changed]
    if own:
        named = len(changed) > 1
        raise BadInput("\n".join(_reasons(after, own, named=named)))
    broken = [ref for ref in after.problems if ref not in before.problems]
    if broken:
        lines = "\n".join(_reasons(after, broken, named=True))
        raise BadInput(
            f"This change would break other definitions:\n{lines}",
            "Change those first, or change all of them together: `tippers definitions import` "
            "takes a folder.",
        )


def _reasons(catalog: Catalog, refs: list[Ref], *, named: bool) -> list[str]:
    """A line for each definition at fault, and how many depend on these."""
    roots = [ref for ref in refs if catalog.root(ref) not in refs or catalog.root(ref) == ref]
    lines = [f"{ref}: {catalog.problems[ref]}" if named else catalog.problems[ref] for ref in roots]
    shown = lines[:_MOST_LINES]
    if len(refs) > len(shown):
        shown.append(f"... and {len(refs) - len(shown)} more, most because they need these.")
    return shown


def refuse_taken(catalog: Catalog, ref: Ref) -> None:
    """Refuse a name that a definition of another kind has."""
    found = catalog.named(ref.namespace, ref.name)
    if found is not None and found.ref.kind != ref.kind:
        raise BadInput(
            f"{ref} is already {found.ref.kind.with_article}.",
            "Names are unique within a concept: choose another one.",
        )


def validate(
    draft: Draft, catalog: Catalog, checks: Checks | None = None, *, deep: bool = True
) -> list[Problem]:
    """Why a draft cannot be saved; empty if it can.

    Parameters
    ----------
    catalog
        The catalog without the draft.
    deep
        Whether to run ``checks`` on its texts.
    """
    try:
        checked([draft], catalog, checks if checks and deep else Checks())
    except BadInput as error:
        return [Problem(draft.ref, error.message, error.hint)]
    return []


def problems_of(
    drafts: Iterable[Draft], catalog: Catalog, checks: Checks, *, deep: Collection[Ref]
) -> list[Problem]:
    """The first problem of each draft.

    Parameters
    ----------
    catalog
        Contains the drafts.
    deep
        The definitions whose texts are checked.
    """
    found = []
    for draft in drafts:
        validator = checks.validators.get(draft.ref.kind) if draft.ref in deep else None
        try:
            check_form(draft)
            if draft.ref in catalog.problems:
                raise BadInput(catalog.problems[draft.ref])
            if validator is not None and draft.status == "active":
                validator(draft, catalog)
        except BadInput as error:
            found.append(Problem(draft.ref, error.message, error.hint))
    return found
