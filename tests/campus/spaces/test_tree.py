"""Valid and invalid space trees of sources."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.campus.spaces.tree import SpaceTree, load_tree
from tippers_dagster.errors import BadInput, SourceError
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

Parents = dict[str, str | None]


def tree_of(parents: Parents) -> SpaceTree:
    return SpaceTree.from_table(table_of(list(parents.items())))


def table_of(rows: list[tuple[str | None, str | None]]) -> pa.Table:
    ids, above = [list(column) for column in zip(*rows, strict=True)]
    text = pa.string()
    return pa.table(
        {
            "space_id": pa.array(ids, text),
            "space_name": pa.array([None if i is None else f"Space {i}" for i in ids], text),
            "parent_space_id": pa.array(above, text),
            "building_room": pa.nulls(len(ids), text),
        }
    )


@st.composite
def forests(draw: st.DrawFn) -> Parents:
    """Any depth, several roots, rows in any order."""
    n = draw(st.integers(1, 30))
    parents = {
        f"s{i}": None if i == 0 else draw(st.sampled_from([None, *(f"s{j}" for j in range(i))]))
        for i in range(n)
    }
    return dict(draw(st.permutations(list(parents.items()))))


def below(parents: Parents, space: str) -> set[str]:
    return {space}.union(*(below(parents, s) for s, parent in parents.items() if parent == space))


@given(parents=forests())
def test_subtrees_children_and_depths(parents: Parents) -> None:
    tree = tree_of(parents)
    assert set(tree.ids) == set(parents)
    assert set(tree.roots) == {space for space, parent in parents.items() if parent is None}
    for space, parent in parents.items():
        subtree = tree.subtree(space)
        assert subtree[0] == space
        assert set(subtree) == below(parents, space)
        assert len(subtree) == len(set(subtree))
        assert set(tree.children(space)) == {s for s, above in parents.items() if above == space}
        at = tree.index[space]
        assert tree.is_leaf[at] == (below(parents, space) == {space})
        if parent is None:
            assert tree.parent[at] == -1
            assert tree.depth[at] == 0
        else:
            assert tree.ids[tree.parent[at]] == parent
            assert tree.depth[at] == tree.depth[tree.index[parent]] + 1


@given(parents=forests(), data=st.data())
def test_sums_and_ancestors(parents: Parents, data: st.DataObject) -> None:
    tree = tree_of(parents)
    n = len(tree)
    big = st.integers(0, 2**64 - 1)
    values = np.array([data.draw(big) for _ in range(n)], np.uint64)
    sums = tree.subtree_sums(values)
    for i, space in enumerate(tree.ids):
        expected = sum(int(values[tree.index[s]]) for s in below(parents, space)) % 2**64
        assert int(sums[i]) == expected
    for depth in range(int(tree.depth.max()) + 2):
        found = tree.ancestors_at(depth)
        for i in range(n):
            above = i
            while above >= 0 and tree.depth[above] > depth:
                above = int(tree.parent[above])
            expected = above if above >= 0 and tree.depth[above] == depth else -1
            assert found[i] == expected


def test_an_empty_parent_is_a_root_and_a_missing_name_the_id() -> None:
    table = table_of([("1", ""), ("2", "1")]).set_column(
        1, "space_name", pa.array([None, "Room"], pa.string())
    )
    tree = SpaceTree.from_table(table)
    assert tree.roots == ["1"]
    assert tree.names == ("1", "Room")
    assert "2" in tree
    assert "3" not in tree
    assert len(tree) == 2


def test_a_deep_chain() -> None:
    chain = {f"s{i}": f"s{i - 1}" if i else None for i in range(3000)}
    tree = tree_of(chain)
    assert tree.depth.max() == 2999
    assert len(tree.subtree("s1")) == 2999


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", None), (None, "a")], "without a space_id"),
        ([("a", None), ("", "a")], "without a space_id"),
        ([("a", None), ("b", "a"), ("b", None)], r"occur twice: b\."),
        ([("a", None), ("b", "gone"), ("c", "lost")], r"b \(parent gone\), c \(parent lost\)"),
        ([("a", None), ("b", "c"), ("c", "d"), ("d", "b"), ("e", "d")], "ancestors.*b, c, d, e"),
        ([("a", "a")], "ancestors.*: a"),
    ],
)
def test_no_forest(rows: list[tuple[str | None, str | None]], message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        SpaceTree.from_table(table_of(rows))
    assert caught.value.hint


def test_many_offending_spaces_are_counted_not_listed() -> None:
    rows: list[tuple[str | None, str | None]] = [(f"s{i}", "gone") for i in range(500)]
    with pytest.raises(SourceError, match="and 490 more") as caught:
        SpaceTree.from_table(table_of(rows))
    assert len(caught.value.message) < 1000


def test_an_unknown_space_is_refused_with_similar_ids() -> None:
    tree = tree_of({"building-1": None, "room-12": "building-1"})
    with pytest.raises(BadInput, match="no space 'room12'") as caught:
        tree.subtree("room12")
    assert "room-12" in (caught.value.hint or "")
    with pytest.raises(BadInput) as caught:
        tree.position("Space room-12")
    assert "room-12 (Space room-12)" in (caught.value.hint or "")


def test_an_empty_source_says_how_to_fill_it(stack: Settings) -> None:
    create_source_schema(stack)
    with pytest.raises(SourceError, match="has no spaces") as caught:
        load_tree(stack)
    assert "tippers ingest spaces" in (caught.value.hint or "")


def test_a_tree_is_built_again_only_when_spaces_change(stack: Settings) -> None:
    create_source_schema(stack)
    add = sa.text("INSERT INTO source.space (space_id) VALUES (:space)")
    with warehouse_engine(stack).begin() as connection:
        connection.execute(add, {"space": "hall"})
    tree = load_tree(stack)
    assert load_tree(stack) is tree
    with warehouse_engine(stack).begin() as connection:
        connection.execute(add, {"space": "attic"})
    assert load_tree(stack).ids == ("attic", "hall")
    assert tree.ids == ("hall",)
