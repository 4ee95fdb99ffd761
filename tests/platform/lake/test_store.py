"""One interface, two backends: every test runs on a folder and on S3 over HTTP."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tippers_dagster.errors import LakeError, LakeFileMissing, SettingsError
from tippers_dagster.platform.lake import Lake, open_lake, parquet
from tippers_dagster.platform.lake.folder import FolderBackend, LocalFile
from tippers_dagster.platform.lake.keys import encode
from tippers_dagster.settings import Settings, get_settings


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest) -> Lake:
    if request.param == "s3":
        request.getfixturevalue("s3")
    return open_lake(get_settings())


def small(rows: int = 3, first: int = 0) -> pa.Table:
    return pa.table(
        {
            "device": np.arange(rows, dtype=np.uint64) + np.uint64(2**63),
            "start": pa.array(np.arange(rows) + first, pa.int64()),
            "time": pa.array(np.arange(rows), pa.timestamp("ms", "UTC")),
            "label": pa.array(["é"] * rows),
        }
    )


@pytest.mark.parametrize("rows", [0, 1, 3, 2_000, 60_000])
def test_a_table_is_read_back_unchanged(lake: Lake, rows: int) -> None:
    table = small(rows).replace_schema_metadata({"writer": "1"})
    lake.write_table("a/b.parquet", table)
    back = lake.read_table("a/b.parquet")
    assert back.equals(table, check_metadata=True)


def test_seconds_are_read_back_as_milliseconds(lake: Lake) -> None:
    lake.write_table("a.parquet", pa.table({"t": pa.array([7], pa.timestamp("s", "UTC"))}))
    back = lake.read_table("a.parquet")["t"]
    assert back.type == pa.timestamp("ms", "UTC")
    assert back.cast(pa.timestamp("s", "UTC")).cast(pa.int64()).to_pylist() == [7]


def test_columns_and_filters(lake: Lake) -> None:
    lake.write_table("a.parquet", small(10))
    assert lake.read_table("a.parquet", ["time", "device"]).column_names == ["time", "device"]
    some = lake.read_table("a.parquet", ["label"], filters=[("start", ">=", 7)])
    assert some.num_rows == 3
    assert some.column_names == ["label"]
    assert lake.read_table("a.parquet", filters=pa.compute.field("start") == 1).num_rows == 1
    with pytest.raises(LakeError, match="no column nothing"):
        lake.read_table("a.parquet", ["nothing"])


def test_options_can_be_chosen(lake: Lake) -> None:
    lake.write_table("a.parquet", small(), compression="snappy", use_dictionary=True)
    assert lake.read_table("a.parquet").equals(small())


def test_writing_replaces(lake: Lake) -> None:
    lake.write_table("a.parquet", small(3))
    lake.write_table("a.parquet", small(5))
    assert lake.read_table("a.parquet").num_rows == 5


def test_a_missing_file_has_its_own_error(lake: Lake) -> None:
    for read in (lake.read_table, lake.read_bytes):
        with pytest.raises(LakeFileMissing, match=r"none\.parquet"):
            read("none.parquet")
    assert not lake.exists("none.parquet")


def test_a_corrupt_file_is_named(lake: Lake) -> None:
    lake.write_bytes("bad.parquet", b"PAR1 this is none PAR1")
    lake.write_bytes("empty.parquet", b"")
    for key in ("bad.parquet", "empty.parquet"):
        with pytest.raises(LakeError, match=key) as caught:
            lake.read_table(key)
        assert not isinstance(caught.value, LakeFileMissing)


def test_a_truncated_file_is_named(lake: Lake) -> None:
    lake.write_table("a.parquet", small(100))
    lake.write_bytes("a.parquet", lake.read_bytes("a.parquet")[:-20])
    with pytest.raises(LakeError, match=r"a\.parquet"):
        lake.read_table("a.parquet")


def test_list_exists_delete(lake: Lake) -> None:
    keys = ["x/1/a.parquet", "x/1/b.parquet", "x/10/a.parquet", "y.parquet"]
    assert lake.list() == []
    assert list(lake.sizes()) == []
    for key in keys:
        lake.write_table(key, small())
    assert lake.list() == sorted(keys)
    assert dict(lake.sizes()) == {key: len(lake.read_bytes(key)) for key in keys}
    assert lake.list("x/1/") == keys[:2]
    assert lake.list("none/") == []
    assert lake.exists("x/1/b.parquet")
    assert not lake.exists("x/1")
    lake.delete("x/1/a.parquet")
    lake.delete("x/1/a.parquet")
    assert lake.list("x/1/") == ["x/1/b.parquet"]
    lake.delete_prefix("x/1/")
    lake.delete_prefix("x/1/")
    assert lake.list() == ["x/10/a.parquet", "y.parquet"]
    with pytest.raises(LakeError):
        lake.delete_prefix("x/1")
    with pytest.raises(LakeError):
        lake.delete_prefix("")


@pytest.mark.parametrize("space", [".", "..", "a/b", "../../x", "é☃ b", "%2E", "a+b&c?d#e", "~"])
def test_odd_space_ids(lake: Lake, space: str) -> None:
    folder = f"forecasts/{encode(space)}/"
    key = f"{folder}2025-01-06.parquet"
    lake.write_table(key, small())
    assert lake.read_table(key).num_rows == 3
    assert lake.list(folder) == [key]
    lake.delete_prefix(folder)
    assert lake.list() == []


@pytest.mark.parametrize("key", ["../a.parquet", "/a.parquet", "a/../../b", ".tmp/a"])
def test_unsafe_keys_are_refused(lake: Lake, key: str) -> None:
    for use in (lake.read_table, lake.exists, lake.delete, lake.uri):
        with pytest.raises(LakeError):
            use(key)
    with pytest.raises(LakeError):
        lake.write_table(key, small())
    with pytest.raises(LakeError), lake.open_writer(key, small().schema):
        pass


def test_many_tables(lake: Lake) -> None:
    keys = [f"many/{i}.parquet" for i in range(150)]
    assert lake.write_tables((key, small(2, i)) for i, key in enumerate(keys)) == 150
    tables = lake.read_tables([*keys, "many/none.parquet"], ["start"])
    assert tables.pop() is None
    assert [t["start"][0].as_py() for t in tables if t is not None] == list(range(150))
    assert lake.write_tables([]) == 0
    assert lake.read_tables([]) == []


def test_many_large_tables_use_threads(lake: Lake) -> None:
    keys = [f"large/{i}.parquet" for i in range(40)]
    lake.write_tables((key, small(10_000, i)) for i, key in enumerate(keys))
    tables = lake.read_tables(keys, ["start"])
    assert [t["start"][0].as_py() for t in tables if t is not None] == list(range(40))


def test_a_failure_among_many_is_raised(lake: Lake) -> None:
    keys = [f"many/{i}.parquet" for i in range(100)]
    lake.write_tables((key, small()) for key in keys)
    lake.write_bytes(keys[70], b"no")
    with pytest.raises(LakeError, match=r"many/70\.parquet"):
        lake.read_tables(keys)
    with pytest.raises(ZeroDivisionError):
        lake.write_tables((key, small(1 // (80 - i))) for i, key in enumerate(keys))


def test_a_large_table_in_pieces(lake: Lake) -> None:
    with lake.open_writer("big.parquet", small().schema) as writer:
        for i in range(5):
            writer.write(small(1000, i * 1000))
        writer.write(small(7).to_batches()[0])
        assert not lake.exists("big.parquet")
    assert writer.rows == 5007
    assert lake.read_table("big.parquet").num_rows == 5007


def test_a_writer_that_fails_leaves_the_old_file(lake: Lake) -> None:
    lake.write_table("big.parquet", small(3))

    def fail(key: str) -> None:
        with lake.open_writer(key, small().schema) as writer:
            writer.write(small(1000))
            raise RuntimeError("half way")

    for key in ("big.parquet", "new.parquet"):
        with pytest.raises(RuntimeError):
            fail(key)
    assert lake.read_table("big.parquet").num_rows == 3
    assert lake.list() == ["big.parquet"]


def test_tables_beyond_memory_are_streamed(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tippers_dagster.platform.lake.store._IN_MEMORY_BYTES", 1000)
    lake.write_table("a.parquet", small(500))
    assert lake.read_table("a.parquet").equals(small(500))


def test_readers_see_whole_files_while_they_are_replaced(lake: Lake) -> None:
    lake.write_table("a.parquet", small(1))

    def write(rows: int) -> None:
        for _ in range(10):
            lake.write_table("a.parquet", small(rows))

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, rows) for rows in (1, 100, 3000)]
        seen = {lake.read_table("a.parquet").num_rows for _ in range(60)}
        for writer in writers:
            writer.result()
    assert seen <= {1, 100, 3000}
    assert lake.list() == ["a.parquet"]


def test_bytes_uri_sync(lake: Lake) -> None:
    lake.write_bytes("models/m.bin", b"\0\1")
    assert lake.read_bytes("models/m.bin") == b"\0\1"
    assert lake.uri("models/m.bin").endswith("/lake/models/m.bin")
    assert lake.uri().endswith("/lake")
    lake.sync()
    assert lake.list() == ["models/m.bin"]


# --- parts of a table -----------------------------------------------------------------------------
def in_groups(lake: Lake, groups: Sequence[Sequence[int]], **metadata: str) -> None:
    tables = [pa.table({"v": pa.array(values, pa.int64())}) for values in groups]
    metadata["groups"] = str(len(groups))
    lake.write_groups("parts.parquet", tables[0].schema, tables, metadata)


def group(lake: Lake, number: int) -> list[int]:
    # What is chosen must follow from the metadata: first they may be those of an older file.
    table = lake.read_groups("parts.parquet", lambda m: list(range(int(m[b"groups"])))[number:][:1])
    values: list[int] = table["v"].to_pylist()
    return values


@given(
    st.lists(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=1, max_size=3))
)
@hypothesis_settings(deadline=None, max_examples=40)
def test_parts_are_those_of_the_present_file(versions: list[list[list[int]]]) -> None:
    """Footers are kept, so files of the same size must not be confused."""
    with TemporaryDirectory() as folder:
        lake = Lake(FolderBackend(Path(folder)))
        for number, groups in enumerate(versions):
            in_groups(lake, groups, version=str(number % 2))
            for _ in range(2):
                assert lake.read_metadata("parts.parquet")[b"version"] == b"%d" % (number % 2)
                assert [group(lake, i) for i in range(len(groups))] == groups


def test_a_footer_is_parsed_once(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = Mock(side_effect=parquet.Footer)
    monkeypatch.setattr(parquet, "Footer", parsed)
    in_groups(lake, [[1], [2, 3]])
    assert [group(lake, 1), group(lake, 0)] == [[2, 3], [1]]
    assert parsed.call_count == 1
    in_groups(lake, [[1], [2, 3], [4]])
    assert group(lake, 2) == [4]
    assert parsed.call_count == 2
    lake.delete("parts.parquet")
    with pytest.raises(LakeFileMissing):
        group(lake, 1)


def test_few_footers_are_kept() -> None:
    footers = parquet.Footers(limit=1000)
    files = {str(i): parquet.encode(pa.table({"v": [i]})) for i in range(20)}
    for _ in range(2):
        for key, data in files.items():
            opened, footer = footers.open(key, LocalFile(pa.BufferReader(data)))
            assert opened.read()["v"].to_pylist() == [int(key)]
            assert len(footer.tail) < 1000
    assert 0 < sum(len(footer.tail) for footer in footers._known.values()) <= 1000


def test_some_columns_are_read(lake: Lake) -> None:
    table = small(80)
    with lake.open_writer("c.parquet", table.schema) as writer:
        for begin in (0, 40):
            writer.write(table.slice(begin, 40))
    assert lake.read_columns("c.parquet", ["device"]) == table.select(["device"])
    with pytest.raises(LakeError, match="has no column nope"):
        lake.read_columns("c.parquet", ["nope"])


def test_small_files_are_lean_and_large_ones_have_statistics() -> None:
    lean = pq.ParquetFile(pa.BufferReader(parquet.encode(small(100)))).metadata.row_group(0)
    assert lean.column(1).compression == "LZ4"
    assert lean.column(1).statistics is None
    large = pq.ParquetFile(pa.BufferReader(parquet.encode(small(60_000)))).metadata.row_group(0)
    assert large.column(1).compression == "ZSTD"
    assert large.column(1).statistics.max == 59_999


@pytest.mark.parametrize("url", ["s3://", "gs://bucket/x", "http://host/x"])
def test_an_unusable_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        open_lake(Settings(lake_url=url))


def test_a_file_url_is_a_folder(tmp_path) -> None:
    lake = open_lake(Settings(lake_url=f"file://{tmp_path}/a%20b"))
    lake.write_table("x.parquet", small())
    assert (tmp_path / "a b" / "x.parquet").is_file()
