"""Labels of a past window of the log: the same SQL, votes and label model over earlier chunks.

The index and the rules that read the window are computed again over it, on DuckDB, and nothing of
them is stored. Whatever else they read is as it is now: labels of other levels, connections, places
and gold labels.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from functools import cache

import numpy as np
import pyarrow as pa

from tippers_dagster.campus.identities import lake_name, pseudonymise
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.model import Ref
from tippers_dagster.catalog.window import Read, Window
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.expressions.values import Columns
from tippers_dagster.labelling.kept_windows import KeptWindow, keep_window, kept_windows
from tippers_dagster.labelling.work import (
    cast_votes,
    functions_of,
    label_from_votes,
    plain_keys,
    read_entities,
    read_rule,
)
from tippers_dagster.occupancy.log_window import window_log
from tippers_dagster.settings import Settings
from tippers_dagster.sql.nodes import log_tables, meta_of
from tippers_dagster.sql.project import Project, rendered_project
from tippers_dagster.sql.running import LakeRun, past_tables


def label_past_window(settings: Settings, catalog: Catalog, ref: Ref, until: dt.date) -> KeptWindow:
    """Compute the labels of a label model's window as it was at a date, and keep them.

    Parameters
    ----------
    until
        The date by which the window ends: it ends with the last chunk that does.

    Raises
    ------
    BadInput
        The label model cannot work, reads everything, or there is no log by then.
    NoTerm
        The window is a term, and the calendar has none by then.
    NoLabels
        The votes do not allow it.
    TippersError
        A definition cannot be computed.
    """
    if ref in catalog.problems:
        raise BadInput(f"{ref} cannot work: {catalog.problems[ref]}")
    window = catalog.window(ref)
    if window.is_everything:
        raise BadInput(
            f"The labels of {ref} are about everything that is tracked, not about a window.",
            f"Set a window for the concept {ref.concept}, such as `last 8 weeks`.",
        )
    read = Read.of(window, window_log(settings, window, until))
    if read is None:
        raise BadInput(f"No time chunk with sessions ends by {until}.")
    on_lake = settings.model_copy(update={"sql_engine": "duckdb"})
    project = rendered_project(on_lake, catalog)
    models = _models(project, catalog, ref, window)
    made_by = (uuid.uuid4().hex, uuid.uuid4().hex)
    with past_tables(on_lake, project, sorted(models.values()), until) as run:
        made = _Made(settings, catalog, run, models)
        entities = made.entities(ref)
        votes = [made.votes(function) for function in functions_of(catalog, ref)]
        found = label_from_votes(settings, catalog, ref, entities, votes, made_by)
    keep_window(settings, found.table, found.rows, read)
    kept = kept_windows(settings, ref.concept, ref.name)
    return next(one for one in kept if one.version == made_by[0])


def _models(project: Project, catalog: Catalog, ref: Ref, window: Window) -> dict[Ref, str]:
    """The definitions to compute again, with the unique ids of their models."""
    nodes = project.manifest["nodes"]

    @cache
    def reads_window(unique_id: str) -> bool:
        below = nodes[unique_id]["depends_on"]["nodes"]
        models = (i for i in below if i in nodes and "concept" in meta_of(nodes[i]))
        found = [reads_window(model) for model in models]
        return any(found) or window in log_tables(project.manifest, [unique_id])

    index = catalog.index_of(ref)
    rules = (catalog.dependencies(function)[0] for function in functions_of(catalog, ref))
    wanted: dict[Ref, str] = {}
    waiting = [found for found in (index, *rules) if found is not None]
    while waiting:
        one = waiting.pop()
        if not one.kind.has_sql or one in wanted:
            continue
        if one in project.broken:
            raise BadInput(f"{one} cannot work: {project.broken[one]}")
        if reads_window(unique_id := f"model.tippers.{one.model_name}"):
            wanted[one] = unique_id
        waiting += catalog.dependencies(one)
    return wanted


class _Made:
    """What a run gave, and for the rest what there is."""

    def __init__(
        self, settings: Settings, catalog: Catalog, run: LakeRun, models: Mapping[Ref, str]
    ) -> None:
        self._settings, self._catalog = settings, catalog
        self._run, self._models = run, models
        self._rules: dict[Ref, Columns] = {}

    def entities(self, ref: Ref) -> tuple[pa.Array, str]:
        """The keys of the label model's index, and their SQL type."""
        index = self._catalog.index_of(ref)
        if index is None or index not in self._models:
            return read_entities(self._settings, self._catalog, ref)
        columns, table = self._run.table(self._models[index])
        key = self._catalog.key_column(ref)
        kind = next(column.type for column in columns if column.name == key)
        return plain_keys(table[key], kind, index), kind

    def votes(self, function: Ref) -> tuple[pa.ChunkedArray, np.ndarray]:
        """The votes of a labelling function: pseudonyms of entities, and class numbers."""
        rows = self._rows(self._catalog.dependencies(function)[0])
        definition = self._catalog.definitions[function]
        found = cast_votes(self._settings, self._catalog, definition, rows)
        return rows.table[lake_name(self._catalog.key_column(function))], found.votes

    def _rows(self, rule: Ref) -> Columns:
        if rule not in self._rules:
            self._rules[rule] = Columns(self._table(rule))
        return self._rules[rule]

    def _table(self, rule: Ref) -> pa.Table:
        """The rows of a rule, as the lake has them."""
        if rule not in self._models:
            return read_rule(self._settings, rule)
        columns, table = self._run.table(self._models[rule])
        for at, column in enumerate(columns):
            if column.type == "numeric":  # it comes as text
                number = table[column.name].cast(pa.float64())
                table = table.set_column(at, column.name, number)
        return pseudonymise(self._settings, table)
