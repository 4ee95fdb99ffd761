"""Tables as files: invalid files are reported, no cell is a formula, and values do not change."""

from __future__ import annotations

import csv
import gzip
import io
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tippers_dagster.campus.intake.files import open_rows
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.small_tables import as_text, read_table, unescape_formula
from tippers_dagster.platform.table_files import table_bytes

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''@x", "＝1"]  # noqa: RUF001
TEXTS = ["room 12", "", "'quoted'", "a=b", "' =1", "O'Hara", "12"]


def parquet(table: pa.Table, **options: object) -> bytes:
    made = io.BytesIO()
    pq.write_table(table, made, **options)
    return made.getvalue()


def packed(content: bytes, compression: str) -> bytes:
    made = pa.BufferOutputStream()
    with pa.CompressedOutputStream(made, compression) as stream:
        stream.write(content)
    return made.getvalue().to_pybytes()


def cells(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
def test_no_cell_or_header_is_a_formula_and_numbers_stay_numbers(kind: pa.DataType) -> None:
    texts = pa.array(FORMULAS + TEXTS).cast(kind)
    numbers = pa.array([-1.5] * len(texts))
    written = cells(table_bytes(pa.table([texts, numbers], ["=cmd|' /c calc'!A1", "n"]), "csv"))
    assert written[0] == ["'=cmd|' /c calc'!A1", "n"]
    assert [row[0] for row in written[1:]] == [f"'{t}" for t in FORMULAS] + TEXTS
    assert {row[1] for row in written[1:]} == {"-1.5"}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(alphabet="'=+-@ab,\"é", max_size=6), min_size=1))
def test_an_import_restores_the_exported_texts(texts: list[str]) -> None:
    table = pa.table({"=a": texts, "b": [1] * len(texts)})
    found = read_table(table_bytes(table, "csv"), "rows.csv", {"'=a": pa.string()})
    assert found.column_names == ["=a", "b"]
    assert [t or "" for t in found["=a"].to_pylist()] == texts
    assert all(unescape_formula(as_text(text)) == text for text in texts)


@pytest.mark.parametrize("compression", ["gzip", "zstd", "bz2", "lz4"])
def test_compressed_files_are_read_under_any_name(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(packed(b"a,b\n1,x\n", compression))
    assert read_table(path, path).to_pylist() == [{"a": 1, "b": "x"}]
    with open_rows(path, {"a": None}) as file:
        (batch,) = file.batches()
    assert batch.columns.to_pylist() == [{"a": "1"}]
    path.write_bytes(packed(b"a,b\n1,\xff\n", compression))
    with (
        pytest.raises(BadInput, match="byte 0xff at offset 6, line 2"),
        open_rows(path, {"b": None}) as file,
    ):
        list(file.batches())


def test_files_that_unpack_to_very_much_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tippers_dagster.campus.log.rows.MIN_UNPACKED_LIMIT", 1 << 20)
    monkeypatch.setattr("tippers_dagster.platform.small_tables.MAX_UNPACKED_BYTES", 1 << 20)
    path = tmp_path / "bomb.csv.zst"
    path.write_bytes(packed(b"a\n" + b"1\n" * (20 << 20), "zstd"))
    with (
        pytest.raises(BadInput, match=r"more than .* when unpacked"),
        open_rows(path, {"a": None}) as file,
    ):
        list(file.batches())
    with pytest.raises(BadInput, match="larger than 1 MiB unpacked"):
        read_table(path, path)
    path.write_bytes(packed(b"a," * (20 << 20), "zstd"))  # one line
    with pytest.raises(BadInput), open_rows(path, {"b": None}) as file:
        list(file.batches())


OTHERS = {
    "rows.xlsx": (b"PK\x03\x04 and so on", r"a zip archive or a workbook \(.xlsx\)"),
    "rows.xls": (b"\xd0\xcf\x11\xe0 and so on", "a workbook"),
    "rows.csv.xz": (b"\xfd7zXZ\x00 and so on", "compressed with xz"),
    "rows.db": (b"SQLite format 3\x00 and so on", "an SQLite database"),
    "rows.csv": ("a,b\n1,2".encode("utf-16"), "UTF-16, not UTF-8"),
    "rows.parquet": (b"a,b\n1,2\n", "not a Parquet file"),
    "none.csv": (b"", "is empty"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_named(tmp_path: Path, name: str) -> None:
    content, message = OTHERS[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput, match=message):
        read_table(path, path)
    with pytest.raises(BadInput, match=message), open_rows(path, {"a": None}):
        pass


ROW = {"a": ["x"], "b": ["y"]}
NOT_UTF8 = parquet(pa.table({**ROW, "zé": ["1"]}), store_schema=False)
BROKEN_NAMES = {
    "not UTF-8": (NOT_UTF8.replace("é".encode(), b"\xff\xfe"), "name is not UTF-8"),
    "CSV, not UTF-8": (b"a,b,z\xff\n1,2,3\n", "not UTF-8"),
    "twice": (parquet(pa.table([["x"], ["y"], ["z"]], ["a", "a", "b"])), "the column a"),
    "CSV, twice": (b"a,a,b\n1,2,3\n", "the column a"),
    "CSV, twice without a name": (b",,b\n1,2,3\n", r"\(no name\)"),
}
"""The message of each reader; ``open_rows`` accepts problems in columns that it does not read."""


@pytest.mark.parametrize("case", BROKEN_NAMES)
def test_invalid_column_names_are_reported(tmp_path: Path, case: str) -> None:
    content, message = BROKEN_NAMES[case]
    with pytest.raises(BadInput, match=message):
        read_table(content, "rows")
    path = tmp_path / "rows"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=message), open_rows(path, {"a": None, "b": None}):
        pass


@pytest.mark.parametrize(
    "content",
    [
        parquet(pa.table({"x" * 100_000: ["1"], "\x1b[2J": ["1"]})),
        b"x" * 100_000 + b",\x1b[2J\n1,2\n",
        parquet(pa.table({f"column {i}": [1] for i in range(5000)})),
    ],
)
def test_very_long_and_very_many_names_are_cut_in_messages(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="has no column a") as caught, open_rows(path, {"a": None}):
        pass
    assert len(str(caught.value)) < 1000 + len(str(path))
    assert "\x1b" not in str(caught.value)


def test_values_that_csv_cannot_hold_are_reported() -> None:
    with pytest.raises(BadInput, match="CSV cannot hold these rows"):
        table_bytes(pa.table({"a": [[1, 2]]}), "csv")


def test_a_few_bytes_that_encode_very_many_values_are_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = parquet(pa.table({"a": pa.repeat(1, 100_000)}))
    assert read_table(content, "rows").num_rows == 100_000
    monkeypatch.setattr("tippers_dagster.platform.small_tables.MAX_VALUES", 99_999)
    with pytest.raises(BadInput, match="100,000 rows of 1 columns"):
        read_table(content, "rows")


def test_a_few_bytes_that_encode_very_long_texts_are_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tippers_dagster.platform.small_tables.MAX_UNPACKED_BYTES", 10 << 20)
    long, many = "x" * 50_000, 300
    maps = pa.array([[("k", long)]] * many, pa.map_(pa.string(), pa.string()))
    for column in ([long] * many, [[long]] * many, [{"b": long}] * many, maps):
        content = parquet(pa.table({"a": column}))
        assert len(content) < 10_000
        with pytest.raises(BadInput, match="larger than 10 MiB unpacked"):
            read_table(content, "rows")


@pytest.mark.parametrize("stored", [True, False])
def test_texts_in_parquet_do_not_change(stored: bool) -> None:
    table = pa.table(
        {
            "text": ["a", None, "a"],
            "large": pa.array(["b", "b", None], pa.large_string()),
            "bytes": [b"\xff", None, b""],
            "lists": [["q"], [], None],
            "rows": [{"r": "q", "n": 1}, None, {"r": None, "n": 2}],
            "kinds": pa.array(["x", "y", "x"]).dictionary_encode(),
            "map": pa.array([[("k", "v")], [], None], pa.map_(pa.string(), pa.string())),
            "number": [1.5, 2.5, None],
        }
    )
    content = parquet(table, store_schema=stored)
    assert read_table(content, "rows").equals(pq.read_table(io.BytesIO(content)))


VALID = [
    b"a,b\n" + b"1,x\n" * 50,
    gzip.compress(b"a,b\n" + b"1,x\n" * 50),
    packed(b"a,b\n" + b"1,x\n" * 50, "zstd"),
    *(parquet(pa.table({"a": list("xyz") * 30, "b": [1] * 90}), compression=c)
      for c in ("zstd", "snappy", "none")),
]  # fmt: skip


def test_damaged_files_are_reported(tmp_path: Path) -> None:
    """In a separate process: Arrow reserves address space for the wrong lengths in damaged files,
    and a process with too much of it cannot start a database server.
    """
    command = "import sys; from tests.platform.test_small_tables import damage; damage(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", command, str(tmp_path / "rows")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def damage(path: str) -> None:
    """Read damaged copies of the valid files; each is read or reported."""
    chance = random.Random(7)
    for content in VALID * 150:
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 6)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        if chance.random() < 0.2:
            del damaged[chance.randrange(len(damaged)) :]
        Path(path).write_bytes(damaged)
        with suppress(BadInput):
            read_table(bytes(damaged), "rows")
        with suppress(BadInput), open_rows(Path(path), {"a": None, "b": None}) as file:
            list(file.batches())
