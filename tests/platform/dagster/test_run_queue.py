"""The queue of runs keeps a slot for occupancy, whoever starts the other runs."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest
import yaml
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.workspace.context import WorkspaceRequestContext
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import (
    QueuedRunCoordinatorDaemon,
)

from tippers_dagster.occupancy.state import ASSETS
from tippers_dagster.platform.dagster.environment import packaged_file
from tippers_dagster.platform.dagster.run_queue import RunQueue

DEFINITIONS = ("device/devices", "device/always_on", "people/visitors")


ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("tippers"), "__repository__"),
    "__ASSET_JOB",
)


def asset(name: str) -> dg.AssetsDefinition:
    @dg.asset(key=name.split("/"))
    def nothing() -> None:
        """Never run."""

    return nothing


JOB = dg.Definitions(
    assets=[asset(name) for name in (*ASSETS, *DEFINITIONS)]
).resolve_implicit_global_asset_job_def()


@pytest.fixture
def instance(slots: int) -> Iterator[dg.DagsterInstance]:
    """An instance with the queue of ``dagster.yaml``, and this many slots."""
    queue = yaml.safe_load(packaged_file("dagster.yaml").read_text())["run_coordinator"]
    queue["config"]["max_concurrent_runs"] = slots
    with dg.instance_for_test(overrides={"run_coordinator": queue}) as instance:
        yield instance


def submit(instance: dg.DagsterInstance, *names: str, **tags: str) -> dg.DagsterRun:
    chosen = frozenset(dg.AssetKey(name.split("/")) for name in names)
    run = instance.create_run_for_job(
        JOB, asset_selection=chosen or None, tags=tags, remote_job_origin=ORIGIN
    )
    workspace = object.__new__(WorkspaceRequestContext)  # the queue does not look at it
    return instance.run_coordinator.submit_run(dg.SubmitRunContext(run, workspace))


def started(instance: dg.DagsterInstance) -> list[set[str]]:
    """The assets of the runs that the daemon would start now; they are marked as started."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    runs = daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)
    for run in runs:
        instance.report_dagster_event(
            dg.DagsterEvent(
                event_type_value=dg.DagsterEventType.PIPELINE_STARTING.value, job_name=run.job_name
            ),
            run.run_id,
        )
    return [{key.to_user_string() for key in run.asset_selection or ()} for run in runs]


@pytest.mark.parametrize("slots", [3])
def test_a_slot_is_kept_for_occupancy(instance: dg.DagsterInstance) -> None:
    for name in DEFINITIONS:  # untagged, as Dagster's pages start them
        submit(instance, name)
    submit(instance)  # all assets
    assert started(instance) == [{DEFINITIONS[0]}, {DEFINITIONS[1]}]
    assert started(instance) == [], "the third slot is kept"
    submit(instance, "sessions")
    assert started(instance) == [{"sessions"}]


@pytest.mark.parametrize("slots", [2])
def test_occupancy_uses_all_slots_and_comes_first(instance: dg.DagsterInstance) -> None:
    submit(instance, *DEFINITIONS)
    submit(instance, "sessions")
    submit(instance, "source_occupancy", "derived_occupancy")
    assert [names <= set(ASSETS) for names in started(instance)] == [True, True]


@pytest.mark.parametrize("slots", [1])
def test_a_single_slot_is_shared(instance: dg.DagsterInstance) -> None:
    submit(instance, *DEFINITIONS)
    assert started(instance) == [set(DEFINITIONS)]


@pytest.mark.parametrize("slots", [2])
def test_tags_of_a_run_are_kept(instance: dg.DagsterInstance) -> None:
    run = submit(instance, "device/devices", **{"dagster/priority": "5", "tippers/by": "ada"})
    assert isinstance(instance.run_coordinator, RunQueue)
    assert (run.tags["dagster/priority"], run.tags["tippers/by"]) == ("5", "ada")
    assert "tippers/queue" not in submit(instance, *ASSETS).tags


@pytest.mark.parametrize("slots", [2])
def test_the_instance_file_names_the_assets_of_occupancy(instance: dg.DagsterInstance) -> None:
    coordinator = instance.run_coordinator
    assert isinstance(coordinator, RunQueue)
    assert coordinator.inst_data is not None
    assert coordinator.inst_data.config_dict["first"] == list(ASSETS)
