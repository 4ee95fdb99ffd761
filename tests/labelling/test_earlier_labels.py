"""Earlier labels of a label model, and comparisons with them."""

from __future__ import annotations

import pytest

from tests.labelling.small import FUNCTIONS, World, fill
from tippers_dagster.labelling import earlier_labels
from tippers_dagster.labelling.earlier_labels import ABSENT, moved_labels, read_earlier_labels
from tippers_dagster.labelling.labels import NotLabelled, read_labels
from tippers_dagster.platform.lake import open_lake

N = 120


def run(world: World) -> None:
    assert world.run().success


def labels(world: World) -> dict[str, str]:
    rows = read_labels(world.settings, "device", "kind_of").to_pylist()
    return {row["mac_address"]: row["label"] or row["outcome"] for row in rows}


def test_changes_are_counted_per_entity(world: World) -> None:
    assert read_earlier_labels(world.settings, "device", "kind_of") == []
    run(world)
    first = labels(world)
    world.replace_model(labelling_functions=tuple(f.ref.name for f in FUNCTIONS[:4]))
    run(world)
    second = labels(world)
    after, before = read_earlier_labels(world.settings, "device", "kind_of")
    assert after.at > before.at
    assert (after.entities, before.entities) == (N, N)
    assert len(after.details["functions"]) == 4
    assert len(before.details["functions"]) == len(FUNCTIONS)
    moves = moved_labels(world.settings, "device", "kind_of", before.version, after.version)
    truth: dict[tuple[str, str], int] = {}
    for key, label in first.items():
        move = (label, second[key])
        truth[move] = truth.get(move, 0) + 1
    assert {(a, b): n for a, b, n in moves} == truth
    assert any(a != b for a, b, _ in moves)
    assert [n for *_, n in moves] == sorted((n for *_, n in moves), reverse=True)
    lake = open_lake(world.settings)
    kept = [key for key in lake.list() if "/past/" in key]
    assert len(kept) == 2
    assert lake.read_table(kept[0]).column_names == ["device_id", "label"]


def test_added_and_removed_entities_are_counted(world: World) -> None:
    run(world)
    fill(world, N - 5)
    world.replace_model(seed=7)
    run(world)
    after, before = read_earlier_labels(world.settings, "device", "kind_of")
    moves = moved_labels(world.settings, "device", "kind_of", before.version, after.version)
    back = moved_labels(world.settings, "device", "kind_of", after.version, before.version)
    assert sum(n for _, b, n in moves if b == ABSENT) == 5
    assert sum(n for a, _, n in back if a == ABSENT) == 5


def test_only_a_few_different_versions_are_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earlier_labels, "KEPT", 2)
    run(world)
    run(world)
    (first,) = read_earlier_labels(world.settings, "device", "kind_of")
    for seed in (5, 6):
        world.replace_model(seed=seed)
        run(world)
    kept = [one.version for one in read_earlier_labels(world.settings, "device", "kind_of")]
    assert len(kept) == 2
    assert first.version not in kept
    with pytest.raises(NotLabelled, match="no longer kept"):
        moved_labels(world.settings, "device", "kind_of", first.version, kept[0])
    lake = open_lake(world.settings)
    assert len([key for key in lake.list() if "/past/" in key]) == 2
