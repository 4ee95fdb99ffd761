"""Preview of a labelling function: how it would vote on its rule's rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pyarrow as pa

from streamlit_app.services.app import App
from streamlit_app.services.definitions.current_votes import CurrentVotes, current_votes
from streamlit_app.services.definitions.edit import Edit
from streamlit_app.services.definitions.preview import (
    NeverComputed,
    current_versions,
    planned,
)
from tippers_dagster.access.model import Role
from tippers_dagster.campus.identities import lake_name
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.handwritten import project_source
from tippers_dagster.catalog.kinds import LabellingFunction
from tippers_dagster.catalog.model import Draft, Ref
from tippers_dagster.errors import LakeFileMissing
from tippers_dagster.labelling.analysis import ABSTAIN
from tippers_dagster.labelling.expressions.values import Columns
from tippers_dagster.labelling.git_functions import git_function_path, load_git_function
from tippers_dagster.labelling.gold import gold_numbers
from tippers_dagster.labelling.program import Voter, VoteResult, compile_function
from tippers_dagster.labelling.votes import vote_matrix
from tippers_dagster.labelling.work import read_rule
from tippers_dagster.settings import Settings

EXAMPLES = 5
"""Entities shown per vote."""


@dataclass(frozen=True)
class Comparison:
    """Entities on which another function votes too, and those on which the two disagree."""

    name: str
    both: int
    differ: int


@dataclass(frozen=True)
class VoteChanges:
    """Entities whose vote differs from the function's current votes."""

    new: int
    removed: int
    relabelled: int


@dataclass(frozen=True)
class Votes:
    """How a labelling function would vote, in entities of its index.

    Parameters
    ----------
    labels
        Votes per label.
    without_row
        Entities for which the rule has no row.
    nulls, errors, example
        Rows on which it abstains because of a null or an error, and the first of these in words.
    overlap, conflict
        Entities that another function votes on too, and those on which one votes differently.
    changes
        Compared with its current votes; None if there are none.
    with_gold, correct
        Votes on entities with a gold label, and those that agree with it.
    uncomputed
        Other functions of the index that have no votes yet.
    examples
        Rows of the rule with the column ``vote`` and the entity's key.
    """

    entities: int
    rows: int
    labels: Mapping[str, int]
    without_row: int
    nulls: int
    errors: int
    example: str
    overlap: int
    conflict: int
    changes: VoteChanges | None
    with_gold: int
    correct: int
    others: tuple[Comparison, ...]
    uncomputed: tuple[str, ...]
    examples: pa.Table = field(repr=False)

    @property
    def voted(self) -> int:
        """Entities with a vote."""
        return sum(self.labels.values())


def preview_votes(app: App, catalog: Catalog, edit: Edit) -> Votes:
    """Run a labelling function on its rule's rows as last computed.

    Raises
    ------
    TippersError
        Why it cannot run; also if its rule or index has never been computed.
    NotAllowed
        If the person may not see entities: the examples are single rows.
    """
    app.person.require(Role.ANALYST, "see entities")
    made, after = planned(catalog, edit)
    assert isinstance(made.body, LabellingFunction)
    rule = after.resolve(made.body.rule, made.ref.concept).ref
    values = after.labels(made.ref.concept)
    versions = current_versions(app.settings)
    rows = _rule_rows(app.settings, rule, versions.get(rule.asset_name, ""))
    current = current_votes(app.settings, after, made.ref, versions)
    result = _voter(app.settings, made, rows, values).vote(rows)
    return _votes(app.settings, after, made, rows, current, result)


@lru_cache(maxsize=4)
def _rule_rows(settings: Settings, rule: Ref, version: str) -> Columns:
    """The rows of a rule; ``version`` only separates old rows in the cache from new ones."""
    try:
        return Columns(read_rule(settings, rule))
    except LakeFileMissing:
        raise NeverComputed(rule) from None


def _voter(settings: Settings, made: Draft, rows: Columns, values: Sequence[str]) -> Voter:
    """Compiled conditions or Python. Whole functions run only from the project's own files."""
    assert isinstance(made.body, LabellingFunction)
    if made.body.function is None:
        return compile_function(made.body, columns=rows.types, values=values)
    path = git_function_path(project_source(settings), made.ref.concept, made.ref.name)
    return load_git_function(path, made.body, values)


def _votes(
    settings: Settings,
    catalog: Catalog,
    made: Draft,
    rows: Columns,
    current: CurrentVotes,
    result: VoteResult,
) -> Votes:
    assert isinstance(made.body, LabellingFunction)
    values = catalog.labels(made.ref.concept)
    key = lake_name(catalog.key_column(made.ref))
    own = vote_matrix(current.ids, [(rows.table[key], result.votes)], [made.ref.name])[:, 0]
    voted = own != ABSTAIN
    others = [at for at, ref in enumerate(current.functions) if ref != made.ref]
    matrix = current.votes[:, others]
    both = (matrix != ABSTAIN) & voted[:, None]
    differ = both & (matrix != own[:, None])
    before = [at for at, ref in enumerate(current.functions) if ref == made.ref]
    gold = gold_numbers(settings, made.ref.concept, current.keys, values)
    with_gold = voted & (gold != ABSTAIN)
    return Votes(
        entities=len(own),
        rows=len(rows),
        labels={label: int((own == values.index(label)).sum()) for label in made.body.labels},
        without_row=len(own) - len(rows),
        nulls=result.nulls,
        errors=result.errors,
        example=_without_device(result.example or ""),
        overlap=int(both.any(axis=1).sum()),
        conflict=int(differ.any(axis=1).sum()),
        changes=_changes(current.votes[:, before[0]], own) if before else None,
        with_gold=int(with_gold.sum()),
        correct=int((with_gold & (own == gold)).sum()),
        others=tuple(
            Comparison(str(current.functions[at].name), int(shared), int(apart))
            for at, shared, apart in zip(others, both.sum(axis=0), differ.sum(axis=0), strict=True)
        ),
        uncomputed=current.uncomputed,
        examples=_examples(rows, result.votes, current, catalog, made.ref),
    )


def _without_device(example: str) -> str:
    """The example of an error without the device; its values are enough."""
    return re.sub(r"(?:; |, )\w*device_id = \d+", "", example)


def _changes(before: np.ndarray, after: np.ndarray) -> VoteChanges:
    voted_before, votes_now = before != ABSTAIN, after != ABSTAIN
    return VoteChanges(
        new=int((votes_now & ~voted_before).sum()),
        removed=int((voted_before & ~votes_now).sum()),
        relabelled=int((voted_before & votes_now & (before != after)).sum()),
    )


def _examples(
    rows: Columns, votes: np.ndarray, current: CurrentVotes, catalog: Catalog, ref: Ref
) -> pa.Table:
    """Some rows per vote, spread evenly over the rule, with the keys of their entities."""
    values, key_column = catalog.labels(ref.concept), catalog.key_column(ref)
    key = lake_name(key_column)
    places: list[int] = []
    for number in (*range(len(values)), ABSTAIN):
        found = np.flatnonzero(votes == number)
        step = max(1, len(found) // EXAMPLES)
        places += found[::step][:EXAMPLES].tolist()
    some = rows.table.take(pa.array(places, pa.int64()))
    names = [values[votes[at]] if votes[at] >= 0 else "abstains" for at in places]
    table = pa.table({"vote": pa.array(names, pa.string())})
    entity = dict(zip(current.ids.tolist(), range(len(current.ids)), strict=True))
    at = [entity.get(value) for value in some[key].to_pylist()]
    table = table.append_column(key_column, current.keys.take(pa.array(at)))
    for name in some.column_names:
        if name != key and not name.endswith("device_id"):
            table = table.append_column(name, some[name])
    return table
