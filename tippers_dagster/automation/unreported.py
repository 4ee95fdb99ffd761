"""Reports materialisations to Dagster that a killed process recorded only in the warehouse.

An asset is recorded first in the warehouse, then its MLflow run ends, then Dagster gets the event.
The warehouse's record is authoritative: the others are completed from it, and nothing is computed
twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import dagster as dg

from tippers_dagster.automation.nodes import Node
from tippers_dagster.automation.state import AssetState, load_states
from tippers_dagster.settings import Settings

DATA_VERSION = "dagster/data_version"


def report_recorded_materializations(
    settings: Settings,
    instance: dg.DagsterInstance,
    nodes: Sequence[Node],
    agreed: set[tuple[str, str]],
) -> list[str]:
    """Report materialisations to Dagster whose run ended before reporting them; returns the names.

    Parameters
    ----------
    agreed
        Assets and versions that Dagster has. New ones are added, so the next check is one small
        query.
    """
    computed = {node.name for node in nodes if node.source is None}
    new = {
        name: state
        for name, state in load_states(settings).items()
        if name in computed
        and state.version
        and not state.void
        and (name, state.version) not in agreed
    }
    running = unfinished_runs(instance, {state.run_id for state in new.values()})
    ended = {name: state for name, state in new.items() if state.run_id not in running}
    unknown = _unknown(instance, ended)
    for name in unknown:
        instance.report_runless_asset_event(_materialization(name, ended[name]))
    agreed.update((name, state.version or "") for name, state in ended.items())
    return sorted(unknown)


def unfinished_runs(instance: dg.DagsterInstance, run_ids: Collection[str | None]) -> set[str]:
    """Those of the runs that are unfinished, and may still report themselves."""
    chosen = sorted(run_id for run_id in run_ids if run_id)
    if not chosen:
        return set()
    runs = instance.get_runs(dg.RunsFilter(run_ids=chosen))
    return {run.run_id for run in runs if not run.is_finished}


def _unknown(instance: dg.DagsterInstance, states: Mapping[str, AssetState]) -> list[str]:
    """Assets without a materialisation of the recorded version in Dagster."""
    if not states:
        return []
    keys = {name: dg.AssetKey(name.split("/")) for name in states}
    events = instance.get_latest_materialization_events(list(keys.values()))
    unknown = []
    for name, state in states.items():
        event = events.get(keys[name])
        last = None if event is None else event.asset_materialization
        known = None if last is None else (last.tags or {}).get(DATA_VERSION)
        if known != state.version:
            unknown.append(name)
    return unknown


def _materialization(name: str, state: AssetState) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        dg.AssetKey(name.split("/")),
        description="Recorded in the warehouse by a run that ended before reporting it to Dagster.",
        metadata={
            "run": state.run_id or "",
            **({} if state.rows is None else {"dagster/row_count": state.rows}),
        },
        tags={DATA_VERSION: state.version or ""},
    )
