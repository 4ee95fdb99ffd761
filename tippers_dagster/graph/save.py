"""Checks and saves definitions, and reloads them in the running deployment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tippers_dagster.campus.identities import lake_name
from tippers_dagster.campus.source.log_source import check_body as check_log_source
from tippers_dagster.campus.spaces.tree import load_tree
from tippers_dagster.catalog import store
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.files import read_folder
from tippers_dagster.catalog.kinds import (
    Connection,
    Forecaster,
    Kind,
    LabellingFunction,
    LogSource,
)
from tippers_dagster.catalog.model import Definition, Draft, Ref
from tippers_dagster.catalog.store import Outcome
from tippers_dagster.catalog.validate import Checks
from tippers_dagster.connections.bodies import check_body, connections, is_source
from tippers_dagster.errors import BadInput
from tippers_dagster.graph.reload import Reloaded, reload_definitions
from tippers_dagster.labelling.program import compile_function
from tippers_dagster.occupancy.datasets import dataset_checks
from tippers_dagster.settings import Settings
from tippers_dagster.sql.check import translated
from tippers_dagster.sql.planned_schema import (
    PlannedSchema,
    planned_schema_cache,
    refuse_broken,
    sql_checks,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from tippers_dagster.sql.columns import Column
    from tippers_dagster.sql.planned_schema import PlannedSchema

    Columns = Mapping[str, pa.DataType]


@dataclass(frozen=True)
class Saved:
    """A saved definition, and the result of reloading."""

    definition: Definition
    reloaded: Reloaded


@dataclass(frozen=True)
class Imported:
    """The result for each imported definition, and the result of reloading."""

    outcomes: dict[Ref, Outcome]
    reloaded: Reloaded


def save_definition(
    settings: Settings, draft: Draft, *, by: str, expected_version: int | None = None
) -> Saved:
    """Check a definition, save it, and reload the definitions in the running deployment.

    Parameters
    ----------
    by
        The user who saves it.
    expected_version
        The version that the author edited, 0 for a new definition; ``None``: overwrite any.

    Raises
    ------
    Conflict
        When another user saved it meanwhile.
    BadInput
        When the definition is invalid, or breaks others; nothing is saved then.
    """
    saved = store.save(
        settings, draft, by=by, expected_version=expected_version, checks=checks(settings)
    )
    return Saved(saved, reload_definitions(settings))


def import_folder(settings: Settings, folder: Path, *, by: str) -> Imported:
    """Save all definitions of a folder or none, and reload them in the running deployment.

    Raises
    ------
    BadInput
        Names each file that cannot be read, and each invalid definition.
    """
    return import_drafts(settings, read_folder(folder), by=by)


def import_drafts(settings: Settings, drafts: Iterable[Draft], *, by: str) -> Imported:
    """Save all of these definitions or none, and reload them in the running deployment.

    Raises
    ------
    BadInput
        Names each invalid definition.
    """
    outcomes = store.save_all(settings, drafts, by=by, checks=checks(settings))
    if all(outcome == "unchanged" for outcome in outcomes.values()):
        return Imported(outcomes, Reloaded("reloaded", "Nothing changed."))
    return Imported(outcomes, reload_definitions(settings))


def checks(settings: Settings) -> Checks:
    """The checks of drafts: SQL and its dependents, spaces, and addresses of connections."""
    tables = planned_schema_cache(settings)
    sql = sql_checks(settings, tables, of_changed=partial(_check_functions, settings))

    def function(draft: Draft, catalog: Catalog) -> None:
        _compile(settings, tables(catalog), draft.ref)

    def connection(draft: Draft, catalog: Catalog) -> None:
        assert isinstance(draft.body, Connection)
        if not is_source(settings, draft.ref.name):
            check_body(draft.ref.name, draft.body)

    def log_source(draft: Draft, catalog: Catalog) -> None:
        assert isinstance(draft.body, LogSource)
        check_log_source(draft.ref.name, draft.body)
        known = connections(settings, catalog)
        if draft.body.connection is not None and draft.body.connection not in known:
            raise BadInput(
                f"{draft.ref.name}: there is no connection {draft.body.connection}.",
                f"Connections: {', '.join(known) or 'none'}. `tippers connections add` adds one.",
            )

    def forecaster(draft: Draft, catalog: Catalog) -> None:
        assert isinstance(draft.body, Forecaster)
        if draft.body.spaces:
            tree = load_tree(settings)
            for space in draft.body.spaces:
                tree.position(space)

    validators = {
        **sql.validators,
        Kind.LABELLING_FUNCTION: function,
        Kind.CONNECTION: connection,
        Kind.LOG_SOURCE: log_source,
        Kind.FORECASTER: forecaster,
    }
    return Checks(validators, sql.references) | dataset_checks(settings)


def _check_functions(settings: Settings, tables: PlannedSchema, changed: Iterable[Ref]) -> None:
    """Reject changes of rules that remove columns which labelling functions read."""
    catalog, broken = tables.catalog, []
    for rule in changed:
        for ref in catalog.users(rule):
            if ref.kind == Kind.LABELLING_FUNCTION and ref not in catalog.problems:
                try:
                    _compile(settings, tables, ref)
                except BadInput as error:
                    broken.append(f"{ref}: {error.message}")
    refuse_broken(broken)


def _compile(settings: Settings, tables: PlannedSchema, ref: Ref) -> None:

    catalog = tables.catalog
    body = catalog.definitions[ref].body
    assert isinstance(body, LabellingFunction)
    if body.function is not None:
        return  # it is in a project file, which is read when the code location loads
    rule = catalog.resolve(body.rule, ref.concept)
    columns = _as_in_lake(tables.columns(rule.ref))
    program = compile_function(body, columns=columns, values=catalog.labels(ref.concept))
    if columns is None:
        _check_names(settings, catalog, rule, program.columns)


def _check_names(
    settings: Settings, catalog: Catalog, rule: Definition, read: Iterable[str]
) -> None:
    """Reject columns that a saved rule's SQL does not return, before the rule is first computed."""
    if rule.origin == "git":
        return
    columns = translated(settings, rule, catalog).columns
    if columns is None:
        return
    known = [lake_name(column) for column in columns]
    missing = [name for name in read if name not in known]
    if missing:
        raise BadInput(
            f"The rule {rule.ref} has no column {missing[0]!r}.", f"It has {', '.join(known)}."
        )


def rule_columns(settings: Settings, catalog: Catalog, rule: Ref) -> Columns | None:
    """Names and types of a rule's columns; None when they are not known yet.

    For a saved rule they follow from its SQL; for a rule in the project's files they are those of
    its table.
    """
    return _as_in_lake(PlannedSchema(settings, catalog).columns(rule))


def _as_in_lake(columns: Iterable[Column] | None) -> Columns | None:
    return {lake_name(c.name): _arrow_type(c.name, c.type) for c in columns or ()} or None


def _arrow_type(name: str, kind: str) -> pa.DataType:
    """The type of a PostgreSQL column in the lake, where labelling functions read it."""
    import pyarrow as pa

    if lake_name(name) != name:
        return pa.uint64()
    known = {
        "boolean": pa.bool_(),
        "smallint": pa.int16(),
        "integer": pa.int32(),
        "bigint": pa.int64(),
        "real": pa.float32(),
        "double precision": pa.float64(),
        "numeric": pa.float64(),
        "date": pa.date32(),
        "timestamp without time zone": pa.timestamp("us"),
        "timestamp with time zone": pa.timestamp("us", tz="UTC"),
    }
    return known.get(kind.partition("(")[0], pa.string())
