"""One file per chunk: any order of partial replacements reads as a dictionary would."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.campus.spaces.test_tree import tree_of
from tests.occupancy.lake import rows_of
from tippers_dagster.errors import LakeError, LakeFileDamaged, LakeFileMissing
from tippers_dagster.occupancy import files
from tippers_dagster.occupancy.files import DERIVED_COUNTS, PRESENCE, SOURCE_COUNTS, Dataset, Rows
from tippers_dagster.platform.lake import Lake, open_lake
from tippers_dagster.platform.lake import s3 as s3_module
from tippers_dagster.platform.lake.folder import FolderBackend
from tippers_dagster.platform.lake.s3 import S3Backend
from tippers_dagster.settings import get_settings

CHUNK = "2025-01-06"
IDS = ["1", "10", "2", "..", "a/b", "é☃", "a b\n", '"', "A", "a", "x" * 40]

Values = dict[str, list[int]]


def rows_with(values: Values, stamp: int | None = None) -> Rows:
    found = rows_of(
        {space: pa.table({"v": pa.array(v, pa.int64())}) for space, v in values.items()}
    )
    if stamp is None:
        return found
    stamps = np.full((len(values), 2), stamp, np.uint64)
    return Rows(found.spaces, found.bounds, found.table, stamps)


def values_of(rows: Rows | None) -> Values:
    if rows is None:
        return {}
    return {space: rows.of(i)["v"].to_pylist() for i, space in enumerate(rows.spaces)}


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([0.01, 1.0, 12.0]))
def test_partial_replacements_equal_a_dictionary(seed: int, steps: int, per_root: float) -> None:
    rng = random.Random(seed)

    def some(smallest: int = 0) -> list[str]:
        return rng.sample(IDS, rng.randint(smallest, len(IDS)))

    expected: Values = {}
    with TemporaryDirectory() as folder, patch.object(files, "_ROWS_PER_ROOT", per_root):
        lake = Lake(FolderBackend(Path(folder)))
        for step in range(steps):
            if rng.random() < 0.7:
                change = {s: rng.sample(range(999), rng.choice((0, 1, 5, 400))) for s in some(1)}
                files.replace(lake, PRESENCE, CHUNK, rows_with(change, step))
                expected |= change
            else:
                gone = some()
                removed = files.remove(lake, PRESENCE, CHUNK, gone)
                assert removed == len(expected.keys() & set(gone))
                expected = {s: v for s, v in expected.items() if s not in gone}
            assert files.computed_spaces(lake, PRESENCE, CHUNK) == sorted(expected)
            asked = some()
            found = values_of(files.read(lake, PRESENCE, {CHUNK: asked}).get(CHUNK))
            assert list(found.items()) == [(s, expected[s]) for s in asked if s in expected]
        assert lake.list() == ([PRESENCE.key(CHUNK)] if expected else [])


def test_a_damaged_file_is_replaced_by_what_is_computed(tmp_path: Path) -> None:
    lake = Lake(FolderBackend(tmp_path))
    files.replace(lake, PRESENCE, CHUNK, rows_with({"a": [1], "b": [2]}))
    whole = (tmp_path / PRESENCE.key(CHUNK)).read_bytes()
    for damaged in (b"damaged", whole[:-20] + bytes(20), whole[: len(whole) // 2]):
        (tmp_path / PRESENCE.key(CHUNK)).write_bytes(damaged)
        with pytest.raises(LakeFileDamaged, match="materialise it again"):
            files.read(lake, PRESENCE, {CHUNK: ["a"]})
        assert files.remove(lake, PRESENCE, CHUNK, ["a"]) == 0
        files.replace(lake, PRESENCE, CHUNK, rows_with({"a": [3]}))
        assert values_of(files.read_every(lake, PRESENCE, CHUNK, ["a"], "")) == {"a": [3]}
        with pytest.raises(LakeFileMissing):
            files.read_every(lake, PRESENCE, CHUNK, ["b"], "")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(FolderBackend(tmp_path))


def test_empty_and_missing_spaces_differ(lake: Lake) -> None:
    assert files.read(lake, PRESENCE, {CHUNK: ["1"]}) == {}
    files.replace(lake, PRESENCE, CHUNK, rows_with({"1": []}))
    found = files.read(lake, PRESENCE, {CHUNK: ["1", "2"]})[CHUNK]
    assert values_of(found) == {"1": []}
    with pytest.raises(LakeFileMissing, match=r"2 is missing in .*presence/chunk=2025-01-06"):
        files.read_every(lake, PRESENCE, CHUNK, ["1", "2"], "Compute it.")
    every = files.read_every(lake, PRESENCE, CHUNK, ["1"], "Compute it.")
    assert values_of(every) == {"1": []}
    assert every.owner.size == 0


def test_stamps_stay_with_their_space(lake: Lake) -> None:
    files.replace(lake, PRESENCE, CHUNK, rows_with({"1": [1], "2": [2]}, 2**64 - 1))
    files.replace(lake, PRESENCE, CHUNK, rows_with({"0": [0], "2": []}, 7))
    found = files.read(lake, PRESENCE, {CHUNK: ["2", "1", "0"]})[CHUNK]
    assert found.stamps is not None
    assert found.stamps[:, 0].tolist() == [7, 2**64 - 1, 7]


def test_other_programs_find_the_spaces(lake: Lake, tmp_path: Path) -> None:
    """A plain Parquet file, sorted by space; row groups can be skipped by their statistics."""
    spaces = {f"r{i:03d}": list(range(200)) for i in range(200)}
    files.replace(lake, PRESENCE, CHUNK, rows_with(dict(reversed(spaces.items()))))
    path = tmp_path / PRESENCE.key(CHUNK)
    table = pq.read_table(path, partitioning=None)
    ids = table["space"].cast(pa.string()).to_pylist()
    assert ids == [space for space, v in spaces.items() for _ in v]
    assert pq.read_table(path, partitioning=None, filters=[("space", "=", "r150")]).num_rows == 200
    footer = pq.read_metadata(path)
    assert footer.num_row_groups > 5
    statistics = [footer.row_group(i).column(0).statistics for i in range(footer.num_row_groups)]
    ranges = [(s.min, s.max) for s in statistics]
    assert ranges == sorted(ranges)
    assert all(before[1] < after[0] for before, after in pairwise(ranges))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 5000])
def test_damaged_files_are_named(lake: Lake, content: bytes) -> None:
    lake.write_bytes(PRESENCE.key(CHUNK), content)
    with pytest.raises(LakeFileDamaged, match=r"presence/chunk=2025-01-06.*is not a readable"):
        files.read(lake, PRESENCE, {CHUNK: ["1"]})


def test_files_of_other_programs_are_named(lake: Lake) -> None:
    lake.write_table(PRESENCE.key(CHUNK), pa.table({"space": ["1"], "v": [1]}))
    with pytest.raises(LakeError, match="does not say which spaces it has"):
        files.read(lake, PRESENCE, {CHUNK: ["1"]})


def test_chunks_are_listed(lake: Lake) -> None:
    named = files.labelled_counts("a/b")
    for dataset in (PRESENCE, named, SOURCE_COUNTS):
        files.write(lake, dataset, CHUNK, rows_with({"1": [1]}))
        assert files.chunks(lake, dataset) == [CHUNK]
    assert files.chunks(lake, DERIVED_COUNTS) == []
    files.remove_chunk(lake, named, CHUNK)
    assert files.chunks(lake, named) == []


# --- counts of spaces that change level -----------------------------------------------------------
LEAF, PARENT = tree_of({"x": None}), tree_of({"x": None, "y": "x"})


def number(lake: Lake, tree: object) -> int | None:
    found = files.read_counts(lake, tree, {CHUNK: ["x"]}).get(CHUNK)  # type: ignore[arg-type]
    return None if found is None or not found.spaces else found.of(0)["v"][0].as_py()


@pytest.mark.parametrize("dataset", [SOURCE_COUNTS, DERIVED_COUNTS])
def test_counts_are_found_after_a_change_of_the_tree(lake: Lake, dataset: Dataset) -> None:
    """For good, if the chunk is never counted again."""
    files.write(lake, dataset, CHUNK, rows_with({"x": [5]}))
    assert (number(lake, LEAF), number(lake, PARENT)) == (5, 5)


def test_the_level_of_the_space_counts_while_both_have_it(lake: Lake) -> None:
    files.write(lake, SOURCE_COUNTS, CHUNK, rows_with({"x": [1], "z": [3]}))
    files.write(lake, DERIVED_COUNTS, CHUNK, rows_with({"x": [2]}))
    assert (number(lake, LEAF), number(lake, PARENT)) == (1, 2)
    assert number(lake, tree_of({"other": None})) == 2


# --- S3 -------------------------------------------------------------------------------------------
@pytest.fixture
def requests(s3, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ranges that were requested; small files count as large."""
    monkeypatch.setattr(s3_module, "TAIL", 1 << 16)
    monkeypatch.setattr(s3_module, "GAP", 1 << 10)
    found: list[str] = []
    get_range = S3Backend.get_range

    def counted(self: S3Backend, key: str, span: str, etag: str | None = None) -> object:
        found.append(span)
        return get_range(self, key, span, etag)

    monkeypatch.setattr(S3Backend, "get_range", counted)
    return found


def large(seed: int = 0) -> Values:
    rng = np.random.default_rng(seed)
    return {f"r{i:03d}": rng.integers(-(2**40), 2**40, 300).tolist() for i in range(200)}


def bytes_of(spans: list[str]) -> int:
    return sum(
        int(last) if not first else int(last) - int(first) + 1
        for first, _, last in (span.partition("-") for span in spans)
    )


def test_one_space_of_a_large_object_takes_two_requests(requests: list[str]) -> None:
    lake = open_lake(get_settings())
    expected = large()
    files.replace(lake, PRESENCE, CHUNK, rows_with(expected))
    size = len(lake.read_bytes(PRESENCE.key(CHUNK)))
    requests.clear()
    found = files.read(lake, PRESENCE, {CHUNK: ["r017"]})[CHUNK]
    assert values_of(found) == {"r017": expected["r017"]}
    assert len(requests) == 2
    assert bytes_of(requests) < size / 3
    requests.clear()
    some = ["r150", "r017", "r018", "nowhere", "r151"]
    found = files.read(lake, PRESENCE, {CHUNK: some})[CHUNK]
    assert values_of(found) == {s: expected[s] for s in some if s in expected}
    assert len(requests) == 2, "the footer is known"
    assert bytes_of(requests) < size / 8
    requests.clear()
    assert values_of(files.read(lake, PRESENCE, {CHUNK: list(expected)})[CHUNK]) == expected
    assert len(requests) == 1


def test_an_object_that_was_replaced_since_it_was_read(requests: list[str]) -> None:
    lake, other = open_lake(get_settings()), Lake(open_lake(get_settings()).backend)
    for content in (large(), large(seed=1), {"1": [1]}, {"2": [2]}):
        files.write(other, PRESENCE, CHUNK, rows_with(content))
        for _ in range(2):
            some = ["r017", "1"]
            found = files.read(lake, PRESENCE, {CHUNK: some})[CHUNK]
            assert values_of(found) == {s: content[s] for s in some if s in content}
            requests.clear()
            assert files.computed_spaces(lake, PRESENCE, CHUNK) == list(content)
            assert bytes_of(requests) == 1, "only to learn that it is the same"
    files.remove_chunk(other, PRESENCE, CHUNK)
    assert files.computed_spaces(lake, PRESENCE, CHUNK) == []
    assert files.read(lake, PRESENCE, {CHUNK: ["2"]}) == {}


def test_a_small_object_takes_one_request(requests: list[str]) -> None:
    lake = open_lake(get_settings())
    files.replace(lake, PRESENCE, CHUNK, rows_with({"1": [1, 2], "2": [3]}))
    requests.clear()
    assert values_of(files.read(lake, PRESENCE, {CHUNK: ["2"]})[CHUNK]) == {"2": [3]}
    assert len(requests) == 1


def test_an_object_that_is_replaced_while_it_is_read(
    requests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its index and its rows are of the same version."""
    lake = open_lake(get_settings())
    old, new = large(), large(seed=1)
    files.write(lake, PRESENCE, CHUNK, rows_with(old))
    once(monkeypatch, lambda: files.write(lake, PRESENCE, CHUNK, rows_with(new)))
    found = files.read(lake, PRESENCE, {CHUNK: ["r017"]})[CHUNK]
    assert values_of(found) == {"r017": new["r017"]}


def once(monkeypatch: pytest.MonkeyPatch, what: Callable[[], None]) -> None:
    """Let something happen after the index of a file was read, and before its rows are."""
    prefetch, left = s3_module.RangedObject.prefetch, [what]

    def later(self: s3_module.RangedObject, spans: list[tuple[int, int]]) -> None:
        if left:
            left.pop()()
        prefetch(self, spans)

    monkeypatch.setattr(s3_module.RangedObject, "prefetch", later)
