"""Reports materialisations to Dagster that a killed process recorded in the warehouse only.

An asset is recorded in the warehouse first, then its MLflow run ends, then Dagster gets the event.
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


def report_recorded(
    settings: Settings,
    instance: dg.DagsterInstance,
    nodes: Sequence[Node],
    agreed: set[tuple[str, str]],
) -> list[str]:
    """Report recorded materialisations to Dagster whose run ended before it did; returns the names.

    Parameters
    ----------
    agreed
        Assets and versions that Dagster already has; those found now are added, so that the next
        check is one small query.
    """
    made = {node.name for node in nodes if node.source is None}
    new = {
        name: state
        for name, state in load_states(settings).items()
        if name in made and state.version and not state.void and (name, state.version) not in agreed
    }
    going = _going(instance, {state.run_id for state in new.values()})
    ended = {name: state for name, state in new.items() if state.run_id not in going}
    unknown = _unknown(instance, ended)
    for name in unknown:
        instance.report_runless_asset_event(_materialization(name, ended[name]))
    agreed.update((name, state.version or "") for name, state in ended.items())
    return sorted(unknown)


def _going(instance: dg.DagsterInstance, run_ids: Collection[str | None]) -> set[str]:
    """The runs that may still report by themselves."""
    chosen = sorted(run_id for run_id in run_ids if run_id)
    if not chosen:
        return set()
    runs = instance.get_runs(dg.RunsFilter(run_ids=chosen))
    return {run.run_id for run in runs if not run.is_finished}


def _unknown(instance: dg.DagsterInstance, states: Mapping[str, AssetState]) -> list[str]:
    """Assets of which Dagster knows no materialisation of the recorded version."""
    if not states:
        return []
    keys = {name: dg.AssetKey(name.split("/")) for name in states}
    events = instance.get_latest_materialization_events(list(keys.values()))
    unknown = []
    for name, state in states.items():
        event = events.get(keys[name])
        event_of = None if event is None else event.asset_materialization
        known = None if event_of is None else (event_of.tags or {}).get(DATA_VERSION)
        if known != state.version:
            unknown.append(name)
    return unknown


def _materialization(name: str, state: AssetState) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        dg.AssetKey(name.split("/")),
        description="Recorded in the warehouse by a run that ended before it could report this.",
        metadata={
            "run": state.run_id or "",
            **({} if state.rows is None else {"dagster/row_count": state.rows}),
        },
        tags={DATA_VERSION: state.version or ""},
    )
