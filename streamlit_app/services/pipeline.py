"""The picture of a concept: its nodes, how each stands, and what can be done with them."""

from __future__ import annotations

import datetime as dt
import math
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal

from streamlit_app.services.app import App
from streamlit_app.services.definitions.choices import PARENT_FIELD
from streamlit_app.services.words import percent
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.catalog import Catalog, draft_of
from tippers_dagster.catalog.checking import STRUCTURE, in_words
from tippers_dagster.catalog.files import document
from tippers_dagster.catalog.kinds import (
    Body,
    Concept,
    Feature,
    Index,
    Kind,
    LabellingFunction,
    Rule,
)
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.errors import BadInput

if TYPE_CHECKING:
    from tippers_dagster.automation.nodes import Node
    from tippers_dagster.automation.snapshot import Snapshot
    from tippers_dagster.graph.load import Pipeline
    from tippers_dagster.graph.save import Saved
    from tippers_dagster.graph.status import AssetStatus
    from tippers_dagster.settings import Settings

Standing = Literal["fresh", "stale", "running", "failed", "broken", "source"]

STANDINGS: tuple[Standing, ...] = ("failed", "broken", "running", "stale", "fresh")
"""Of what is computed; a source table only is there."""

SOURCE, STAGING, SYNCED = "source table", "staging model", "synced tables"
"""What a node is that no definition stands behind."""

FURTHER = ("champion", "predictions", "forecast")
"""What else is computed from a definition: what follows the two underscores of its name."""

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
"""Kinds that can be made on the canvas, in the order in which one needs them."""

_TABLES = (SOURCE, STAGING, SYNCED)
_BELOW = (Kind.DERIVED_INDEX, Kind.LABELLED_OCCUPANCY, Kind.PEOPLE_COUNT)
"""Kinds that are drawn where they read something of a concept, and belong to none or the next."""

EDGES: Mapping[str, tuple[Kind, ...]] = {
    **dict.fromkeys(_TABLES, (Kind.INDEX,)),
    **{
        parent.value: tuple(kind for kind in CREATED if parent in PARENT_FIELD.get(kind, {}))
        for parent in CREATED
    },
}
"""Which edges can be drawn: from a node of a kind, to kinds that it can be the parent of."""


# --- one look ------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Look:
    """All assets of the definitions at one moment."""

    pipeline: Pipeline
    snapshot: Snapshot

    @property
    def catalog(self) -> Catalog:
        """The definitions."""
        return self.pipeline.catalog

    @cached_property
    def items(self) -> dict[str, Item]:
        """All nodes by their names, each after those that it reads."""
        from tippers_dagster.graph.status import pipeline_status

        status = {s.name: s for s in pipeline_status(self.pipeline, self.snapshot)}
        return {n.name: self._item(n, status.get(n.name)) for n in self.pipeline.nodes}

    @cached_property
    def concepts(self) -> list[str]:
        """All concepts, by level."""
        refs = self.catalog.of_kind(Kind.CONCEPT, broken=True)
        names = {d.ref.name for d in refs} | {i.concept for i in self.items.values() if i.concept}
        return sorted(names, key=lambda name: (self.catalog.level(name), name))

    def _item(self, node: Node, status: AssetStatus | None) -> Item:
        reads = tuple("/".join(dep) for dep in node.deps)
        definition = self.pipeline.definitions.get(node.name)
        if status is None:
            return self._source(node)
        concept = definition.ref.concept if definition else ""
        state = self.snapshot.state(node.name)
        standing, why = _refined(status, self.snapshot)
        return Item(
            name=node.name,
            kind=_kind_of(node, definition),
            concept=concept,
            standing=standing,
            why=why,
            rows=status.rows,
            coverage=state.details.get("coverage"),
            seconds=status.seconds,
            materialized_at=status.materialized_at,
            run_id=status.run_id,
            reads=reads,
        )

    def _source(self, node: Node) -> Item:
        from tippers_dagster.automation.tokens import MISSING

        assert node.source is not None
        table = f"{node.source.schema}.{node.source.name}"
        gone = self.snapshot.wanted.get(node.name) == MISSING
        why = f"There is no table {table}." if gone else ""
        return Item(node.name, SOURCE, "", "failed" if gone else "source", why, title=table)


@dataclass(frozen=True)
class Item:
    """One node.

    Attributes
    ----------
    name
        Of its asset, as ``device/devices``.
    kind
        A kind of definition, or one of ``SOURCE``, ``STAGING``, ``SYNCED``.
    why
        A sentence for what is not fresh.
    coverage
        Share of the entities that a labelling function or label model does not abstain from.
    reads
        Names of the nodes that it reads.
    """

    name: str
    kind: str
    concept: str
    standing: Standing
    why: str
    rows: int | None = None
    coverage: float | None = None
    seconds: float | None = None
    materialized_at: dt.datetime | None = None
    run_id: str | None = None
    reads: tuple[str, ...] = ()
    title: str = ""

    @property
    def shown(self) -> str:
        """The name that people see: without the concept."""
        return self.title or self.name.rpartition("/")[2]

    @property
    def reference(self) -> str:
        """As definitions write it, ``device.devices``."""
        return self.name.replace("/", ".")

    @property
    def facts(self) -> str:
        """Rows and coverage in words; empty where there are none."""
        parts = []
        if self.coverage is not None:
            parts.append(f"covers {percent(self.coverage)}")
        elif self.rows is not None:
            parts.append(f"{self.rows:,} row{'' if self.rows == 1 else 's'}")
        return ", ".join(parts)


def look(app: App) -> Look:
    """How everything stands now; some hundredths of a second once the definitions are read.

    Raises
    ------
    TippersError
        When the warehouse cannot be reached.
    """
    from tippers_dagster.automation.snapshot import Snapshot
    from tippers_dagster.graph.changes import definitions_stamp

    pipeline = _pipeline(app.settings, definitions_stamp(app.settings))
    return Look(pipeline, Snapshot.take(app.settings, app.instance, pipeline.nodes))


_reading = threading.Lock()


def _pipeline(settings: Settings, stamp: str) -> Pipeline:
    """The definitions of a stamp, read once: it takes a second, and many when dbt parses anew."""
    with _reading:
        return _read_pipeline(settings, stamp)


@lru_cache(maxsize=2)
def _read_pipeline(settings: Settings, stamp: str) -> Pipeline:
    from tippers_dagster.graph.load import load_pipeline

    return load_pipeline(settings)


def _kind_of(node: Node, definition: Definition | None) -> str:
    """A kind of definition, or what a table is; what else a definition gives has its own word."""
    if node.key[0] == Kind.CONNECTION:
        return SYNCED
    if definition is None:
        return STAGING
    further = node.key[-1].rpartition("__")[2]
    return further if further in FURTHER else definition.ref.kind.value


def _refined(status: AssetStatus, snapshot: Snapshot) -> tuple[Standing, str]:
    """A run covers its assets until it ends; those that it has computed already are fresh."""
    run = snapshot.running.get(status.name)
    done = run is not None and snapshot.state(status.name).run_id == run
    if done and status.name not in snapshot.stale:
        return "fresh", ""
    return status.standing, status.why


# --- pictures ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Edge:
    """What reads what.

    ``through``: by way of staging models that the picture leaves out. ``implied``: there is a
    longer way from the one to the other, too.
    """

    parent: str
    child: str
    through: bool = False
    implied: bool = False


@dataclass(frozen=True)
class Picture:
    """What is drawn for a concept; empty: for all of them.

    Attributes
    ----------
    items
        Those of the concept, what they read, and where the next level begins.
    hidden
        Staging models that are not drawn and not fresh.
    places
        Where nodes were put by hand.
    """

    concept: str
    items: dict[str, Item]
    edges: list[Edge]
    hidden: list[Item]
    places: dict[str, tuple[float, float]]

    @property
    def members(self) -> list[Item]:
        """The definitions of the concept itself."""
        return [i for i in self.items.values() if i.concept and self.holds(i)]

    def holds(self, item: Item) -> bool:
        """Whether a node belongs to the concept, and not only to what is around it."""
        return not self.concept or item.concept == self.concept

    @property
    def stale(self) -> list[str]:
        """Names of what is to be computed: stale or failed, and drawn or above what is drawn."""
        drawn = [*self.items.values(), *self.hidden]
        wanted = [i for i in drawn if i.standing in ("stale", "failed") and i.kind != SOURCE]
        return [i.name for i in wanted if self.holds(i) or not i.concept]


def picture(app: App, seen: Look, concept: str = "", *, staging: bool = False) -> Picture:
    """What is drawn for a concept.

    Parameters
    ----------
    concept
        Empty: all concepts at once.
    staging
        Whether the models between source tables and definitions are drawn, too.
    """
    from tippers_dagster.graph.positions import load_positions

    around = _around(seen, concept)
    drawn = {n: i for n, i in around.items() if staging or i.kind != STAGING}
    edges = [
        edge
        for edge in _edges(seen.items, drawn)
        # How another concept comes from the sources is not this picture's matter.
        if not (edge.through and concept and drawn[edge.child].concept != concept)
    ]
    if not staging and edges:
        joined = {name for edge in edges for name in (edge.parent, edge.child)}
        drawn = {n: i for n, i in drawn.items() if i.concept or n in joined}
    hidden = [i for n, i in around.items() if n not in drawn and i.standing in STANDINGS[:-1]]
    places = load_positions(app.settings, concept)
    return Picture(concept, drawn, edges, hidden, places)


def _around(seen: Look, concept: str) -> dict[str, Item]:
    """The nodes of a concept, what is above them up to other concepts, and the next level."""
    if not concept:
        return dict(seen.items)
    wanted = {i.name for i in seen.items.values() if i.concept == concept}
    above = [name for member in wanted for name in seen.items[member].reads]
    below = {
        i.name for i in seen.items.values() if i.kind in _BELOW and wanted.intersection(i.reads)
    }
    while above:
        name = above.pop()
        if name not in wanted and name in seen.items:
            wanted.add(name)
            if not seen.items[name].concept:
                above.extend(seen.items[name].reads)
    return {n: i for n, i in seen.items.items() if n in wanted or n in below}


def _edges(items: Mapping[str, Item], drawn: Mapping[str, Item]) -> list[Edge]:
    """Who reads whom; through what is not drawn only where no other way leads there.

    ``items``: all there are.
    """
    edges = []
    above: dict[str, set[str]] = {}
    for name, item in items.items():
        direct = [dep for dep in item.reads if dep in items]
        above[name] = set(direct).union(*(above[dep] for dep in direct))
        if name not in drawn:
            continue
        shown = [dep for dep in direct if dep in drawn]
        known = set(shown).union(*(above[dep] for dep in direct if items[dep].concept))
        far = _first_drawn([dep for dep in direct if dep not in drawn], items, drawn) - known
        far_above = set[str]().union(*(above[dep] for dep in shown))
        edges += [Edge(dep, name, implied=dep in far_above) for dep in shown]
        edges += [Edge(dep, name, through=True) for dep in sorted(far)]
    return edges


def _first_drawn(
    names: Sequence[str], items: Mapping[str, Item], drawn: Mapping[str, Item]
) -> set[str]:
    """The nearest nodes above some that are drawn."""
    found, todo, seen = set[str](), list(names), set[str]()
    while todo:
        name = todo.pop()
        if name in seen or name not in items:
            continue
        seen.add(name)
        if name in drawn:
            found.add(name)
        else:
            todo.extend(items[name].reads)
    return found


def in_words_counted(items: Iterable[Item]) -> str:
    """How many are fresh, stale ...: a sentence."""
    counts = Counter(item.standing for item in items if item.standing in STANDINGS)
    total = sum(counts.values())
    if not total:
        return "Nothing is computed here yet."
    parts = [f"{counts[s]:,} {s}" for s in STANDINGS if counts[s]]
    what = "definition" if total == 1 else "definitions"
    return f"{total:,} {what}: {', '.join(parts)}."


# --- runs ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Going:
    """An unfinished run of some of the definitions.

    Attributes
    ----------
    done, names
        Assets that it has computed, and all that it covers.
    by
        Who asked for it; empty: automation, or Dagster's own pages.
    """

    run_id: str
    waiting: bool
    done: int
    names: tuple[str, ...]
    by: str

    @property
    def says(self) -> str:
        """How far it is, in words."""
        what = "asset" if len(self.names) == 1 else "assets"
        far = "waits for its turn" if self.waiting else f"{self.done} computed"
        who = f", asked by {self.by}" if self.by else ""
        return f"Run {self.run_id[:8]} of {len(self.names)} {what}: {far}{who}."


def going(app: App, seen: Look) -> list[Going]:
    """Unfinished runs, the oldest first."""
    running = seen.snapshot.running
    if not running:
        return []
    from dagster import RunsFilter

    from tippers_dagster.graph.start import BY_TAG

    records = app.instance.get_run_records(RunsFilter(run_ids=sorted(set(running.values()))))
    found = []
    for record in reversed(records):
        run = record.dagster_run
        names = tuple(sorted(n for n, run_id in running.items() if run_id == run.run_id))
        done = sum(seen.items[n].standing == "fresh" for n in names if n in seen.items)
        waiting = record.start_time is None
        found.append(Going(run.run_id, waiting, done, names, run.tags.get(BY_TAG, "")))
    return found


def materialise(app: App, seen: Look, names: Collection[str], *, stale_only: bool) -> str | None:
    """Have the running deployment compute some nodes, and what is stale above them, in one run.

    Parameters
    ----------
    stale_only
        Else also what is up to date among ``names``.

    Returns
    -------
    str or None
        The run's id; None when all of it is up to date, or under way.

    Raises
    ------
    BadInput
        For what cannot be computed.
    TippersError
        When nothing runs that could do it.
    """
    app.person.require(Role.ANALYST, "materialise definitions")
    from tippers_dagster.automation.sensor import run_tags
    from tippers_dagster.graph.launch import to_compute
    from tippers_dagster.graph.start import start_run

    known = seen.pipeline.by_name
    chosen = {n for n in names if n in known and known[n].source is None}
    _refuse_broken(seen, chosen, stale_only=stale_only)
    wanted = to_compute(seen.snapshot, chosen, stale_only=stale_only)
    wanted = {n for n in wanted - set(seen.snapshot.running) if known[n].broken is None}
    if not wanted:
        return None
    tags = run_tags(seen.snapshot, [known[name] for name in sorted(wanted)])
    return start_run(app.settings, wanted, by=app.person.name, tags=tags)


def _refuse_broken(seen: Look, chosen: set[str], *, stale_only: bool) -> None:
    """What was chosen one by one and cannot be computed is said; else it is passed over."""
    broken = sorted(n for n in chosen if seen.pipeline.by_name[n].broken is not None)
    if broken and not stale_only:
        why = seen.pipeline.by_name[broken[0]].broken
        raise BadInput(
            f"{broken[0].replace('/', '.')} cannot be computed: {why}", "Mend its definition first."
        )


def cancel(app: App, run_id: str) -> None:
    """Have a run cancelled; what it has computed is kept.

    Raises
    ------
    TippersError
        When nothing runs that could do it, or the run has ended.
    """
    app.person.require(Role.ANALYST, "cancel runs")
    from tippers_dagster.graph.start import stop_run

    stop_run(app.settings, run_id)


# --- arranging -----------------------------------------------------------------------------------
def arrange(app: App, drawn: Picture, places: Mapping[str, Sequence[float]]) -> None:
    """Keep where somebody put nodes of a picture; what is none of it is passed over."""
    from tippers_dagster.graph.positions import keep_positions

    app.person.require(Role.ANALYST, "arrange the canvas")
    kept = {
        name: (float(place[0]), float(place[1]))
        for name, place in places.items()
        if name in drawn.items and len(place) == 2 and all(math.isfinite(v) for v in place)
    }
    keep_positions(app.settings, drawn.concept, kept, by=app.person.name)


def lay_out_anew(app: App, concept: str) -> None:
    """Forget where somebody put nodes."""
    from tippers_dagster.graph.positions import forget_positions

    app.person.require(Role.ANALYST, "arrange the canvas")
    forget_positions(app.settings, concept)


# --- drawing edges -------------------------------------------------------------------------------
@dataclass(frozen=True)
class Change:
    """What an edge between two definitions would change: a field of the lower one."""

    child: Definition
    field: str
    before: str
    after: str
    body: Body

    @property
    def says(self) -> str:
        """In words, before it is done."""
        name, field = self.child.ref, self.field.replace("_", " ")
        if isinstance(getattr(self.body, self.field), str):
            instead = f" instead of {self.before}" if self.before else ""
            return f"{name}: its {field} becomes {self.after}{instead}."
        return f"{name}: {self.after} is added to its {field}."


def change_of_edge(seen: Look, parent: str, child: str) -> Change:
    """What drawing an edge from one node to another means.

    Raises
    ------
    BadInput
        When it means nothing, or is there already.
    """
    above, below = (seen.items.get(name) for name in (parent, child))
    lower = seen.pipeline.definitions.get(child)
    upper = seen.pipeline.definitions.get(parent)
    if above is None or below is None or lower is None or lower.ref.kind not in CREATED:
        raise BadInput("No edge can be drawn there.")
    if upper is None or lower.ref.kind not in EDGES.get(above.kind, ()):
        kinds = " or ".join(in_words(kind) for kind in EDGES.get(above.kind, ()))
        raise BadInput(
            f"No edge leads from {_a(above.kind)} to {_a(below.kind)}.",
            f"From {above.reference} one leads to a new {kinds}." if kinds else "",
        )
    field = _field(upper.ref.kind, lower.ref.kind)
    return _change(lower, field, _written(upper.ref, lower.ref.concept))


def connect(app: App, change: Change) -> Saved:
    """Change the lower definition of an edge.

    Raises
    ------
    BadInput
        When it could not work then.
    Conflict
        When somebody else changed it meanwhile.
    """
    from tippers_dagster.graph.save import save_definition

    app.person.require(Role.ANALYST, "change definitions")
    draft = replace(draft_of(change.child), body=change.body)
    return save_definition(
        app.settings, draft, by=app.person.name, expected_version=change.child.version
    )


def _change(lower: Definition, field: str, written: str) -> Change:
    value: Any = getattr(lower.body, field)
    several = isinstance(value, tuple)
    there = value if several else (value,) if value else ()
    if written in there or f"{lower.ref.concept}.{written}" in there:
        raise BadInput(f"{lower.ref} reads {written} already.")
    after: Any = (*value, written) if several else written
    body = lower.body.model_copy(update={field: after})
    return Change(lower, field, ", ".join(there), written, body)


def _field(parent: Kind, child: Kind) -> str:
    """The field of a definition that names a parent of some kind."""
    return next(f for f, kinds in STRUCTURE[child].items() if parent in kinds)


def _written(ref: Ref, concept: str) -> str:
    return ref.name if ref.concept == concept else str(ref)


def _a(kind: str) -> str:
    words = kind.replace("_", " ")
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


# --- one node ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Details:
    """What the side panel tells of a node.

    Attributes
    ----------
    definition
        None for source tables and staging models.
    text, language
        What says how it is computed.
    columns
        Name, type, empty cells and distinct values; as of the last time that it was computed.
    votes
        Entities per label, for what votes or labels.
    reads, read_by
        Names of nodes.
    creates
        Kinds that it can be the parent of.
    """

    item: Item
    definition: Definition | None
    description: str
    text: str
    language: Literal["sql", "python", "yaml"]
    columns: list[dict[str, Any]]
    votes: dict[str, int]
    reads: tuple[str, ...]
    read_by: tuple[str, ...]
    creates: tuple[Kind, ...]
    tries: int
    next_try: dt.datetime | None


def details(app: App, seen: Look, name: str) -> Details | None:
    """What is known of a node; None when there is none of this name."""
    item = seen.items.get(name)
    if item is None:
        return None
    definition = seen.pipeline.definitions.get(name)
    state = seen.snapshot.state(name)
    wanted = seen.snapshot.wanted.get(name, "")
    description, text, language = _told(seen, item, definition)
    failed = item.standing == "failed"
    return Details(
        item=item,
        definition=definition if item.kind not in _TABLES else None,
        description=description,
        text=text,
        language=language,
        columns=[_column(c) for c in state.details.get("columns", [])],
        votes=_votes(state.details),
        reads=item.reads,
        read_by=tuple(i.name for i in seen.items.values() if name in i.reads),
        creates=EDGES.get(item.kind, ()),
        tries=state.tries_of(wanted) if failed else 0,
        next_try=state.next_try(app.settings, wanted) if failed else None,
    )


def _told(
    seen: Look, item: Item, definition: Definition | None
) -> tuple[str, str, Literal["sql", "python", "yaml"]]:
    """Description, text and the text's language."""
    if definition is None or item.kind in _TABLES:
        return (*_model_told(seen, item), "sql")
    body = definition.body
    if isinstance(body, Index | Rule | Feature):
        return definition.description, body.sql, "sql"
    if isinstance(body, LabellingFunction) and body.python:
        return definition.description, body.python, "python"
    return definition.description, document(definition), "yaml"


def _model_told(seen: Look, item: Item) -> tuple[str, str]:
    """Description and SQL of a staging model, or of a table."""
    if item.kind == SOURCE:
        return "A table of the campus, which is only read.", ""
    project = seen.pipeline.project
    found = {} if project is None else project.manifest["nodes"]
    for model in found.values():
        if model["resource_type"] == "model" and model["name"] == item.shown:
            return str(model.get("description", "")), str(model.get("raw_code", ""))
    return "", ""


def _votes(details: Mapping[str, Any]) -> dict[str, int]:
    """Entities per label, the most first; then those that got none."""
    counts = details.get("classes") or details.get("votes") or {}
    labels = sorted((label for label in counts if label.isupper()), key=lambda n: -counts[n])
    others = [name for name in counts if not name.isupper() and counts[name]]
    return {name: counts[name] for name in (*labels, *others)}


def _column(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found.get(name) for name in ("column", "type", "nulls", "distinct")}


# --- the tree of values --------------------------------------------------------------------------
@dataclass(frozen=True)
class Branch:
    """A concept or one of its values, with what refines it.

    ``entities``: how many a label model gave this value; None: none did yet.
    """

    concept: str
    label: str
    description: str
    entities: int | None
    by: str
    below: tuple[Branch, ...]


def value_tree(seen: Look, concept: str) -> Branch:
    """The values of a concept, of the one that it refines, and of those that refine it.

    Raises
    ------
    BadInput
        When there is no such concept.
    """
    top, above = concept, {concept}
    while (refined := _refined_by(seen.catalog, top)) and refined[0] not in above:
        top = refined[0]
        above.add(top)
    return _concept_branch(seen, top, frozenset())


def _concept_branch(seen: Look, concept: str, above: frozenset[str]) -> Branch:
    catalog = seen.catalog
    found = catalog.named(f"{Kind.CONCEPT}.", concept)
    values = catalog.values(concept)
    counts, by = _counted(seen, concept)
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
        inside = [n for n in names if _refined_by(catalog, n) == (concept, label)]
        return tuple(_concept_branch(seen, n, above) for n in inside if n not in above)

    return Branch(concept, "", found.description if found else "", None, "", branches(None))


def _refined_by(catalog: Catalog, concept: str) -> tuple[str, str] | None:
    """The concept and label that a concept refines."""
    found = catalog.named(f"{Kind.CONCEPT}.", concept)
    if found is None or not isinstance(found.body, Concept) or not found.body.refines:
        return None
    above, _, label = found.body.refines.partition(".")
    return above, label


def _counted(seen: Look, concept: str) -> tuple[dict[str, int], str]:
    """Entities per label, by the concept's first label model that was computed; and its name."""
    for definition in seen.catalog.of_kind(Kind.LABEL_MODEL):
        if definition.ref.concept == concept:
            state = seen.snapshot.state(definition.ref.asset_name)
            if counts := state.details.get("classes"):
                return dict(counts), definition.ref.name
    return {}, ""
