"""The list of definitions, what stands around one, its versions, and changing it."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from streamlit_app.services import definition_forms as forms
from streamlit_app.services.app import App
from streamlit_app.services.definition_forms import Work
from tippers_dagster.access.model import Role
from tippers_dagster.catalog import store
from tippers_dagster.catalog.catalog import Catalog, near_names
from tippers_dagster.catalog.editing import Conflict
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Definition, Draft, Ref, Unreadable
from tippers_dagster.catalog.rows import Version
from tippers_dagster.errors import BadInput

if TYPE_CHECKING:
    from tippers_dagster.graph.reload import Reloaded
    from tippers_dagster.graph.save import Saved
    from tippers_dagster.graph.status import AssetStatus

State = Literal["active", "cannot work", "retired"]
STATES: tuple[State, ...] = ("active", "cannot work", "retired")

ELSEWHERE = (Kind.CONNECTION, Kind.DATASET)
"""Kinds that have pages of their own."""

LISTED = tuple(kind for kind in Kind if kind not in ELSEWHERE)


# --- the list ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Row:
    """One definition of the list. ``why``: why it cannot work; ``version`` 0: of the files."""

    ref: Ref
    state: State
    why: str
    description: str
    owner: str
    origin: Literal["catalog", "git"]
    version: int
    users: int
    updated_at: dt.datetime | None
    updated_by: str

    @property
    def concept(self) -> str:
        """The concept that it belongs to, or is; empty: neither."""
        return self.ref.concept or (self.ref.name if self.ref.kind == Kind.CONCEPT else "")


def load(app: App) -> Catalog:
    """All definitions as they are now; some milliseconds."""
    return store.load_catalog(app.settings)


def rows(catalog: Catalog) -> list[Row]:
    """All definitions of this page, by concept, kind and name."""
    found = {**catalog.definitions, **catalog.retired}
    order = {kind: at for at, kind in enumerate(forms.CREATED)}
    listed = [_row(catalog, d) for d in found.values() if d.ref.kind in LISTED]
    # Those in no concept stand on others' labels, or on occupancy: they come last.
    return sorted(
        listed, key=lambda r: (not r.concept, r.concept, order.get(r.ref.kind, 99), r.ref)
    )


def _row(catalog: Catalog, d: Definition) -> Row:
    return Row(
        ref=d.ref,
        state=state_of(catalog, d),
        why=catalog.problems.get(d.ref, ""),
        description=" ".join(d.description.split()),
        owner=d.owner,
        origin=d.origin,
        version=d.version,
        users=len(catalog.users(d.ref)),
        updated_at=d.updated_at,
        updated_by=d.updated_by,
    )


def state_of(catalog: Catalog, definition: Definition) -> State:
    """How a definition stands."""
    if definition.status == "retired":
        return "retired"
    return "cannot work" if definition.ref in catalog.problems else "active"


def filtered(
    found: Iterable[Row],
    text: str = "",
    concepts: Collection[str] = (),
    kinds: Collection[Kind] = (),
    states: Collection[str] = (),
) -> list[Row]:
    """Rows that hold all words of a text, of some concepts, kinds and states; empty: of all."""
    words = text.lower().split()
    return [
        row
        for row in found
        if (not concepts or row.concept in concepts)
        and (not kinds or row.ref.kind in kinds)
        and (not states or row.state in states)
        and all(word in _searched(row) for word in words)
    ]


def _searched(row: Row) -> str:
    kind = row.ref.kind.value.replace("_", " ")
    return f"{row.ref} {kind} {row.description} {row.owner}".lower()


# --- one definition ------------------------------------------------------------------------------
@dataclass(frozen=True)
class Opened:
    """A definition and what stands around it.

    ``definition`` is none for one that was deleted and has a history. ``git``: the one of the
    project's files with the same name.
    """

    ref: Ref
    definition: Definition | None
    state: State | Literal["deleted"]
    problem: str
    reads: tuple[Ref, ...]
    users: tuple[Ref, ...]
    git: Definition | None

    @property
    def from_files(self) -> bool:
        """Whether it is that of the project's files itself."""
        return self.definition is not None and self.definition.origin == "git"

    @property
    def shadows(self) -> bool:
        """Whether it takes the place of one of the project's files."""
        return not self.from_files and self.definition is not None and self.git is not None


def open_ref(app: App, catalog: Catalog, written: str) -> Ref:
    """The definition that ``concept.name`` means, deleted ones too.

    Raises
    ------
    BadInput
        With the names that are like it.
    """
    namespace, _, name = written.rpartition(".")
    kinds = {kind.value for kind in Kind if not kind.in_concept}
    found = catalog.named(f"{namespace}." if namespace in kinds else namespace, name)
    if found is not None:
        return found.ref
    try:
        return store.find(app.settings, written)
    except BadInput:
        near = near_names(catalog, written)
        hint = f"Did you mean {' or '.join(near)}?" if near else "The list has all definitions."
        raise BadInput(f"There is no definition {written!r}.", hint) from None


def opened(catalog: Catalog, ref: Ref) -> Opened:
    """What there is of a definition now."""
    found = catalog.named(ref.namespace, ref.name)
    if found is not None and found.ref != ref:
        found = None
    return Opened(
        ref=ref,
        definition=found,
        state=state_of(catalog, found) if found else "deleted",
        problem=catalog.problems.get(ref, ""),
        reads=catalog.dependencies(ref),
        users=catalog.users(ref),
        git=catalog.git(ref),
    )


def changed_by_others(catalog: Catalog, work: Work) -> bool:
    """Whether somebody saved or deleted the definition after it was opened."""
    saved = catalog.saved(work.ref)
    return (saved.version if saved else 0) != work.expected


def reading(catalog: Catalog, ref: Ref) -> list[Ref]:
    """All definitions that stand on one, however far up; inputs first."""
    above = {ref}
    for other in catalog.order:
        if any(dep in above for dep in catalog.dependencies(other)):
            above.add(other)
    if ref.kind == Kind.CONCEPT:
        above.update(catalog.users(ref))
    return [other for other in catalog.order if other in above and other != ref]


# --- versions ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Past:
    """A version, and the fields in which it differs from the one before."""

    version: Version
    changed: tuple[str, ...]
    diff: str


def history(app: App, ref: Ref) -> list[Past]:
    """The versions, the newest first, each with what it changed."""
    found = store.history(app.settings, ref)
    git = load(app).git(ref)
    first = forms.text_of(git) if git is not None and git.ref == ref else ""
    past = []
    for at, version in enumerate(found):
        before = found[at + 1] if at + 1 < len(found) else None
        old = forms.text_of(before) if before else first
        fields = store.changed_fields(before, version) if before else []
        text = "" if version.action == "delete" else forms.text_of(version)
        past.append(Past(version, tuple(fields), diff(old, text) if text else ""))
    return past


def diff(before: str, after: str, old: str = "before", new: str = "after") -> str:
    """What changed, line by line, with three lines around; empty when nothing did."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), old, new, lineterm="")
    return "\n".join(lines)


# --- changing ------------------------------------------------------------------------------------
def may_write(app: App, kind: Kind) -> bool:
    """Whether the person may change definitions of a kind."""
    return app.person.may(Role.ADMIN if kind == Kind.CONNECTION else Role.ANALYST)


def require_write(app: App, kinds: Iterable[Kind], what: str = "change definitions") -> None:
    """Refuse whoever may not change definitions of these kinds.

    Raises
    ------
    NotAllowed
        Saying which role it takes.
    """
    app.person.require(Role.ANALYST, what)
    if Kind.CONNECTION in set(kinds):
        app.person.require(Role.ADMIN, "change connections")


def save(app: App, work: Work, *, over: Definition | None = None) -> Saved | None:
    """Save what a form says, and have the running deployment load it.

    Parameters
    ----------
    over
        What somebody else saved and was shown; it is replaced, unless it changed again.

    Returns
    -------
    Saved or None
        None when somebody else saved meanwhile: ``work`` then holds what they saved.

    Raises
    ------
    BadInput
        What stands against it; nothing is saved.
    """
    from tippers_dagster.graph.save import save_definition

    require_write(app, [work.kind], "save definitions")
    made = forms.draft(work)
    if work.is_new:
        _refuse_taken(app, made)
    expected = over.version if over is not None else work.expected
    try:
        saved = save_definition(app.settings, made, by=app.person.name, expected_version=expected)
    except Conflict as conflict:
        work.conflict, work.theirs = True, conflict.current
        return None
    work.replace(saved.definition)
    return saved


def save_deleted(app: App, work: Work) -> Saved | None:
    """As ``save``, for a definition that somebody deleted meanwhile: it is made anew."""
    work.expected = 0
    return save(app, work)


def _refuse_taken(app: App, made: Draft) -> None:
    found = load(app).named(made.ref.namespace, made.ref.name)
    if found is not None:
        kind = found.ref.kind.value.replace("_", " ")
        raise BadInput(
            f"There is a definition {found.ref} already ({kind}).",
            "Take another name, or open that one.",
        )


def take_theirs(app: App, work: Work) -> None:
    """Go on from what somebody else saved; what was typed is put aside, and not lost."""
    work.aside.append(forms.text_of(work))
    if work.theirs is not None:
        work.replace(work.theirs)
    work.conflict, work.theirs = False, None


def retire(app: App, ref: Ref, expected: int | None = None) -> Reloaded:
    """Put a definition away."""
    require_write(app, [ref.kind], "retire definitions")
    store.retire(app.settings, ref, by=app.person.name, expected_version=expected)
    return _reload(app)


def activate(app: App, ref: Ref, expected: int | None = None) -> Reloaded:
    """Take a retired definition back into use."""
    from tippers_dagster.graph.save import checks

    require_write(app, [ref.kind], "activate definitions")
    store.activate(
        app.settings,
        ref,
        by=app.person.name,
        expected_version=expected,
        checks=checks(app.settings),
    )
    return _reload(app)


def delete(app: App, ref: Ref, expected: int | None = None) -> Reloaded:
    """Delete a saved definition; its history stays, and that of the files comes back.

    Raises
    ------
    BadInput
        When others use it, with their names.
    """
    require_write(app, [ref.kind], "delete definitions")
    store.delete(app.settings, ref, by=app.person.name, expected_version=expected)
    return _reload(app)


def rename(app: App, ref: Ref, name: str) -> tuple[Ref, Reloaded]:
    """Give a definition that nobody uses another name."""
    require_write(app, [ref.kind], "rename definitions")
    done = store.rename(app.settings, ref, name.strip(), by=app.person.name)
    return done.ref, _reload(app)


def restore(app: App, ref: Ref, number: int, expected: int | None = None) -> Reloaded:
    """Save an earlier version again, as the newest."""
    from tippers_dagster.graph.save import checks

    require_write(app, [ref.kind], "restore definitions")
    store.restore(
        app.settings,
        ref,
        number,
        by=app.person.name,
        expected_version=expected,
        checks=checks(app.settings),
    )
    return _reload(app)


def _reload(app: App) -> Reloaded:
    from tippers_dagster.graph.reload import reload_definitions

    return reload_definitions(app.settings)


def removal(catalog: Catalog, ref: Ref) -> Literal["delete", "used", "files"]:
    """What may be done to take a definition away.

    ``used``: others use it, so it can only be retired; ``files``: it is of the project's files,
    and so is put away by retiring. One that only took the place of that of the files can go.
    """
    if catalog.saved(ref) is None:
        return "files"
    back = catalog.git(ref)
    if (back is None or back.ref != ref) and catalog.users(ref):
        return "used"
    return "delete"


# --- what becomes of it --------------------------------------------------------------------------
@dataclass(frozen=True)
class Watched:
    """How the asset of a definition stands, and those that stand on it.

    ``asset`` is none for a concept, and before the asset is there. ``runs``: whether a deployment
    runs that computes it by itself.
    """

    asset: AssetStatus | None
    above: tuple[AssetStatus, ...]
    runs: bool
    automatic: bool

    @property
    def unfinished(self) -> list[AssetStatus]:
        """What is not up to date, the asset itself first."""
        own = (self.asset,) if self.asset is not None else ()
        return [s for s in (*own, *self.above) if s.standing != "fresh"]


def watch(app: App, ref: Ref) -> Watched:
    """How a definition's asset stands now; about 0.1 s."""
    from tippers_dagster.automation.snapshot import Snapshot
    from tippers_dagster.graph.load import load_pipeline
    from tippers_dagster.graph.status import pipeline_status
    from tippers_dagster.platform.dagster.addresses import web_address

    pipeline = load_pipeline(app.settings)
    snapshot = Snapshot.take(app.settings, app.instance, pipeline.nodes)
    status = {s.name: s for s in pipeline_status(pipeline, snapshot)}
    own = ref.asset_name
    above = [r.asset_name for r in reading(pipeline.catalog, ref)]
    # Some definitions have further assets: a champion and predictions, forecasts.
    further = [n for name in (own, *above) for n in status if n.startswith(f"{name}__")]
    return Watched(
        asset=status.get(own),
        above=tuple(status[name] for name in (*further, *above) if name in status),
        runs=web_address(app.settings) is not None,
        automatic=app.settings.automate_definitions,
    )


def unreadable(definition: Definition | None) -> bool:
    """Whether a body cannot be read by this version."""
    return definition is not None and isinstance(definition.body, Unreadable)
