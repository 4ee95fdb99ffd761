"""What is stale, what is requested, and how failures are retried."""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections.abc import Iterator

import dagster as dg
import pytest

from tests.automation.graph import SOURCE, Graph, MakeGraph, execute, node
from tippers_dagster.automation.nodes import Node, wanted_versions
from tippers_dagster.automation.runs import STALE_ONLY_TAG, asset_locks
from tippers_dagster.automation.sensor import UP_TO_DATE
from tippers_dagster.automation.snapshot import Snapshot
from tippers_dagster.automation.state import (
    errors_now,
    forget_failures,
    load_states,
    recorder,
    void,
)
from tippers_dagster.automation.tokens import record_tokens
from tippers_dagster.errors import TippersError
from tippers_dagster.graph.status import _why_stale
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.platform.warehouse.fence import LocksLost
from tippers_dagster.settings import Settings, get_settings

DIAMOND = [
    SOURCE,
    node("index", "sessions"),
    node("left", "index"),
    node("right", "index"),
    node("model", "left", "right"),
    node("level2", "model"),
]


@pytest.fixture
def make(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeGraph]:
    execute(stack, "CREATE TABLE public.sessions (mac text)")
    with dagster_instance(stack) as instance:

        def make(nodes: list[Node] = DIAMOND, **changes: object) -> Graph:
            defaults = {"retry_delay_seconds": 0, "refresh_seconds": 0}
            for name, value in {**defaults, **changes}.items():
                monkeypatch.setenv(f"TIPPERS_{name.upper()}", str(value))
            get_settings.cache_clear()
            return Graph(get_settings(), instance, nodes)

        yield make


def test_all_assets_are_computed_in_one_run(make: MakeGraph) -> None:
    graph = make()
    (request,) = graph.tick().run_requests
    assert len(request.asset_selection) == 5
    assert request.tags[STALE_ONLY_TAG] == "true"
    assert int(request.tags["dagster/max_runtime"]) == graph.settings.deadline_floor_seconds
    assert graph.run(graph.asked()).success
    assert graph.computed == ["index", "left", "right", "model", "level2"]
    assert graph.tick().skip_message == UP_TO_DATE


def test_a_changed_definition_makes_its_asset_and_dependents_stale(make: MakeGraph) -> None:
    graph = make()
    graph.until_quiet()
    graph.change("left", content="2")
    assert graph.until_quiet() == ["left", "model", "level2"]
    graph.change("left", content="1")
    assert graph.until_quiet() == ["left", "model", "level2"]
    graph.change("level2", content="2")
    assert graph.until_quiet() == ["level2"]


def test_what_an_asset_gained_makes_only_itself_stale(make: MakeGraph) -> None:
    graph = make()
    graph.until_quiet()
    graph.change("left", added="column")
    (left,) = (n for n in graph.nodes if n.name == "left")
    snapshot = Snapshot.take(graph.settings, graph.instance, graph.nodes)
    assert "gained columns" in _why_stale(snapshot, left, snapshot.state("left"))
    assert graph.until_quiet() == ["left"]
    graph.change("left", added="")
    assert graph.until_quiet() == ["left"]
    graph.change("left", added="column", content="2")
    assert graph.until_quiet() == ["left", "model", "level2"]


def test_changed_rows_make_their_readers_stale(make: MakeGraph) -> None:
    graph = make([*DIAMOND, node("apart")])
    graph.until_quiet()
    execute(graph.settings, "INSERT INTO public.sessions VALUES ('m')")
    assert graph.until_quiet() == ["index", "left", "right", "model", "level2"]


def test_a_failure_delays_only_dependents(make: MakeGraph) -> None:
    graph = make(max_tries=2)
    graph.broken = {"left"}
    assert sorted(graph.until_quiet()) == ["index", "left", "left", "right"]
    state = load_states(graph.settings)["left"]
    assert (state.tries, state.error, state.version) == (2, "division by zero", None)
    assert graph.tick().skip_message == UP_TO_DATE, "held back"
    graph.broken = set()
    assert graph.asked() == set()
    assert forget_failures(graph.settings) == 1
    assert graph.until_quiet() == ["left", "model", "level2"]


def test_after_its_first_attempts_an_asset_is_retried_occasionally(make: MakeGraph) -> None:
    graph = make(max_tries=2)
    graph.broken = {"left"}
    graph.until_quiet()
    graph.broken = set()
    aged(graph, "59 minutes")
    assert graph.asked() == set()
    aged(graph, "61 minutes")
    assert graph.until_quiet() == ["left", "model", "level2"]


def test_without_later_retries_a_failed_asset_is_left(make: MakeGraph) -> None:
    graph = make(max_tries=1, retry_later_seconds=0)
    graph.broken = {"left"}
    graph.until_quiet()
    aged(graph, "1 year")
    assert graph.asked() == set()


def aged(graph: Graph, age: str) -> None:
    """Move the last failures back in time by ``age``."""
    execute(graph.settings, f"UPDATE tippers.asset_state SET failed_at = now() - interval '{age}'")


def test_a_changed_definition_that_failed_is_retried_at_once(make: MakeGraph) -> None:
    graph = make(max_tries=1)
    graph.broken = {"left"}
    graph.until_quiet()
    graph.broken = set()
    graph.change("left", content="2")
    assert graph.until_quiet() == ["left", "model", "level2"]


def test_the_next_attempt_waits(make: MakeGraph) -> None:
    graph = make(retry_delay_seconds=1000)
    graph.broken = {"left"}
    graph.until_quiet()
    assert load_states(graph.settings)["left"].tries == 1


def test_a_run_that_dies_silently_counts_as_an_attempt(make: MakeGraph) -> None:
    graph = make(max_tries=2)
    graph.dying = {"index", "left"}
    assert graph.until_quiet() == []
    assert load_states(graph.settings)["index"].tries == 2
    graph.dying = {"left"}
    forget_failures(graph.settings)
    assert sorted(set(graph.until_quiet())) == ["index", "right"]
    states = load_states(graph.settings)
    assert states["left"].tries == 2
    assert "model" not in states, "it was never its turn"


def test_what_a_run_recorded_before_it_ended_is_reported_to_dagster(make: MakeGraph) -> None:
    graph = make([node("index")])
    job = graph.repository.get_job(graph.repository.get_implicit_asset_job_names()[0])
    index = dg.AssetKey("index")
    run = graph.instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTED, asset_selection=frozenset([index])
    )
    version = recorder(graph.settings, graph.nodes, run.run_id).succeeded(("index",))
    assert graph.asked() == set()
    assert graph.instance.get_latest_materialization_event(index) is None, "it may do so itself"
    graph.instance.report_run_failed(run)
    for _ in range(2):
        assert graph.asked() == set(), "nothing is computed again"
        (event,) = graph.instance.fetch_materializations(index, limit=5).records
        assert event.asset_materialization.tags["dagster/data_version"] == version


def test_assets_of_an_unfinished_run_are_not_requested_again(make: MakeGraph) -> None:
    graph = make()
    (request,) = graph.tick().run_requests
    job = graph.repository.get_job(graph.repository.get_implicit_asset_job_names()[0])
    run = graph.instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.STARTED,
        asset_selection=frozenset([dg.AssetKey("index")]),
    )
    assert graph.asked() == set(), "all wait for the index"
    graph.instance.report_run_failed(run)
    assert len(graph.asked()) == len(request.asset_selection)


def test_broken_assets_are_attempted_once(make: MakeGraph) -> None:
    graph = make([*DIAMOND, node("bad", "index", broken="no such column")])
    graph.broken = {"bad"}
    assert graph.until_quiet().count("bad") == 1
    assert load_states(graph.settings)["level2"].version


def test_assets_that_read_external_data_are_due_after_a_while(make: MakeGraph) -> None:
    outside = [node("synced", every_seconds=3600), node("reader", "synced")]
    graph = make(outside)
    assert graph.until_quiet() == ["synced", "reader"]
    graph.change("synced", every_seconds=0)
    graph.computed = []
    assert graph.asked() == {"synced"}, "the reader uses the present rows"
    graph.run({"synced"})
    graph.change("synced", every_seconds=3600)
    assert graph.until_quiet() == ["reader"]


def test_the_same_token_leaves_dependents_up_to_date(make: MakeGraph) -> None:
    outside = [node("synced", every_seconds=3600), node("reader", "synced")]
    graph = make(outside)
    graph.until_quiet()
    for expected in ({"reader"}, set()):
        record = recorder(graph.settings, graph.nodes, "run")
        record.succeeded(("synced",), token="rows 5")
        assert graph.asked() == expected
        graph.run({"reader"})


def test_dependents_by_token_are_stale_only_when_it_changes(make: MakeGraph) -> None:
    found = node("champion", "index", every_seconds=3600, seen_by_token=True)
    graph = make([node("index"), found, node("reader", "champion", "index"), node("alone")])

    def take(token: str, *names: str) -> None:
        record = recorder(graph.settings, graph.nodes, "run")
        for name in names:
            record.succeeded((name,), token=token if name == "champion" else None)

    take("3", "index", "champion", "reader", "alone")
    assert graph.asked() == set()
    graph.change("champion", content="2")
    assert graph.asked() == {"champion"}, "its dependent is up to date"
    take("3", "champion")
    assert graph.asked() == set()
    with warehouse_engine(graph.settings).begin() as connection:
        record_tokens(connection, {"champion": "2"})
    assert graph.asked() == {"champion", "reader"}
    take("2", "champion")
    assert graph.asked() == {"reader"}
    take("2", "reader")
    assert graph.asked() == set()


def test_errors_of_outdated_versions_are_left_out(make: MakeGraph) -> None:
    found = node("champion", every_seconds=3600, seen_by_token=True)
    graph = make([found, node("reader", "champion")])
    record = recorder(graph.settings, graph.nodes, "run")
    record.succeeded(("champion",), token="1")
    record.failed(("reader",), "version 1 is broken")
    assert errors_now(graph.settings, graph.nodes) == {"reader": "version 1 is broken"}
    with warehouse_engine(graph.settings).begin() as connection:
        record_tokens(connection, {"champion": "2"})
    assert errors_now(graph.settings, graph.nodes) == {}


def test_a_change_during_the_run_is_not_lost(make: MakeGraph) -> None:
    graph = make()
    graph.until_quiet()
    nodes = [n for n in graph.nodes if n.name == "left"]
    before = recorder(graph.settings, nodes, "slow run")
    execute(graph.settings, "INSERT INTO public.sessions VALUES ('late')")
    assert "index" in graph.asked()
    graph.run({"index"})
    before.succeeded(("left",))
    assert "left" in graph.asked()


def test_an_outdated_code_location_requests_nothing(make: MakeGraph) -> None:
    graph = make()
    graph.why = "The definitions changed; this code location is being reloaded."
    assert graph.tick().skip_message == graph.why
    graph.why = None
    assert graph.asked()


def test_many_assets_are_several_runs(make: MakeGraph) -> None:
    graph = make([node("first"), *(node(f"n{i}", "first") for i in range(520))])
    asked = graph.asked()
    assert len(asked) == 450
    assert "first" in asked
    record = recorder(graph.settings, graph.nodes, "run")
    for n in graph.nodes:
        if n.name in asked:
            record.succeeded(n.key)
    assert len(graph.asked()) == 521 - 450


def test_reading_an_unknown_asset_is_an_error(stack: Settings) -> None:
    with pytest.raises(TippersError, match="a reads b, but no definition"):
        wanted_versions([node("a", "b")], {})
    with pytest.raises(TippersError, match="not part of this run"):
        recorder(stack, [node("a")], "run").succeeded(("c",))


def test_two_runs_never_compute_the_same_asset_at_once(make: MakeGraph) -> None:

    settings = make().settings
    order = []

    def other() -> None:
        with asset_locks(settings, "second", [("b",), ("a",)], logging.getLogger()):
            order.append("second")

    with asset_locks(settings, "first", [("a",), ("c",)], logging.getLogger()):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


# --- what tables hold and what is recorded of them ------------------------------------------------
def test_assets_of_a_dead_run_are_computed_again(make: MakeGraph) -> None:
    """Also when the inputs have not changed: the content of the table is unknown."""
    graph = make()
    graph.until_quiet()
    graph.change("left", content="2")
    graph.killed = {"left"}
    assert not graph.run({"left"}).success
    graph.killed = set()
    graph.change("left", content="1")
    assert why_stale(graph, "left").startswith("Its last run did not finish")
    assert graph.until_quiet() == ["left"], "its dependent was not computed from it"


def test_an_asset_that_is_being_replaced_is_not_reported(make: MakeGraph) -> None:
    """Recorded materialisations are reported to Dagster; a voided record is not one."""
    graph = make()
    graph.until_quiet()
    graph.change("left", content="2")
    graph.killed = {"left"}
    left = dg.AssetKey("left")
    before = graph.instance.get_latest_materialization_event(left)
    assert not graph.run({"left"}).success
    graph.tick()
    assert load_states(graph.settings)["left"].void
    assert graph.instance.get_latest_materialization_event(left) == before


def test_a_run_without_its_locks_voids_what_it_wrote_over(make: MakeGraph) -> None:
    """Whichever run recorded it: it is unknown which of both wrote last."""
    graph = make()
    graph.until_quiet()
    left = ("left",)

    def run() -> None:
        with asset_locks(graph.settings, "lost", [left], logging.getLogger()):
            record = recorder(graph.settings, graph.nodes, "lost")
            record.replacing(left)
            execute(graph.settings, "DELETE FROM tippers.held_lock")
            another = threading.Thread(target=graph.run, args=({"left"},))
            another.start()
            another.join()
            assert not load_states(graph.settings)["left"].void
            record.succeeded(left, rows=1)

    with pytest.raises(LocksLost):
        run()
    assert load_states(graph.settings)["left"].void
    assert graph.until_quiet() == ["left"]


def test_an_asset_overwritten_while_computed_is_void(make: MakeGraph) -> None:
    graph = make()
    graph.until_quiet()
    record = recorder(graph.settings, graph.nodes, "second")
    record.replacing(("left",))
    with warehouse_engine(graph.settings).begin() as connection:
        void(connection, ["left"], "first")
    record.succeeded(("left",), rows=1)
    left = dg.AssetKey("left")
    before = graph.instance.get_latest_materialization_event(left)
    asked = graph.asked()
    assert graph.instance.get_latest_materialization_event(left) == before
    assert asked == {"left"}
    assert graph.until_quiet() == ["left"]


def test_nothing_is_computed_from_the_rows_of_a_dead_run(make: MakeGraph) -> None:
    graph = make(max_tries=1)
    graph.until_quiet()
    graph.change("left", content="2")
    graph.killed = {"left"}
    graph.until_quiet()
    graph.change("left", content="1")
    graph.change("model", content="2")
    assert graph.until_quiet() == ["left"], "only this asset, as its run dies again"
    graph.killed = set()
    forget_failures(graph.settings)
    assert graph.until_quiet() == ["left", "model", "level2"]


def test_an_asset_whose_input_was_computed_meanwhile_is_computed_again(make: MakeGraph) -> None:
    """The versions before and after are the same, but a different one may have been read."""
    graph = make()
    graph.until_quiet()
    graph.change("model", content="2")
    graph.meanwhile = {"model": lambda: graph.run({"left"})}
    assert graph.until_quiet() == ["model", "left", "level2", "model", "level2"]


def test_an_asset_whose_input_a_dead_run_replaced_is_computed_again(make: MakeGraph) -> None:
    graph = make()
    graph.until_quiet()
    graph.change("model", content="2")
    graph.killed = {"left"}
    graph.meanwhile = {"model": lambda: graph.run({"left"})}
    assert graph.run({"model"}).success
    graph.killed = set()
    assert graph.until_quiet() == ["left", "model", "level2"]


def why_stale(graph: Graph, name: str) -> str:
    snapshot = Snapshot.take(graph.settings, graph.instance, graph.nodes)
    (found,) = (n for n in graph.nodes if n.name == name)
    return _why_stale(snapshot, found, snapshot.state(name))


def test_an_environment_fault_is_not_an_attempt(make: MakeGraph) -> None:
    """The asset waits longer than after other failures, and is retried without limit."""
    graph = make(max_tries=2, environment_retry_seconds=0)
    graph.full = {"left"}
    for _ in range(4):
        assert "left" in graph.asked()
        graph.run({"index", "left", "right"})
    state = load_states(graph.settings)["left"]
    assert (state.tries, state.error) == (0, "The disk is full.")
    graph.full = set()
    assert graph.until_quiet() == ["left", "model", "level2"]
    assert load_states(graph.settings)["left"].retry_at is None


def test_an_environment_fault_is_retried_later(make: MakeGraph) -> None:
    graph = make(environment_retry_seconds=3600)
    graph.full = {"left"}
    assert graph.until_quiet() == ["index", "left", "right"]
    assert graph.tick().skip_message == UP_TO_DATE, "held back"
    state = load_states(graph.settings)["left"]
    assert state.failed_version is not None
    due = state.next_try(graph.settings, state.failed_version)
    assert state.failed_at is not None
    assert due == state.failed_at + dt.timedelta(hours=1)
    graph.full = set()
    assert forget_failures(graph.settings) == 1
    assert graph.until_quiet() == ["left", "model", "level2"]
