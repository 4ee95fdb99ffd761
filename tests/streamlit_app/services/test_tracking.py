"""Tracking: what it adds, by whom it may be done, and what stays."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from streamlit_app.services import tracking as service
from streamlit_app.services.app import App
from tests.occupancy.lake import counts_of
from tests.streamlit_app.conftest import FIRST, UNTIL
from tippers_dagster.access.model import NotAllowed, Role
from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.campus.spaces.tracking import Tracked, list_tracked, track
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.errors import BadInput
from tippers_dagster.occupancy import datasets as store
from tippers_dagster.occupancy.tables import attempt, partition_figures
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.warehouse.engine import warehouse_engine

AsRole = Callable[[App, Role], App]
LATER = dt.date(2025, 2, 17)


def campus(app: App) -> tuple[SpaceTree, str, str]:
    """The tree, its root, and a building."""
    tree = load_tree(app.settings)
    root = tree.roots[0]
    return tree, root, max(tree.children(root), key=lambda s: tree.size[tree.index[s]])


def forget(app: App, condition: sa.ColumnElement[bool]) -> None:
    with warehouse_engine(app.settings).begin() as connection:
        connection.execute(sa.delete(partition_figures).where(condition))


def test_a_tracked_space_adds_nothing(campus_app: App) -> None:
    tree, _, hall = campus(campus_app)
    found = service.estimate(campus_app, tree, hall, FIRST, UNTIL)
    assert (found.new_spaces, found.new_chunks, found.to_compute) == (0, 0, 0)
    assert (found.spaces, found.chunks) == (int(tree.size[tree.index[hall]]), 2)
    assert found.seconds == 0


def test_new_chunks_are_computed_for_all_tracked_spaces(campus_app: App) -> None:
    tree, _, hall = campus(campus_app)
    found = service.estimate(campus_app, tree, hall, FIRST, LATER)
    inside = int(tree.size[tree.index[hall]])
    assert (found.new_spaces, found.new_chunks) == (0, 2)
    assert found.other_spaces == len(tree) - inside
    assert [level.to_compute for level in found.levels] == [
        2,
        2 * int(tree.is_leaf.sum()),
        2 * int((~tree.is_leaf).sum()),
        2,
    ]
    assert found.seconds is not None
    assert found.seconds > 0
    before = service.progress(campus_app).wanted
    service.track(campus_app, hall, FIRST, LATER)
    after = service.progress(campus_app)
    assert after.wanted - before == found.to_compute == after.pending
    assert after.seconds_left == pytest.approx(found.seconds)


def test_without_past_runs_there_is_no_time_estimate(campus_app: App) -> None:
    tree, _, hall = campus(campus_app)
    with warehouse_engine(campus_app.settings).begin() as connection:
        connection.execute(sa.text("DELETE FROM run_duration"))
    assert service.estimate(campus_app, tree, hall, FIRST, LATER).seconds is None


@pytest.mark.parametrize("end", [FIRST, dt.date(2024, 1, 1), dt.date(2080, 1, 1)])
def test_an_empty_or_far_too_long_range_is_refused(campus_app: App, end: dt.date) -> None:
    tree, _, hall = campus(campus_app)
    with pytest.raises(BadInput):
        service.estimate(campus_app, tree, hall, FIRST, end)
    with pytest.raises(BadInput):
        service.track(campus_app, hall, FIRST, end)


def test_viewers_change_nothing(campus_app: App, as_role: AsRole) -> None:
    viewer = as_role(campus_app, Role.VIEWER)
    _, root, hall = campus(campus_app)
    for refused in (
        lambda: service.track(viewer, hall, FIRST, UNTIL),
        lambda: service.create_dataset(
            viewer, "mine", space=hall, start=FIRST, end=UNTIL, interval_seconds=900
        ),
        lambda: service.untrack(viewer, Tracked(root, FIRST, UNTIL), purge=True),
        lambda: service.recompute(viewer, hall, FIRST, UNTIL, sessions=True),
        lambda: service.retry_failed(viewer),
        lambda: service.rename_dataset(viewer, "a", "b"),
        lambda: service.delete_dataset(viewer, "a"),
    ):
        with pytest.raises(NotAllowed):
            refused()
    assert service.progress(viewer).pending == 0


def test_untracking_a_range_keeps_partitions_that_others_cover(campus_app: App) -> None:
    tree, root, hall = campus(campus_app)
    service.track(campus_app, hall, FIRST, UNTIL)
    by_space = {one.tracked.space: one for one in service.tracked_ranges(campus_app, tree)}
    assert by_space[hall].frees == 0
    inside = int(tree.size[tree.index[hall]])
    assert by_space[root].frees == 2 * (len(tree) - inside)
    deleted = service.untrack(campus_app, by_space[root].tracked, purge=True)
    assert deleted > 0
    assert list_tracked(campus_app.settings) == [by_space[hall].tracked]
    lake = open_lake(campus_app.settings)
    assert counts_of(lake, hall, "2025-01-20") is not None
    assert counts_of(lake, root, "2025-01-20") is None
    with pytest.raises(BadInput, match="not tracked"):
        service.untrack(campus_app, by_space[root].tracked, purge=False)


def test_a_range_of_the_log_only(campus_app: App) -> None:
    tree, _, _ = campus(campus_app)
    track(campus_app.settings, space=None, start=FIRST, end=LATER)
    found = {one.tracked.space: one for one in service.tracked_ranges(campus_app, tree)}
    assert (found[""].name, found[""].spaces) == ("The log only, for labels", 0)
    service.untrack(campus_app, found[""].tracked, purge=True)
    assert "" not in {one.space for one in list_tracked(campus_app.settings)}


def test_recompute_makes_only_these_partitions_stale(campus_app: App) -> None:
    from tippers_dagster.occupancy.launch import materialize

    tree, _, hall = campus(campus_app)
    inside = int(tree.size[tree.index[hall]])
    number = service.recompute(campus_app, hall, UNTIL - dt.timedelta(3), UNTIL, sessions=True)
    assert number == inside + 2
    found = service.progress(campus_app)
    stale = {level.asset: level.stale for level in found.levels}
    assert stale["sessions"] == 1
    assert stale["source_occupancy"] + stale["derived_occupancy"] >= inside
    # The current counts stay readable.
    lake = open_lake(campus_app.settings)
    assert counts_of(lake, hall, "2025-01-27") is not None
    materialize(campus_app.settings, campus_app.instance)
    assert service.progress(campus_app).pending == 0


def test_recomputing_an_untracked_range_is_refused(campus_app: App) -> None:
    _, _, hall = campus(campus_app)
    with pytest.raises(BadInput, match="tracked"):
        service.recompute(campus_app, hall, LATER, LATER + dt.timedelta(7), sessions=False)


def test_failed_partitions_are_counted_and_retried(campus_app: App) -> None:
    from tippers_dagster.campus.spaces.tracking import wanted_grid
    from tippers_dagster.occupancy.records import record_attempts
    from tippers_dagster.occupancy.state import load_state

    tree, root, _ = campus(campus_app)
    forget(campus_app, partition_figures.c.space == root)
    level = load_state(campus_app.settings, wanted_grid(campus_app.settings, tree)).derived
    engine = warehouse_engine(campus_app.settings)
    for _ in range(campus_app.settings.max_tries):
        level = load_state(campus_app.settings, wanted_grid(campus_app.settings, tree)).derived
        record_attempts(engine, level, level.stale, dt.datetime.now(dt.UTC))
    with engine.begin() as connection:
        connection.execute(
            sa.update(attempt).values(requested_at=sa.text("now() - '1 day'::interval"))
        )
    found = service.progress(campus_app)
    assert found.failed == 2
    assert found.levels[2].failed_examples[0].startswith(f"{root}|")
    assert service.retry_failed(campus_app) == 2
    again = service.progress(campus_app)
    assert (again.failed, again.pending) == (0, 2)


# --- datasets ------------------------------------------------------------------------------------
def test_a_dataset_is_made_found_renamed_and_deleted(campus_app: App) -> None:
    tree, root, hall = campus(campus_app)
    about = {"start": FIRST, "end": UNTIL, "interval_seconds": 3600}
    service.create_dataset(campus_app, "hall", space=hall, description="for **us**", **about)
    service.create_dataset(campus_app, "all_of_it", space=root, **about)
    shown = {one.dataset.name: one for one in service.datasets(campus_app, tree)}
    one = shown["hall"]
    assert (one.done, one.tracked, one.shared) == (one.wanted, True, ("all_of_it",))
    assert one.wanted == 2 * int(tree.size[tree.index[hall]])
    assert one.dataset.owner == "ada"
    made_at = one.dataset.created_at
    renamed = service.rename_dataset(campus_app, "hall", "library")
    assert (renamed.name, renamed.space, renamed.description) == ("library", hall, "for **us**")
    assert renamed.created_at >= made_at
    with pytest.raises(BadInput):
        service.rename_dataset(campus_app, "library", "all_of_it")
    with pytest.raises(BadInput):
        service.rename_dataset(campus_app, "library", "No good")
    with pytest.raises(BadInput):
        service.rename_dataset(campus_app, "hall", "other")
    service.delete_dataset(campus_app, "library")
    assert [d.name for d in store.list_datasets(campus_app.settings)] == ["all_of_it"]
    # What it tracked stays.
    assert Tracked(hall, FIRST, UNTIL) in list_tracked(campus_app.settings)


def test_a_dataset_that_lost_its_tracking_says_so_and_gets_it_back(campus_app: App) -> None:
    tree, _, hall = campus(campus_app)
    service.create_dataset(
        campus_app, "hall", space=hall, start=FIRST, end=UNTIL, interval_seconds=900
    )
    for one in list_tracked(campus_app.settings):
        service.untrack(campus_app, one, purge=False)
    assert not service.datasets(campus_app, tree)[0].tracked
    assert not service.is_anything_tracked(campus_app)
    service.track_again(campus_app, "hall")
    found = service.datasets(campus_app, tree)[0]
    assert found.tracked
    assert found.done == found.wanted


def test_the_source_tells_from_when_to_when_it_has_sessions(
    campus_app: App,
) -> None:
    extent = service.source_extent(campus_app)
    assert extent is not None
    assert extent[0] in (FIRST, FIRST - dt.timedelta(1))
    assert extent[1] == UNTIL


def test_an_empty_source_has_no_extent(empty_app: App) -> None:
    create_source_schema(empty_app.settings)
    assert service.source_extent(empty_app) is None
    in_place = empty_app.settings.model_copy(
        update={"log_source": "wifi", "session_table": "not_there"}
    )
    assert service.source_extent(replace(empty_app, settings=in_place)) is None
    assert not service.is_anything_tracked(empty_app)
