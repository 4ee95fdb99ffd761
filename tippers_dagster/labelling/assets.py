"""An asset for each labelling function and each label model.

All functions of a concept are one step, so each rule is read once. A function that fails does not
affect the others; a label model that needs it is not computed.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import dagster as dg

from tippers_dagster.automation.computation import (
    Computation,
    DefinitionAsset,
    definition_assets,
    wait_to_begin,
)
from tippers_dagster.automation.nodes import Node, Table, digest
from tippers_dagster.automation.runs import asset_locks
from tippers_dagster.automation.specs import (
    check_specs,
    definition_spec,
    sound_nodes,
)
from tippers_dagster.automation.state import Recorder, recorder
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Kind, LabelModel
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.errors import BadInput, TippersError
from tippers_dagster.labelling.earlier_labels import keep_labels
from tippers_dagster.labelling.expressions.values import Columns
from tippers_dagster.labelling.gold import record_score
from tippers_dagster.labelling.kept_windows import keep_window, log_read
from tippers_dagster.labelling.labels import write_labels
from tippers_dagster.labelling.tables import gold_label
from tippers_dagster.platform.disk import environment_fault
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key
from tippers_dagster.platform.redaction import recordable
from tippers_dagster.settings import Settings

GOLD = Node(
    ("source", "gold_label"),
    source=Table(str(gold_label.schema), gold_label.name),
    entered=True,
)
"""Also read by label models whose class balance comes from the gold labels."""


# --- nodes --------------------------------------------------------------------------------------
def labelling_nodes(settings: Settings, catalog: Catalog) -> list[Node]:
    """The refresh node of every labelling function and label model.

    Definitions that cannot work are left out, unless the reason is a missing Python file.
    """
    found = catalog.of_kind(Kind.LABELLING_FUNCTION)
    functions = [_function_node(settings, catalog, definition) for definition in found]
    models = [_model_node(catalog, d) for d in catalog.of_kind(Kind.LABEL_MODEL)]
    sources = [GOLD] if any(GOLD.key in node.deps for node in models) else []
    return [*sources, *functions, *models]


def _function_node(settings: Settings, catalog: Catalog, definition: Definition) -> Node:
    from tippers_dagster.labelling.work import VERSION, function_content

    ref = definition.ref
    try:
        text = function_content(settings, definition)
    except BadInput as error:
        return Node(ref.asset_path, digest(str(error)), _deps(catalog, ref), broken=error.message)
    parts = ("votes", str(VERSION), text, *catalog.labels(ref.concept))
    return Node(ref.asset_path, digest(*parts), _deps(catalog, ref))


def _model_node(catalog: Catalog, definition: Definition) -> Node:
    from tippers_dagster.labelling.work import VERSION

    ref, body = definition.ref, definition.body
    assert isinstance(body, LabelModel)
    parts = ("labels", str(VERSION), body.model_dump_json(), *catalog.model_labels(ref))
    gold = (GOLD.key,) if body.class_balance == "gold" else ()
    return Node(ref.asset_path, digest(*parts), (*_deps(catalog, ref), *gold))


def _deps(catalog: Catalog, ref: Ref) -> tuple[tuple[str, ...], ...]:
    return tuple(dep.asset_path for dep in catalog.dependencies(ref))


# --- assets -------------------------------------------------------------------------------------
def labelling_assets(
    settings: Settings, catalog: Catalog, nodes: Sequence[Node]
) -> list[dg.AssetsDefinition]:
    """One asset per labelling function and label model that can work.

    Parameters
    ----------
    nodes
        The nodes of all assets, not only these; broken ones get no asset here.
    """
    sound = sound_nodes(nodes)
    functions: dict[str, list[Definition]] = defaultdict(list)
    for definition in catalog.of_kind(Kind.LABELLING_FUNCTION):
        if definition.ref.asset_path in sound:
            functions[definition.ref.concept].append(definition)
    return [
        *(_votes(settings, catalog, sound, concept, d) for concept, d in functions.items()),
        *definition_assets(settings, catalog, Kind.LABEL_MODEL, nodes, partial(_labels, catalog)),
    ]


# --- votes --------------------------------------------------------------------------------------
def _votes(
    settings: Settings,
    catalog: Catalog,
    nodes: dict[tuple[str, ...], Node],
    concept: str,
    definitions: Sequence[Definition],
) -> dg.AssetsDefinition:
    from tippers_dagster.labelling.describe import VOTE_CHECKS

    grain = "One row per entity with a row of the rule: a class number, or -1 to abstain."
    specs = [
        definition_spec(
            catalog,
            nodes[d.ref.asset_path],
            d,
            grain,
            kinds={"labelling_function", "parquet"},
            skippable=True,  # if one fails, the others are still recorded
        )
        for d in definitions
    ]
    by_key = {dg.AssetKey(d.ref.asset_path): d for d in definitions}

    @dg.multi_asset(
        name=f"{concept}__labelling_functions",
        specs=specs,
        check_specs=[c for key in by_key for c in check_specs(key, VOTE_CHECKS)],
        can_subset=True,
    )
    def labelling_functions(context: dg.AssetExecutionContext) -> Iterator[Any]:
        chosen = [by_key[key] for key in sorted(context.selected_asset_keys)]
        yield from _VoteRun(context, settings, catalog, nodes).events(chosen)

    return labelling_functions


class _VoteRun:
    """One step: the votes of the selected functions."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        settings: Settings,
        catalog: Catalog,
        nodes: dict[tuple[str, ...], Node],
    ) -> None:
        self._context, self._settings, self._catalog = context, settings, catalog
        self._nodes = nodes
        self._failed: dict[str, str] = {}

    def events(self, functions: Sequence[Definition]) -> Iterator[Any]:
        """Materializations and check results; raises at the end if any function failed."""
        by_rule: dict[Ref, list[Definition]] = defaultdict(list)
        for function in functions:
            by_rule[self._catalog.dependencies(function.ref)[0]].append(function)
        keys = [function.ref.asset_path for function in functions]
        run_id = self._context.run.run_id
        wait_to_begin(self._settings, self._context, list(self._nodes.values()), keys)
        with asset_locks(self._settings, run_id, keys, self._context.log):
            record = recorder(self._settings, self._nodes.values(), run_id)
            for rule, readers in by_rule.items():
                yield from self._vote_on_rule(record, rule, readers)
        if self._failed:
            lines = [f"{name}: {message}" for name, message in self._failed.items()]
            raise dg.Failure(
                f"Labelling functions that failed: {len(lines)} of {len(functions)}; the others "
                "are "
                "recorded.\n" + "\n".join(lines),
                metadata={"failed": sorted(self._failed)},
            )

    def _vote_on_rule(
        self, record: Recorder, rule: Ref, readers: Sequence[Definition]
    ) -> Iterator[Any]:
        from tippers_dagster.labelling.work import read_rule

        try:
            rows = Columns(read_rule(self._settings, rule))
        except TippersError as error:
            for function in readers:
                self._fail(record, function, error)
            return
        for function in readers:
            try:
                yield from self._vote(record, function, rows)
            except TippersError as error:
                self._fail(record, function, error)

    def _vote(self, record: Recorder, function: Definition, rows: Any) -> Iterator[Any]:
        from tippers_dagster.labelling.describe import vote_checks, vote_details, vote_metadata
        from tippers_dagster.labelling.work import write_votes

        started = time.monotonic()
        path = function.ref.asset_path
        votes = write_votes(
            self._settings, self._catalog, function, rows, lambda: record.replacing(path)
        )
        version = record.succeeded(
            path, votes.rows, time.monotonic() - started, vote_details(votes)
        )
        key = dg.AssetKey(path)
        yield dg.MaterializeResult(
            asset_key=key, metadata=vote_metadata(votes), data_version=dg.DataVersion(version)
        )
        wanted = self._context.selected_asset_check_keys
        yield from (
            c for c in vote_checks(key, votes) if dg.AssetCheckKey(key, str(c.check_name)) in wanted
        )

    def _fail(self, record: Recorder, function: Definition, error: TippersError) -> None:
        message = recordable(str(error), self._settings)
        environment_failed = environment_fault(error) is not None
        record.failed(function.ref.asset_path, message, environment_failed=environment_failed)
        self._failed[str(function.ref)] = message


# --- labels -------------------------------------------------------------------------------------
def _labels(catalog: Catalog, definition: Definition) -> DefinitionAsset:
    from tippers_dagster.labelling.describe import LABEL_CHECKS

    return DefinitionAsset(
        grain="One row per entity of the index: its label, or that the labelling functions "
        "abstained or tied, with probabilities and votes.",
        kinds={"label_model", "snorkel", "postgres"},
        checks=LABEL_CHECKS,
        compute=partial(_label, catalog, definition.ref),
        experiment=str(definition.ref),
    )


def _label(catalog: Catalog, ref: Ref, work: Computation) -> None:
    """Read votes, fit the label model, write labels, scores and history."""
    from tippers_dagster.labelling import describe
    from tippers_dagster.labelling.work import label_entities

    settings = work.settings
    made = label_entities(settings, catalog, ref, work.version, work.run_id)
    read = log_read(settings, catalog, ref)
    work.replacing()
    write_labels(settings, made.table, made.rows, made.fitted)
    record_score(settings, ref.concept, ref.name, work.version, work.run_id, made.evaluation)
    plots = describe.label_plots(made)
    work.log_result(
        describe.mlflow_params(made),
        describe.mlflow_metrics(made),
        describe.mlflow_files(made, plots),
    )
    details = describe.label_details(made, work.log.run_id, read)
    keep_labels(settings, made.table, made.rows, details)
    keep_window(settings, made.table, made.rows, read)
    place = open_lake(settings).uri(definition_key("labels", ref.concept, ref.name))
    metadata = describe.label_metadata(made, plots, place, work.log.url, read)
    work.succeeded(made.rows.num_rows, details, metadata)
    work.report(*describe.label_checks(work.asset, made))
