"""Reading files: what is right is read whole, what is wrong is named."""

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tippers_dagster.campus.intake import files
from tippers_dagster.campus.intake.files import Malformed, file_sha256, open_rows
from tippers_dagster.errors import BadInput

WANTED = {"a": None, "b": "other_b"}


def _read(path: Path) -> tuple[dict[str, list[str]], list[int], list[Malformed], list[str]]:
    with open_rows(path, WANTED) as file:
        batches = list(file.batches())
        columns = pa.concat_tables([b.columns for b in batches]).to_pydict()
        numbers = np.concatenate([b.row_numbers for b in batches]).tolist()
        return columns, numbers, file.malformed, file.ignored


def _csv(folder: Path, content: bytes) -> Path:
    path = folder / "file.csv"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,x\n2,y\n",
        b"\xef\xbb\xbfa,b\n1,x\n2,y\n",
        b"a,b\r\n1,x\r\n2,y\r\n",
        b'b,"a"\nx,1\n"y",2',
        b" A ,other_b\n1,x\n2,y\n",
        gzip.compress(b"a,b\n1,x\n2,y\n"),
    ],
    ids=["plain", "bom", "crlf", "order and quotes", "other names", "gzip"],
)
def test_csv_is_read(tmp_path: Path, content: bytes) -> None:
    columns, numbers, malformed, ignored = _read(_csv(tmp_path, content))
    assert columns == {"a": ["1", "2"], "b": ["x", "y"]}
    assert (numbers, malformed, ignored) == ([1, 2], [], [])


def test_values_stay_text_and_nulls_are_recognised(tmp_path: Path) -> None:
    content = 'a,b,c\n007,"x, ""y"""\nNULL,\n\\N,"é 漢"\n'.replace("\n", ",\n", 4).encode()
    columns, _, _, ignored = _read(_csv(tmp_path, content.replace(b"c,\n", b"c\n")))
    assert columns == {"a": ["007", None, None], "b": ['x, "y"', None, "é 漢"]}
    assert ignored == ["c"]


def test_rows_with_other_numbers_of_fields_keep_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 64)
    rows = [f"{i},x" for i in range(1, 101)]
    rows[2], rows[49], rows[99] = "3", "50,x,y", "100"
    columns, numbers, malformed, _ = _read(_csv(tmp_path, "\n".join(["a,b", *rows, ""]).encode()))
    assert numbers == [int(a) for a in columns["a"]]
    assert [m.row_number for m in malformed] == [3, 50, 100]
    assert malformed[1] == Malformed(50, "3 fields instead of 2", "50,x,y")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a,b", "has no rows"),
        (b"a,c\n1,2\n", "has no column b; its columns are: a, c"),
        (b"a;b\n1;2\n", "has no column a, b; its columns are: a;b"),
        (b"a,A,b\n1,2,3\n", "has the column a 2 times"),
        (b"a,b\n1,x\n2,\xff\n", "not UTF-8: byte 0xff at offset 10, line 3"),
        ("a,b\n1,2\n".encode("utf-16"), "is UTF-16"),
        (b'a,b\n1,x\n2,"y\n3,z\n4,w\n', "row 2, column b: a value with a line break"),
        (b"a,b\n1," + b"x" * (30 << 20) + b"\n", "has a row of more than 8 MiB"),
        (gzip.compress(b"a,b\n" + b"1,2\n" * 10_000)[:-30], "damaged or truncated"),
    ],
    ids=[
        "empty",
        "header only",
        "column missing",
        "semicolons",
        "column twice",
        "latin-1",
        "utf-16",
        "open quote",
        "endless row",
        "cut gzip",
    ],
)
def test_csv_that_cannot_be_read(tmp_path: Path, content: bytes, message: str) -> None:
    path = _csv(tmp_path, content)
    with pytest.raises(BadInput) as caught:
        _read(path)
    assert message in str(caught.value)
    assert str(path) in caught.value.message


def test_parquet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file.whatever"
    pq.write_table(pa.table({"b": ["x", None], "c": [0, 0], "a": [1, 2]}), path)
    columns, numbers, _, ignored = _read(path)
    assert columns == {"b": ["x", None], "a": [1, 2]}
    assert (numbers, ignored) == ([1, 2], ["c"])


@pytest.mark.parametrize("keep", [4, 100, -1])
def test_truncated_parquet(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "file.parquet"
    pq.write_table(pa.table({"a": ["x"] * 1000, "b": ["y"] * 1000}), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadInput, match="cannot be read as Parquet"):
        _read(path)


def test_damaged_parquet_page(tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    values = [str(i) for i in range(100_000)]
    pq.write_table(pa.table({"a": values, "b": values}), path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[1000:200_000] = bytes(199_000)
    path.write_bytes(content)
    with pytest.raises(BadInput, match="cannot be read as Parquet"):
        _read(path)


def test_csv_under_the_name_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match="does not begin with PAR1"):
        _read(path)


def test_paths_that_are_not_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="There is no file"):
        file_sha256(tmp_path / "none.csv")
    with pytest.raises(BadInput, match="is a folder"):
        file_sha256(tmp_path)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = _csv(tmp_path, b"a,b\n1,x\n")
    with open_rows(path, WANTED) as file:
        batches = file.batches()
        next(batches)
        path.write_bytes(b"a,b\n1,x\n2,y\n")
        with pytest.raises(BadInput, match="changed while"):
            next(batches)
