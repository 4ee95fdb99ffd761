"""Logs of every format come back as they were written; what cannot be read is named."""

import bz2
import csv
import datetime as dt
import decimal
import gzip
import io
import json
import tracemalloc
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tippers_dagster.campus.log import arrow_types, csv_rows, json_rows, rows
from tippers_dagster.campus.log.formats import LogFile, open_log
from tippers_dagster.campus.log.mapping import AS_FOUND, FileLayout
from tippers_dagster.campus.log.rows import Malformed
from tippers_dagster.errors import BadInput

NAMES = ["device", "when", "where", "note"]
KNOWN = [frozenset({"device", "when"})]
NULLS = {"", "NULL", "null", r"\N"}

Rows = list[dict[str, str | None]]


def _packed(content: bytes) -> bytes:
    """The same in each run, as tests are named after it."""
    return gzip.compress(content, mtime=0)


def read(
    path: Path, layout: FileLayout = AS_FOUND, known: Any = (), columns: list[str] | None = None
) -> tuple[Rows, list[int], LogFile]:
    with open_log(path, layout, known) as file:
        batches = list(file.batches(columns or file.names))
        found = [row for batch in batches for row in batch.columns.to_pylist()]
        numbers = [int(number) for batch in batches for number in batch.row_numbers]
        return found, numbers, file


def packed(content: bytes, compression: str) -> bytes:
    if compression == "zstd":
        return pa.compress(content, codec="zstd", asbytes=True)
    return {"": bytes, "gzip": _packed, "bz2": bz2.compress}[compression](content)


# --- CSV ----------------------------------------------------------------------------------------
CHARACTERS = st.characters(codec="utf-8", exclude_characters="\x00\r\n", exclude_categories=["Cs"])
CELLS = st.none() | st.text(CHARACTERS, max_size=12) | st.sampled_from([";", "a,b", '"', "|", "\t"])
TABLES = st.lists(st.tuples(*[CELLS] * len(NAMES)), min_size=1, max_size=20)
LATIN = st.characters(codec="latin-1", exclude_characters="\x00\r\n\x85")
TITLES = st.lists(
    st.text(st.characters(codec="latin-1", exclude_characters='\x00\r\n"\x85'), max_size=20),
    max_size=4,
)


def as_csv(table: list[tuple], separator: str, *, quoting: int, line_end: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=line_end)
    writer.writerow(NAMES)
    writer.writerows(table)
    return text.getvalue()


@settings(max_examples=100)
@given(
    TABLES,
    TITLES,
    st.sampled_from(",;\t|"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"]),
    st.sampled_from(["", "gzip", "zstd", "bz2"]),
    st.sampled_from(["", "sep=%s", '"sep=%s"']),
)
def test_csv_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    table: list[tuple],
    titles: list[str],
    separator: str,
    quoting: int,
    line_end: str,
    encoding: str,
    compression: str,
    told: str,
) -> None:
    if encoding == "latin-1":
        keep = lambda cell: cell and cell.encode("latin-1", "ignore").decode("latin-1")  # noqa: E731
        table = [tuple(map(keep, row)) for row in table]
    lines = [told % separator] if told else []
    lines += [title for title in titles if not title.startswith("{") and not title.startswith("[")]
    text = "".join(line + line_end for line in lines)
    text += as_csv(table, separator, quoting=quoting, line_end=line_end)
    path = tmp_path_factory.mktemp("csv") / "log"
    path.write_bytes(packed(text.encode(encoding), compression))
    said = encoding if encoding in ("utf-16-le", "utf-16-be", "latin-1") else None
    found, numbers, file = read(path, FileLayout(encoding=said), KNOWN)
    expected = [[None if cell in NULLS else cell for cell in row] for row in table]
    assert [list(row.values()) for row in found] == expected
    assert file.names == NAMES
    assert numbers == list(range(1, len(table) + 1))
    assert file.malformed == []


@pytest.mark.parametrize(
    ("content", "description", "names"),
    [
        ("mac;ap;start\na,b;c;2025-01-07 09:00\n", "CSV separated by semicolons", 3),
        ("mac,location,at\na,Campus|B|1,1\nb,Campus|B|2,2\n", "CSV separated by commas", 3),
        ("mac\tap name\n1\tx y\n", "CSV separated by tabs", 2),
        (
            "Client sessions\nGenerated: 7 January 2025, 09:00\n\nmac,ap,start\na,b,1\nc,d,2\n",
            "CSV separated by commas, 2 lines above the column names",
            3,
        ),
        (
            "Report,,\nFrom,2025-01-07,\nmac,ap,start\na,b,1\nc,,2\n",
            "CSV separated by commas, 2 lines above the column names",
            3,
        ),
        ("sep=:\nmac:ap\na:b\n", "CSV separated by ':'", 2),
        ("sep=x\nmac,ap\na,b\n", "CSV separated by commas, 1 line above the column names", 2),
        ('sep=""\nmac,ap\na,b\n', "CSV separated by commas, 1 line above the column names", 2),
        (",mac,start\n0,a,2025\n1,b,2025\n", "CSV separated by commas", 3),
        (
            "00:1a:2b:3c:4d:5e,ap1,2025-01-07 09:00\n00:1a:2b:3c:4d:5f,ap1,2025-01-07 09:00\n",
            "CSV separated by commas, without column names",
            3,
        ),
    ],
    ids=[
        "semicolons",
        "bars inside",
        "tabs",
        "titles",
        "padded titles",
        "sep",
        "sep=x",
        "sep=quote",
        "index",
        "none",
    ],
)
def test_how_a_csv_is_written(tmp_path: Path, content: str, description: str, names: int) -> None:
    path = tmp_path / "log.csv"
    path.write_text(content)
    _, numbers, file = read(path)
    assert (file.description, len(file.names)) == (description, names)
    assert numbers[0] == 1


def test_the_names_that_are_expected_decide(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("Sessions; all buildings; all days\n1;2;3\nwhen,device\n1,a;b;c\n2,d;e;f\n")
    found, _, _ = read(path, known=KNOWN)
    assert found == [{"when": "1", "device": "a;b;c"}, {"when": "2", "device": "d;e;f"}]


def test_a_csv_without_names_is_given_them(tmp_path: Path) -> None:
    path = tmp_path / "dump.tsv"
    path.write_text("kim\ta1\t7\nlee\ta2\t8\n")
    layout = FileLayout(separator="\t", header=("user", "mac", "at"))
    found, numbers, _ = read(path, layout)
    assert found[1] == {"user": "lee", "mac": "a2", "at": "8"}
    assert numbers == [1, 2]
    path.write_text("kim\ta1\n")
    _, _, file = read(path, layout)
    # Nothing is skipped when there is no line of names.
    assert file.malformed == [Malformed(1, "2 fields instead of 3", "kim\ta1")]


def test_nothing_is_skipped_where_no_line_has_names(tmp_path: Path) -> None:
    path = tmp_path / "dump.csv"
    path.write_text("1,2\n" + "00:1a:2b:3c:4d:5e,ap1,2025-01-07 09:00\n" * 3)
    found, numbers, file = read(path)
    assert (len(found), numbers) == (3, [2, 3, 4])
    assert file.malformed == [Malformed(1, "2 fields instead of 3", "1,2")]


def test_malformed_rows_keep_their_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(csv_rows.read_batches.__kwdefaults__, "block_bytes", 64)
    lines = [f"{i};x" for i in range(1, 101)]
    lines[2], lines[49], lines[99] = "3", "50;x;y", "100"
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["A title", "", "a;b", *lines, ""]))
    found, numbers, file = read(path)
    assert numbers == [int(row["a"] or 0) for row in found]
    assert [row.row_number for row in file.malformed] == [3, 50, 100]


def test_rows_may_end_with_a_separator(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("device,when,where\nd1,9:00,r1,\nd2,9:05,r2,\n")
    found, _, file = read(path)
    assert [row["where"] for row in found] == ["r1", "r2"]
    assert file.malformed == []
    path.write_text("device,when,where\nd1,9:00,r1,\nd2,9:05,r2,more\n")
    found, _, file = read(path, known=KNOWN)
    assert [row.row_number for row in file.malformed] == [1, 2]


def test_columns_are_found_in_any_letter_case(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("MAC , Start,start \na,1,2\n")
    found, _, _ = read(path, columns=["mac"])
    assert found == [{"mac": "a"}]
    with pytest.raises(BadInput, match="has the column START 2 times"):
        read(path, columns=["START"])
    with pytest.raises(BadInput, match=r"no column end; its columns are: MAC"):
        read(path, columns=["end"])


# --- JSON ---------------------------------------------------------------------------------------
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=10)
NUMBERS = st.integers(-(1 << 70), 1 << 70)
JSON_ROWS = st.lists(
    st.fixed_dictionaries(
        {"device": TEXTS},
        optional={
            "when": NUMBERS | TEXTS | st.none(),
            "open": st.booleans(),
            "at": st.fixed_dictionaries({}, optional={"ap": TEXTS, "x.y": NUMBERS}),
        },
    ),
    min_size=1,
    max_size=12,
)
COLUMNS = ["device", "when", "open", "at.ap", "at.x.y"]


def flat(record: dict[str, Any]) -> dict[str, str | None]:
    inner = record.get("at", {})
    values = {"at.ap": inner.get("ap"), "at.x.y": inner.get("x.y"), **record}
    return {name: text_of_json(values.get(name)) for name in COLUMNS}


def text_of_json(value: object) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)


@settings(max_examples=40)
@given(
    JSON_ROWS,
    st.sampled_from(["lines", "list", "wrapped", "documents"]),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.sampled_from(["", "gzip", "zstd"]),
    st.sampled_from([512, 8 << 20]),
)
def test_json_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[dict[str, Any]],
    shape: str,
    indent: int | None,
    ascii_only: bool,
    encoding: str,
    compression: str,
    block_bytes: int,
) -> None:
    # Keys of all records are in the first one.
    records = [{"device": "", "when": 0, "open": True, "at": {"ap": "", "x.y": 1}}, *records]
    dump = lambda value, indent: json.dumps(value, indent=indent, ensure_ascii=ascii_only)  # noqa: E731
    text = {
        "lines": lambda: "\n".join(dump(record, None) for record in records),
        "list": lambda: dump(records, indent),
        "wrapped": lambda: dump({"count": 1, "data": {"Items": records}, "next": None}, indent),
        "documents": lambda: "\n\n".join(dump(record, 1) for record in records),
    }[shape]()
    path = tmp_path_factory.mktemp("json") / "log"
    path.write_bytes(packed(text.encode(encoding), compression))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "BLOCK_BYTES", block_bytes)
        found, numbers, file = read(path, columns=COLUMNS)
    assert found == [flat(record) for record in records]
    assert numbers == list(range(1, len(records) + 1))
    assert file.malformed == []


def test_lines_that_are_no_records_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    lines = [
        '{"a": 1}',
        "",
        '{"a": }',
        "[2]",
        " ",
        "3",
        '{"a": "\\ud800"}',
        '{"b": 4} {}',
        '{"b": 5}',
    ]
    path.write_text("\r\n".join(lines))
    found, numbers, file = read(path, columns=["a"])
    assert (found, numbers) == ([{"a": "1"}, {"a": None}], [1, 7])
    assert [(row.row_number, row.reason) for row in file.malformed] == [
        (2, "not JSON"),
        (3, "not a JSON object"),
        (4, "not a JSON object"),
        (5, "not JSON"),
        (6, "not JSON"),
    ]


POST = {
    "type": "seen",
    "data": {
        "ap": "ap1",
        "seen": [
            {"mac": "a", "at": [{"t": 1}, {"t": 2}]},
            {"mac": "b", "at": []},
            {"mac": "c"},
            {"mac": "d", "at": None},
            {"mac": "e", "at": {"t": 3}},
        ],
    },
}
EXPLODED = FileLayout(explode=("data.seen", "data.seen.at"))


@pytest.mark.parametrize("shape", ["lines", "list", "documents"])
def test_lists_within_a_record_are_exploded(tmp_path: Path, shape: str) -> None:
    posts = [POST, {"type": "none", "data": {"ap": "ap2", "seen": []}}, {"type": "bare"}]
    path = tmp_path / "log.json"
    path.write_text(
        json.dumps(posts)
        if shape == "list"
        else "\n".join(json.dumps(p, indent=1 if shape == "documents" else None) for p in posts)
    )
    found, numbers, _ = read(path, EXPLODED)
    short = [tuple(row.values()) for row in found]
    assert list(found[0]) == ["type", "data.ap", "data.seen.mac", "data.seen.at.t"]
    assert short == [
        ("seen", "ap1", "a", "1"),
        ("seen", "ap1", "a", "2"),
        ("seen", "ap1", "b", None),
        ("seen", "ap1", "c", None),
        ("seen", "ap1", "d", None),
        ("seen", "ap1", "e", "3"),
        ("none", "ap2", None, None),
        ("bare", None, None, None),
    ]
    assert numbers == [1, 1, 1, 1, 1, 1, 2, 3]


def test_lists_are_exploded_within_the_records_of_a_document(tmp_path: Path) -> None:
    """A document with the list itself is a record; one with records has it in each."""
    record = {"mac": "m", "stays": [{"ap": "a"}, {"ap": "b"}]}
    layout = FileLayout(explode=("stays",))
    for document in ({"meta": {"rc": "ok"}, "data": [record]}, record):
        path = tmp_path / "log.json"
        path.write_text(json.dumps(document))
        found, _, _ = read(path, layout, columns=["mac", "stays.ap"])
        assert found == [{"mac": "m", "stays.ap": "a"}, {"mac": "m", "stays.ap": "b"}]


def test_keys_with_odd_characters(tmp_path: Path) -> None:
    record = {"a/b~c": "1", "it's": "2", "0": "3", "x.y": "4", "$.a": "5", 'q"': "6", "": "7"}
    path = tmp_path / "log.json"
    path.write_text(json.dumps(record) + "\n{}\n")
    found, _, _ = read(path)
    assert found == [record, dict.fromkeys(record)]


# --- Parquet ------------------------------------------------------------------------------------
DEVICES = ["aa:bb:cc:dd:ee:01", None, "aa:bb:cc:dd:ee:02", "aa:bb:cc:dd:ee:01"]
OCTETS = [d and bytes.fromhex(d.replace(":", "")) for d in DEVICES]
IDS = [uuid.UUID(int=n) for n in (1, 2, 3, 1)]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(DEVICES),
        pa.array(DEVICES, pa.large_string()),
        pa.array(DEVICES, pa.string_view()),
        pa.array(DEVICES).dictionary_encode(),
        pa.array([d and d.encode() for d in DEVICES], pa.binary()),
        pa.array([d and d.encode() for d in DEVICES], pa.large_binary()),
        pa.array(OCTETS, pa.binary(6)),
        pa.array(OCTETS, pa.binary()),
    ],
    ids=lambda column: str(column.type).split("<")[0],
)
def test_devices_of_every_type_are_the_same(tmp_path: Path, column: pa.Array) -> None:
    path = tmp_path / "log.parquet"
    nested = pa.StructArray.from_arrays([column], ["mac"])
    pq.write_table(pa.table({"device": column, "client": nested}), path)
    found, numbers, file = read(path)
    assert file.names == ["device", "client.mac"]
    assert [row["device"] for row in found] == DEVICES
    assert [row["client.mac"] for row in found] == DEVICES
    assert numbers == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", [pa.uuid(), pa.binary(16)], ids=["uuid", "bytes"])
def test_uuids_become_their_text(tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "log.parquet"
    storage = pa.array([one.bytes for one in IDS], pa.binary(16))
    column = storage if kind == pa.binary(16) else pa.ExtensionArray.from_storage(kind, storage)
    pq.write_table(pa.table({"id": column}), path)
    assert [row["id"] for row in read(path)[0]] == [str(one) for one in IDS]


NOON = dt.datetime(2025, 1, 7, 12, 0, 0)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([NOON], pa.timestamp("ns")), pa.timestamp("ns")),
        (pa.array([NOON], pa.timestamp("s")), pa.timestamp("ms")),  # Parquet has no seconds
        (pa.array([NOON], pa.timestamp("us", "UTC")), pa.timestamp("us", "UTC")),
        (pa.array([NOON.date()]), pa.date32()),
        (pa.array([1], pa.uint32()), pa.int64()),
        (pa.array([1.5], pa.float32()), pa.float64()),
        (pa.array([decimal.Decimal("1.5")]), pa.decimal128(2, 1)),
        (pa.array([(1 << 64) - 1], pa.uint64()), pa.decimal128(20)),
        (pa.array([True]), pa.bool_()),
        (pa.nulls(1), pa.string()),
        (pa.array([dt.time(1, 30)]), pa.string()),
    ],
    ids=lambda value: str(getattr(value, "type", value)),
)
def test_times_and_numbers_keep_plain_types(
    tmp_path: Path, column: pa.Array, kind: pa.DataType
) -> None:
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"at": column}), path)
    with open_log(path) as file:
        (batch,) = file.batches(["AT"])
    assert batch.columns["AT"].type == kind


def test_times_of_other_centuries_stay_themselves(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    at = pa.array([dt.datetime(9999, 12, 31)], pa.timestamp("us"))
    pq.write_table(pa.table({"at": at}), path, use_deprecated_int96_timestamps=True)
    assert read(path)[0] == [{"at": dt.datetime(9999, 12, 31)}]


def test_text_of_plain_types() -> None:
    def texts(*values: Any, kind: pa.DataType | None = None) -> list[str | None]:
        return arrow_types.text_of(pa.chunked_array([pa.array(values, kind)])).to_pylist()

    assert texts(12.0, None, 12.5, float("nan"), 1e300) == ["12", None, "12.5", "nan", "1e+300"]
    assert texts(1 << 60) == [str(1 << 60)]
    assert texts(decimal.Decimal("12.00"), decimal.Decimal("0.50")) == ["12", "0.50"]
    assert texts(True, None) == ["true", None]


def test_bytes_are_read_alike_in_all_batches(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    odd = [bytes([200, i, 1, 2, 3, 4]) for i in range(256)]
    pq.write_table(pa.table({"mac": pa.array([*odd, b"abcdef"], pa.binary())}), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tippers_dagster.campus.log.formats.PARQUET_BATCH_ROWS", 256)
        assert read(path)[0][-1] == {"mac": "61:62:63:64:65:66"}
        pq.write_table(pa.table({"mac": pa.array([*odd, b"abcdefg"], pa.binary())}), path)
        with pytest.raises(BadInput, match="neither text, nor addresses"):
            read(path)


def test_columns_that_are_no_values(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"macs": [["a"]], "mac": ["a"]}), path)
    assert read(path, columns=["mac"])[0] == [{"mac": "a"}]
    with pytest.raises(BadInput, match="Column macs is of type list"):
        read(path)


# --- what cannot be read ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("content", "layout", "message"),
    [
        (b"", AS_FOUND, "is empty"),
        (_packed(b""), AS_FOUND, "is empty"),
        (_packed(b"PK\x03\x04 a zip"), AS_FOUND, "a zip archive"),
        (_packed(_packed(b"a,b\n1,2\n")), AS_FOUND, "is compressed again"),
        (_packed(b"PAR1 and so on PAR1"), AS_FOUND, "is compressed again, or Parquet"),
        (
            "mac,ap\n1,é\n".encode("latin-1"),
            AS_FOUND,
            "is not UTF-8: byte 0xe9 at offset 9, line 2",
        ),
        ("mac,é\n1,2\n".encode("latin-1"), AS_FOUND, "is not UTF-8: byte 0xe9 at offset 4, line 1"),
        ("mac,ap\n1,é\n".encode("utf-16-le"), AS_FOUND, "UTF-16 without a byte order mark"),
        ("mac,ap\n1,2\n".encode("utf-16")[:-1], AS_FOUND, "is not utf-16"),
        (b"mac,ap\n1,\x81\n", FileLayout(encoding="windows-1252"), "is not windows-1252"),
        (b"mac,ap\n1,2\n", FileLayout(encoding="utf-16-le"), "is not utf-16-le"),
        (b"mac,ap\n", AS_FOUND, "has no rows"),
        (b"\n\n", AS_FOUND, "has no rows"),
        (b'mac,ap\n1,"2\n3,4\n5,6\n', AS_FOUND, "a value with a line break"),
        (b"mac,ap\n1,2\n", FileLayout(explode=("a",)), "is CSV: records and explode"),
        (b'{"a": 1}', FileLayout(separator=";"), "is JSON: separator and header"),
        (b'{"a": 1}\n{"a": \xff}\n', AS_FOUND, "is not UTF-8: byte 0xff at offset 15, line 2"),
        (b'{"a": 1}\n', FileLayout(records="rows"), "has no list rows in its first 8 MiB"),
        (b"[]", AS_FOUND, "has no JSON objects"),
        (b'[{"a": 1}, {"a": 2}', AS_FOUND, "its brackets do not match"),
        (b'{\n"a": 1\n}\n}\n', AS_FOUND, "its brackets do not match"),
        (b'{"r":\n[{"a": 1}]}\n{"r": [{"a": 2}]}', AS_FOUND, "more than one JSON document"),
        (
            _packed(b"mac,ap\n" + b"1,2\n" * 10_000)[:-30],
            AS_FOUND,
            "damaged or truncated",
        ),
        (_packed(b'{"a": 1}\n' * 10_000)[:-30], AS_FOUND, "damaged or truncated"),
    ],
)
def test_files_that_cannot_be_read(
    tmp_path: Path, content: bytes, layout: FileLayout, message: str
) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=message) as caught:
        read(path, layout)
    assert str(path) in caught.value.message


MEGABYTES = 40


@pytest.mark.parametrize(
    ("start", "repeated", "message"),
    [
        (b"mac,ap\n1,", b"x", "has a row of more than 8 MiB"),
        (b'mac,ap\n1,"', b"x\n", "has a row of more than 8 MiB"),
        (b'{"a": 1}\n{"a": "', b"x", "has a record of more than 8 MiB"),
        (b'{"a": "', b"x", "has a record of more than 8 MiB"),
        (b'[{"a": 1}, {"a": "', b"x", "has a record of more than 8 MiB"),
        (b'{"a": 1}\n', b"[", "has a record of more than 8 MiB"),
        (b"[", b"[", "has a record of more than 8 MiB"),
        (b'{"a": 1}\n', b'{"a":', "has a record of more than 8 MiB"),
        (b"mac,ap\n1,2\n", b"1,2\n", "when unpacked"),
        (b'{"a": 1}\n', b'{"a": 1}\n', "when unpacked"),
        (b'{"a": 1}\n', b"\n", "when unpacked"),
    ],
)
def test_hostile_text_ends_in_one_sentence_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: bytes, repeated: bytes, message: str
) -> None:
    monkeypatch.setattr(rows, "MIN_UNPACKED_LIMIT", 16 << 20)
    path = tmp_path / "log.zst"
    block = repeated * ((1 << 20) // len(repeated))
    frames = [pa.compress(start, codec="zstd", asbytes=True)]
    frames += [pa.compress(block, codec="zstd", asbytes=True)] * MEGABYTES
    path.write_bytes(b"".join(frames))
    before = pa.total_allocated_bytes()

    def read_all() -> None:
        with open_log(path) as file:
            for _ in file.batches([file.names[0]]):
                assert pa.total_allocated_bytes() - before < 300 << 20

    tracemalloc.start()
    try:
        with pytest.raises(BadInput, match=message):
            read_all()
        assert tracemalloc.get_traced_memory()[1] < 300 << 20
    finally:
        tracemalloc.stop()


def test_deeply_nested_records_are_rows_like_others(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    deep = '{"a": ' * 100_000 + "1" + "}" * 100_000
    path.write_text(f'{{"mac": "x"}}\n{deep}\n{{"mac": "y", "b": {"[" * 50_000}{"]" * 50_000}}}\n')
    found, numbers, file = read(path, columns=["mac"])
    assert [row["mac"] for row in found] == ["x", None, "y"]
    assert (numbers, file.malformed) == ([1, 2, 3], [])


def test_records_that_explode_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "MAX_EXPLODED_BYTES", 1 << 20)
    path = tmp_path / "log.json"
    path.write_text(json.dumps({"ap": "x" * 100_000, "seen": [{}] * 10_000}))
    with pytest.raises(BadInput, match="Explode fewer lists"):
        read(path, FileLayout(explode=("seen",)), columns=["ap", "seen.mac"])


def test_texts_that_repeat_endlessly_in_parquet_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow_types, "MAX_BATCH_BYTES", 10 << 20)
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"mac": ["x" * 100_000] * 5000}), path)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(BadInput, match="Column mac takes more than"):
        read(path)


def test_keys_that_are_values_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "MAX_COLUMNS", 100)
    path = tmp_path / "log.json"
    path.write_text("\n".join(json.dumps({str(i): 1}) for i in range(200)))
    with pytest.raises(BadInput, match="more than 100 different keys"):
        read(path)


def test_a_log_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text('{"a": 1}\n')
    with open_log(path) as file:
        batches = file.batches(["a"])
        next(batches)
        path.write_text('{"a": 1}\n{"a": 2}\n')
        with pytest.raises(BadInput, match="changed while"):
            list(batches)


def test_progress_reaches_the_size_of_the_file(tmp_path: Path) -> None:
    table = pa.table({"a": np.arange(200_000)})
    pq.write_table(table, tmp_path / "log.parquet")
    (tmp_path / "log.csv").write_text("a,b\n" + "1,2\n" * 200_000)
    (tmp_path / "log.json").write_text('{"a": 1}\n' * 200_000)
    for name in ("log.parquet", "log.csv", "log.json"):
        seen: list[int] = []
        with open_log(tmp_path / name) as file:
            list(file.batches(["a"], lambda done, size, seen=seen: seen.append(done)))
        assert seen[-1] == (tmp_path / name).stat().st_size
        assert seen == sorted(seen)
