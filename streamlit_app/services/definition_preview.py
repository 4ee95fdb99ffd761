"""What a definition would do, before it is saved: faults at their line, rows, votes, counts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa

from streamlit_app.services import definition_forms as forms
from streamlit_app.services.app import App
from streamlit_app.services.definition_forms import Work
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import DerivedIndex, Kind, LabellingFunction, LabelModel
from tippers_dagster.catalog.model import Definition, Draft, Ref
from tippers_dagster.errors import BadInput, LakeFileMissing, TippersError
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    from tippers_dagster.labelling.analysis import Analysis
    from tippers_dagster.labelling.expressions.values import Columns
    from tippers_dagster.labelling.program import Voter, VoteResult
    from tippers_dagster.sql.preview import Preview
    from tippers_dagster.sql.statistics import ColumnStatistics

ABSTAIN = -1

SAMPLE_ROWS = 5_000
"""Column statistics of a preview are of so many rows."""

EXAMPLES = 5
"""Entities that are shown per vote."""

_PLACE = re.compile(r"^Line (\d+), column (\d+): ")


# --- faults --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Fault:
    """What stands against a definition.

    ``field`` is the text that it is in, ``sql``, ``python`` or ``expression``, where that is
    known, with ``line`` and ``column`` from 1; ``condition`` from 0.
    """

    message: str
    hint: str = ""
    field: Literal["", "sql", "python", "expression"] = ""
    line: int = 1
    column: int = 1
    condition: int = 0


@dataclass(frozen=True)
class Checked:
    """Whether a definition may be saved: the fault that stands against it, and what it changes.

    ``makes_stale``: definitions that are computed anew after it.
    """

    faults: tuple[Fault, ...] = ()
    makes_stale: tuple[Ref, ...] = ()

    @property
    def fine(self) -> bool:
        """Whether nothing stands against it."""
        return not self.faults


def check(app: App, catalog: Catalog, work: Work) -> Checked:
    """All checks of saving, including those in the database.

    Raises
    ------
    NotAllowed
        When the person may not change definitions.
    """
    from streamlit_app.services.definitions import reading
    from tippers_dagster.catalog.validate import checked
    from tippers_dagster.graph.save import checks

    app.person.require(Role.ANALYST, "check definitions")
    try:
        made = forms.draft(work)
        if work.is_new and catalog.named(made.ref.namespace, made.ref.name) is not None:
            raise BadInput(f"There is a definition {made.ref} already.", "Take another name.")
        checked([made], catalog, checks(app.settings))
    except BadInput as error:
        return Checked((fault_of(error, work),))
    return Checked(
        makes_stale=tuple(r for r in reading(catalog, made.ref) if r.kind != Kind.CONCEPT)
    )


def fault_of(error: BadInput, work: Work) -> Fault:
    """Where in what was typed a refusal belongs."""
    from tippers_dagster.labelling.expressions.nodes import FunctionRefused

    message, hint = error.message, error.hint or ""
    if isinstance(error, FunctionRefused):
        place = error.place
        said = message.partition(": ")[2] or message
        if work.fields.get("mode") == "python":
            return Fault(said, hint, "python", place.line, place.column)
        at = (place.condition or 1) - 1
        return Fault(said, hint, "expression", place.line, place.column, at)
    found = _PLACE.match(message)
    if found and "sql" in work.fields:
        return Fault(message[found.end() :], hint, "sql", int(found[1]), int(found[2]))
    # What concerns the whole text is told above the editor.
    return Fault(message, hint)


# --- SQL -----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Rows:
    """The first rows of a query.

    ``shown``: the first of them, as Arrow; ``statistics`` of ``sampled`` rows; ``whole``: whether
    these are all that there are. ``estimated_rows`` and ``total_cost`` are the planner's.
    """

    shown: pa.Table
    statistics: tuple[ColumnStatistics, ...]
    sampled: int
    whole: bool
    estimated_rows: int
    total_cost: float
    seconds: float


def preview_rows(app: App, catalog: Catalog, work: Work) -> Rows:
    """Run the SQL of an index, rule or feature for its first rows, with the reader's rights.

    Raises
    ------
    BadInput
        What stands against it, in terms of the text.
    NotAllowed
        When the person may not see entities.
    """
    from tippers_dagster.sql.planned_schema import TablesToBe

    app.person.require(Role.ANALYST, "see entities")
    made = forms.draft(with_a_name(work))
    after = catalog_after(catalog, made)
    return _rows(app.settings, TablesToBe(app.settings, after).preview(made, SAMPLE_ROWS))


def _rows(settings: Settings, found: Preview) -> Rows:
    from tippers_dagster.sql.statistics import table_statistics

    return Rows(
        shown=found.rows.slice(0, settings.preview_rows),
        statistics=tuple(table_statistics(found.rows)),
        sampled=found.rows.num_rows,
        whole=not found.truncated,
        estimated_rows=found.rows.num_rows if not found.truncated else found.estimated_rows,
        total_cost=found.total_cost,
        seconds=found.seconds,
    )


def catalog_after(catalog: Catalog, made: Draft) -> Catalog:
    """The catalog as it would be; BadInput when the draft could not work in it.

    One that changes nothing stays what it is: a function of the project's files is one of these
    only as long as nobody saves it.
    """
    after = catalog.with_drafts(catalog.changed([made]))
    if made.ref in after.problems:
        raise BadInput(after.problems[made.ref])
    return after


def with_a_name(work: Work) -> Work:
    """The same with a name, so that what has none yet can be tried."""
    return work if work.name else replace(work, name="not_named_yet")


def readable_tables(app: App, catalog: Catalog, concept: str) -> dict[str, list[str]]:
    """The tables that SQL may read, as they are written inside a concept, with their columns.

    Those that were not computed yet have no columns.
    """
    from tippers_dagster.platform.warehouse.engine import warehouse_engine
    from tippers_dagster.sql.columns import schema_columns
    from tippers_dagster.sql.names import NameTable

    places = NameTable.of(catalog, app.settings).written(concept)
    with warehouse_engine(app.settings).connect() as connection:
        there = schema_columns(connection, {place.schema for place in places.values()})
    return {
        name: [column.name for column in there.get((place.schema, place.table), ())]
        for name, place in places.items()
    }


# --- labelling functions -------------------------------------------------------------------------
@dataclass(frozen=True)
class Against:
    """A labelling function beside another one: entities on which both vote, alike or not."""

    name: str
    both: int
    differ: int


@dataclass(frozen=True)
class Changed:
    """Votes against those that the function has now, in entities."""

    new: int
    gone: int
    other: int


@dataclass(frozen=True)
class Votes:
    """What a labelling function would do, in entities of its index.

    Parameters
    ----------
    labels
        Votes per label that it may vote for.
    without_row
        Entities that the rule has no row for.
    nulls, errors, example
        Rows on which it abstains because of them, and the first of these in words.
    overlap, conflict
        Entities on which another function votes too, and on which one votes otherwise.
    changed
        Against its present votes; none when there are none.
    judged, right
        Votes on entities with a gold label, and those that are as it says.
    uncomputed
        Other functions of the index that have no votes yet.
    examples
        Rows of the rule with the column ``vote``; the entities' keys only for analysts.
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
    changed: Changed | None
    judged: int
    right: int
    others: tuple[Against, ...]
    uncomputed: tuple[str, ...]
    examples: pa.Table = field(repr=False)

    @property
    def voted(self) -> int:
        """Entities with a vote."""
        return sum(self.labels.values())


def preview_votes(app: App, catalog: Catalog, work: Work) -> Votes:
    """Let a labelling function vote on its rule's rows, as they were computed last.

    Raises
    ------
    TippersError
        What stands against it; also when its rule or index was never computed.
    NotAllowed
        When the person may not see entities: examples are rows of single ones.
    """
    app.person.require(Role.ANALYST, "see entities")
    made = forms.draft(with_a_name(work))
    after = catalog_after(catalog, made)
    body = made.body
    assert isinstance(body, LabellingFunction)
    rule = after.resolve(body.rule, made.ref.concept).ref
    values = after.labels(made.ref.concept)
    versions = versions_now(app.settings)
    rows = _rule_rows(_RuleAsk(app.settings, rule, versions.get(rule.asset_name, "")))
    ground = _ground_of(app.settings, after, made.ref, versions)
    result = _voter(app.settings, made, rows, values).vote(rows)
    return _votes(app, after, made, rows, ground, result)


def _votes(
    app: App, catalog: Catalog, made: Draft, rows: Columns, ground: _Ground, result: VoteResult
) -> Votes:
    from tippers_dagster.campus.identities import lake_name
    from tippers_dagster.labelling.gold import gold_numbers
    from tippers_dagster.labelling.votes import vote_matrix

    values = catalog.labels(made.ref.concept)
    key = lake_name(catalog.key_column(made.ref))
    own = vote_matrix(ground.ids, [(rows.table[key], result.votes)], [made.ref.name])[:, 0]
    others = [at for at, ref in enumerate(ground.functions) if ref != made.ref]
    matrix = ground.votes[:, others]
    voted, theirs = own != ABSTAIN, matrix != ABSTAIN
    differ = theirs & voted[:, None] & (matrix != own[:, None])
    before = [at for at, ref in enumerate(ground.functions) if ref == made.ref]
    gold = gold_numbers(app.settings, made.ref.concept, ground.keys, values)
    judged = voted & (gold != ABSTAIN)
    assert isinstance(made.body, LabellingFunction)
    return Votes(
        entities=len(own),
        rows=len(rows),
        labels={label: int((own == values.index(label)).sum()) for label in made.body.labels},
        without_row=len(own) - len(rows),
        nulls=result.nulls,
        errors=result.errors,
        example=_without_entity(result.example or ""),
        overlap=int((theirs.any(axis=1) & voted).sum()),
        conflict=int(differ.any(axis=1).sum()),
        changed=_changed(ground.votes[:, before[0]], own) if before else None,
        judged=int(judged.sum()),
        right=int((judged & (own == gold)).sum()),
        others=tuple(
            Against(str(ground.functions[at].name), int(both), int(apart))
            for at, both, apart in zip(
                others, (theirs & voted[:, None]).sum(axis=0), differ.sum(axis=0), strict=True
            )
        ),
        uncomputed=ground.uncomputed,
        examples=_examples(rows, result.votes, ground, key, catalog, made.ref),
    )


def _without_entity(example: str) -> str:
    """The example of an error without the device that it is of; its values tell enough."""
    return re.sub(r"(?:; |, )\w*device_id = \d+", "", example)


def _changed(before: np.ndarray, now: np.ndarray) -> Changed:
    had, has = before != ABSTAIN, now != ABSTAIN
    return Changed(
        new=int((has & ~had).sum()),
        gone=int((had & ~has).sum()),
        other=int((had & has & (before != now)).sum()),
    )


def _examples(
    rows: Columns,
    votes: np.ndarray,
    ground: _Ground,
    key: str,
    catalog: Catalog,
    ref: Ref,
) -> pa.Table:
    """Some rows per vote, spread over the rule; entities by their keys."""
    values = catalog.labels(ref.concept)
    places: list[int] = []
    for number in (*range(len(values)), ABSTAIN):
        found = np.flatnonzero(votes == number)
        step = max(1, len(found) // EXAMPLES)
        places += found[::step][:EXAMPLES].tolist()
    some = rows.table.take(pa.array(places, pa.int64()))
    names = [values[votes[at]] if votes[at] >= 0 else "abstains" for at in places]
    table = pa.table({"vote": pa.array(names, pa.string())})
    known = dict(zip(ground.ids.tolist(), range(len(ground.ids)), strict=True))
    at = [known.get(value) for value in some[key].to_pylist()]
    table = table.append_column(catalog.key_column(ref), ground.keys.take(pa.array(at)))
    for name in some.column_names:
        if name != key and not name.endswith("device_id"):
            table = table.append_column(name, some[name])
    return table


def _voter(settings: Settings, made: Draft, rows: Columns, values: Sequence[str]) -> Voter:
    """Compiled conditions or Python; a whole function only from the project's own files."""
    from tippers_dagster.catalog.handwritten import project_source
    from tippers_dagster.labelling.git_functions import git_function_path, load_git_function
    from tippers_dagster.labelling.program import compile_function

    assert isinstance(made.body, LabellingFunction)
    if made.body.function is None:
        return compile_function(made.body, columns=rows.types, values=values)
    place = git_function_path(project_source(settings), made.ref.concept, made.ref.name)
    return load_git_function(place, made.body, values)


def rule_columns(app: App, catalog: Catalog, rule: str, concept: str) -> dict[str, pa.DataType]:
    """Names and types of the columns that a rule's labelling functions look at.

    Nothing when they are not known yet; the key is not among them.
    """
    from tippers_dagster.campus.identities import lake_name
    from tippers_dagster.graph.save import rule_columns as columns_of

    try:
        found = catalog.resolve(rule, concept)
        if found.ref.kind != Kind.RULE or found.ref in catalog.problems:
            return {}
        columns = columns_of(app.settings, catalog, found.ref) or {}
        key = lake_name(catalog.key_column(found.ref))
    except BadInput:
        return {}
    return {name: kind for name, kind in columns.items() if name != key}


# --- what is there to compare with ---------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class _Ground:
    """The entities of an index, and the votes of the functions that look at them.

    ``keys`` as in the warehouse and ``ids`` as in the lake, in the same order; ``votes`` int8
    [entities, functions] by the concept's class numbers.
    """

    keys: pa.Array
    ids: np.ndarray
    functions: tuple[Ref, ...]
    votes: np.ndarray
    uncomputed: tuple[str, ...]


@dataclass(frozen=True)
class _GroundAsk:
    """What a ``_Ground`` depends on: the versions of the index and of the votes."""

    settings: Settings
    index: Ref
    version: str
    functions: tuple[tuple[Ref, str], ...]
    of: Ref
    catalog: Catalog = field(compare=False, repr=False)


@dataclass(frozen=True)
class _RuleAsk:
    settings: Settings
    rule: Ref
    version: str


def versions_now(settings: Settings) -> dict[str, str]:
    """The version of each asset that was computed; in one query."""
    from tippers_dagster.automation.state import load_states

    return {name: s.version for name, s in load_states(settings).items() if s.version}


@lru_cache(maxsize=4)
def _rule_rows(ask: _RuleAsk) -> Columns:
    from tippers_dagster.labelling.expressions.values import Columns
    from tippers_dagster.labelling.work import read_rule

    try:
        return Columns(read_rule(ask.settings, ask.rule))
    except LakeFileMissing:
        raise NotThere(ask.rule, "rule") from None


class NotThere(TippersError):
    """Something that a preview reads was never computed; ``ref`` names it."""

    def __init__(self, ref: Ref, what: str) -> None:
        super().__init__(
            f"There is nothing to try it on yet: the {what} {ref} was never computed.",
            "Save it all the same, or wait for the run that computes it.",
        )
        self.ref = ref


def _ground_of(
    settings: Settings, catalog: Catalog, ref: Ref, versions: Mapping[str, str]
) -> _Ground:
    index = catalog.index_of(ref)
    assert index is not None
    if index.asset_name not in versions:
        raise NotThere(index, "index")
    functions = [
        d.ref
        for d in catalog.of_kind(Kind.LABELLING_FUNCTION)
        if d.ref.concept == ref.concept and catalog.index_of(d.ref) == index
    ]
    function_versions = tuple((f, versions.get(f.asset_name, "")) for f in functions)
    return _ground(
        _GroundAsk(settings, index, versions[index.asset_name], function_versions, ref, catalog)
    )


@lru_cache(maxsize=4)
def _ground(ask: _GroundAsk) -> _Ground:
    from tippers_dagster.campus.identities import lake_name, pseudonymise
    from tippers_dagster.labelling.work import VOTE, read_entities
    from tippers_dagster.platform.lake import open_lake
    from tippers_dagster.platform.lake.keys import definition_key

    key = ask.catalog.key_column(ask.of)
    keys, _ = read_entities(ask.settings, ask.catalog, ask.of)
    ids = pseudonymise(ask.settings, pa.table({key: keys})).column(0).to_numpy()
    lake = open_lake(ask.settings)
    found, votes, uncomputed = [], [], []
    for function, _ in ask.functions:
        try:
            table = lake.read_table(definition_key("votes", function.concept, function.name))
            votes.append(_placed(ids, table[lake_name(key)], table[VOTE].to_numpy()))
            found.append(function)
        except LakeFileMissing:
            uncomputed.append(function.name)
    matrix = np.stack(votes, axis=1) if votes else np.empty((len(ids), 0), np.int8)
    return _Ground(keys, ids, tuple(found), matrix, tuple(uncomputed))


def _placed(ids: np.ndarray, keys: pa.ChunkedArray, votes: np.ndarray) -> np.ndarray:
    """int8 [entities]: votes that may be of another time than the index; keys gone are left out."""
    import pandas as pd

    places = pd.Index(ids).get_indexer(keys.to_numpy())
    placed = np.full(len(ids), ABSTAIN, np.int8)
    there = places >= 0
    placed[places[there]] = votes[there]
    return placed


# --- label models --------------------------------------------------------------------------------
@dataclass(frozen=True)
class Chosen:
    """What the labelling functions of a label model do together, before it is trained."""

    analysis: Analysis
    uncomputed: tuple[str, ...]


def preview_model(app: App, catalog: Catalog, work: Work) -> Chosen:
    """Coverage, overlaps and conflicts of the functions that were chosen, by their present votes.

    Raises
    ------
    TippersError
        What stands against it.
    """
    from tippers_dagster.labelling.analysis import analyse, find_patterns
    from tippers_dagster.labelling.gold import gold_numbers

    made = forms.draft(with_a_name(work))
    after = catalog_after(catalog, made)
    assert isinstance(made.body, LabelModel)
    ground = _ground_of(app.settings, after, made.ref, versions_now(app.settings))
    wanted = [after.resolve(n, made.ref.concept).ref for n in made.body.labelling_functions]
    there = [ref for ref in wanted if ref in ground.functions]
    matrix = ground.votes[:, [ground.functions.index(ref) for ref in there]]
    values = after.labels(made.ref.concept)
    gold = gold_numbers(app.settings, made.ref.concept, ground.keys, values)
    analysis = analyse(find_patterns(matrix), [ref.name for ref in there], values, gold=gold)
    return Chosen(analysis, tuple(ref.name for ref in wanted if ref not in there))


# --- derived indexes -----------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Answers:
    """The entities of a parent index by what a label model says of them.

    ``label`` and ``confidence`` of groups of entities, ``entities`` in each; none where there is
    no label.
    """

    labels: tuple[str, ...]
    label: np.ndarray
    confidence: np.ndarray
    entities: np.ndarray

    @property
    def total(self) -> int:
        """Entities of the parent."""
        return int(self.entities.sum())

    def count(self, labels: Sequence[str], least: float | None, *, include_unlabelled: bool) -> int:
        """How many entities a derived index would have."""
        if not labels and least is None:
            return self.total
        labelled = self.label != ""
        passing = labelled.copy()
        if labels:
            passing &= np.isin(self.label, list(labels))
        if least is not None:
            passing &= np.nan_to_num(self.confidence, nan=-1.0) >= least
        if include_unlabelled:
            passing |= ~labelled
        return int(self.entities[passing].sum())

    def curve(
        self, labels: Sequence[str], *, include_unlabelled: bool, steps: int = 50
    ) -> list[tuple[float, int]]:
        """Least confidence, and the entities that a derived index would have with it."""
        leasts = [round(at / steps, 4) for at in range(steps + 1)]
        return [
            (least, self.count(labels, least, include_unlabelled=include_unlabelled))
            for least in leasts
        ]


@dataclass(frozen=True)
class _AnswersAsk:
    settings: Settings
    parent: Ref
    model: Ref
    key: str
    labels: tuple[str, ...]
    versions: tuple[str, str]


def answers(app: App, catalog: Catalog, work: Work) -> Answers:
    """What a derived index would choose from, with one query; later calls remember it.

    Raises
    ------
    TippersError
        What stands against it; also when its parent or label model was never computed.
    """
    made = forms.draft(with_a_name(work))
    after = catalog_after(catalog, made)
    assert isinstance(made.body, DerivedIndex)
    concept = made.ref.concept
    parent = after.resolve(made.body.parent, concept).ref
    model = after.resolve(made.body.label_model, concept).ref
    versions = versions_now(app.settings)
    for ref, what in ((parent, "index"), (model, "label model")):
        if ref.asset_name not in versions:
            raise NotThere(ref, what)
    key = after.key_column(made.ref)
    used = (versions[parent.asset_name], versions[model.asset_name])
    labels = after.model_labels(model)
    return _answers(_AnswersAsk(app.settings, parent, model, key, labels, used))


@lru_cache(maxsize=16)
def _answers(ask: _AnswersAsk) -> Answers:
    from tippers_dagster.platform.warehouse.engine import read_arrow
    from tippers_dagster.sql.compose import quoted
    from tippers_dagster.sql.names import ref_place

    parent, model = ref_place(ask.parent), ref_place(ask.model)
    found = read_arrow(
        ask.settings,
        "SELECT coalesce(answer.label, '') AS label, answer.confidence, count(*) AS entities "
        f"FROM {quoted(parent.schema)}.{quoted(parent.table)} AS parent "
        f"LEFT JOIN {quoted(model.schema)}.{quoted(model.table)} AS answer "
        f"USING ({quoted(ask.key)}) GROUP BY 1, 2",
    )
    return Answers(
        ask.labels,
        np.array(found["label"].to_pylist(), dtype=str),
        found["confidence"].to_numpy().astype(float),
        found["entities"].to_numpy(),
    )


def share(part: int, whole: int) -> str:
    """A part of a whole in words for a person: ``12 %``."""
    if not whole:
        return "-"
    percent = 100 * part / whole
    if 0 < percent < 1 or 99 < percent < 100:
        return f"{percent:.1f} %"
    return f"{round(percent)} %"


def number(value: float | None) -> str:
    """A figure as people read it; nothing for what is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:,.3g}" if isinstance(value, float) else f"{value:,}"


def present(catalog: Catalog, work: Work) -> Definition | None:
    """The definition of the form's name as it is now, if there is one."""
    return catalog.named(work.ref.namespace, work.name)
