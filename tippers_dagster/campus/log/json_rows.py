"""Rows of a JSON file, in bounded memory: lines, documents, or a list of records.

Every value becomes text: numbers and booleans as JSON writes them, a list or an object as JSON.
Lists of records within a record can be exploded into a row each.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tippers_dagster.campus.log.json_text import (
    Records,
    first_document,
    list_of_records,
    paths_of,
)
from tippers_dagster.campus.log.rows import (
    BLOCK_BYTES,
    MAX_VALUE_CHARACTERS,
    Batch,
    Malformed,
    TextFile,
)
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.text import shown

Path = tuple[str, ...]
"""The keys that lead to a value."""

SEARCHED_RECORDS = 1000
"""Records whose keys are the columns of a file."""
MAX_COLUMNS = 5000
BATCH_ROWS = 1 << 16
MAX_REPEATED_CHARACTERS = 1000
"""Longer values are cut when a record becomes several rows; no text of a log may be so long."""
MAX_EXPLODED_BYTES = 1 << 30
"""Bytes that the rows of one block of text may have."""

_SETTINGS = {
    "threads": "1",
    "memory_limit": "'2GB'",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "temp_directory": "''",
    "enable_external_access": "false",
    "lock_configuration": "true",
}
_WHITE = " \t\r\n"


@dataclass(frozen=True)
class Shape:
    """How the records of a file are laid out."""

    kind: str
    start: int = 0
    """Where the records begin, in bytes."""
    depth: int | None = None
    """How many lists and objects surround them; ``None``: each line is a record."""


class JsonRows:
    """A JSON file: a record per line, documents one after another, or a list of records.

    Parameters
    ----------
    file
        The file.
    records
        The keys that lead to the list of records; none: the first list of objects, if the file is
        one document.
    explode
        The keys that lead to lists within a record, each within the one before: a row for each of
        their items. A record without the list, or with an empty one, is one row.

    Raises
    ------
    BadInput
        When there is no such list.
    """

    def __init__(self, file: TextFile, records: Path = (), explode: Sequence[Path] = ()) -> None:
        self._file, self._explode = file, tuple(explode)
        head = file.head(BLOCK_BYTES)
        whole = len(head) < BLOCK_BYTES
        self.shape = _shape(file, head, whole, records, self._explode)
        self.paths = self._paths(head, whole=whole)
        """The path of each column, by its name."""
        if not self.paths and not whole:
            raise self._too_long()

    def batches(
        self, stream: pa.NativeFile, chosen: Mapping[str, str], malformed: list[Malformed]
    ) -> Iterator[Batch]:
        """Read some columns as text.

        Parameters
        ----------
        stream
            The file's content as UTF-8.
        chosen
            The name of each column, and the requested one. Names that are not in ``paths`` are
            keys, joined by dots.
        malformed
            Lines that hold no JSON object are appended here, and are in no batch.

        Raises
        ------
        BadInput
            When the file is damaged, or becomes too large when its records are exploded.
        """
        paths = [self.paths.get(name, tuple(name.split("."))) for name in chosen]
        sql = _query(paths, self._explode)
        names = ["n", *chosen.values()]
        number = 0
        with self._errors(), _connection() as connection:
            for block in self._blocks(stream):
                lines, number = self._lines(connection, block, number, malformed)
                size = 0
                rows = _selected(connection, lines, sql)
                for batch in rows.to_arrow_reader(BATCH_ROWS):
                    size += batch.nbytes
                    if size > MAX_EXPLODED_BYTES:
                        raise BadInput(
                            f"{self._file.path}: up to record {number}, the rows of "
                            f"{len(block):,} bytes take more than {MAX_EXPLODED_BYTES:,}.",
                            "Explode fewer lists.",
                        )
                    table = pa.table(batch.columns, names=names)
                    yield Batch(table.drop_columns("n"), table["n"].to_numpy())

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with self._file.errors():
                yield
        except (pa.ArrowInvalid, duckdb.Error) as error:
            raise BadInput(
                f"{self._file.path} cannot be read as JSON: {shown(str(error), 300)}",
                "Is it damaged?",
            ) from error

    def _blocks(self, stream: pa.NativeFile, *, cut: bool = False) -> Iterator[bytes]:
        """Whole lines with a record each; ``cut``: whether the text may end anywhere."""
        stream.read(self.shape.start)
        depth = self.shape.depth
        records = None if depth is None else Records(depth)
        rest, size = b"", 0
        while block := stream.read(BLOCK_BYTES):
            size += len(block)
            self._file.check_unpacked(size)
            text = rest + (block if records is None else records.lines(block))
            end = text.rfind(b"\n") + 1
            if len(text) - end > BLOCK_BYTES:
                raise self._too_long()
            if end:
                yield text[:end]
            rest = text[end:]
        if rest and (not cut or (records is not None and records.closed)):
            yield rest
        if records is not None and not cut:
            self._check_end(records)

    def _too_long(self) -> BadInput:
        return BadInput(
            f"{self._file.path} has a record of more than {BLOCK_BYTES >> 20} MiB.",
            "Is a quote or a bracket left open? If the records are in a list within a document, "
            "say where: records in the mapping.",
        )

    def _check_end(self, records: Records) -> None:
        path = self._file.path
        if records.broken or not records.ended:
            raise BadInput(
                f"{path} is broken or incomplete JSON: its brackets do not match.",
                "Was it truncated?",
            )
        if records.follows:
            raise BadInput(
                f"{path} has more than one JSON document with a list of records.",
                "Write each on a line of its own, and say in the mapping which list to explode.",
            )

    def _lines(
        self,
        connection: duckdb.DuckDBPyConnection,
        block: bytes,
        last: int,
        malformed: list[Malformed],
    ) -> tuple[pa.Table, int]:
        """The lines that hold an object, with their numbers after ``last``; the last number."""
        texts = _texts(block)
        state = _selected(connection, pa.table({"line": texts}), _STATE)
        states: NDArray[np.int8] = state.to_arrow_table()["state"].to_numpy()
        good = states == _OBJECT
        if good.all():
            numbers = np.arange(last + 1, last + 1 + len(texts))
            return pa.table({"n": numbers, "line": texts}), last + len(texts)
        bad = pc.utf8_trim_whitespace(texts.filter(pa.array(~good)))
        counted = np.ones(len(texts), bool)
        counted[~good] = pc.not_equal(bad, "").to_numpy(zero_copy_only=False)
        numbers = last + np.cumsum(counted)
        spoilt = np.flatnonzero(counted & ~good)
        shown_texts = texts.take(pa.array(spoilt))
        for at, text in zip(spoilt.tolist(), shown_texts, strict=True):
            line = text.as_py().strip()[:MAX_VALUE_CHARACTERS]
            malformed.append(Malformed(int(numbers[at]), _REASONS[int(states[at])], line))
        kept = pa.array(good)
        table = pa.table({"n": numbers, "line": texts}).filter(kept)
        return table, int(numbers[-1])

    def _paths(self, head: bytes, *, whole: bool) -> dict[str, Path]:
        exploded = frozenset(self._explode)
        found: dict[str, Path] = {}
        lines = (
            line
            for block in self._blocks(pa.BufferReader(head), cut=not whole)
            for line in block.split(b"\n")
            if line.strip()
        )
        for line in islice(lines, SEARCHED_RECORDS):
            for path in paths_of(line.decode("utf-8", "replace"), exploded):
                found.setdefault(".".join(path), path)
                if len(found) > MAX_COLUMNS:
                    raise BadInput(
                        f"{self._file.path} has more than {MAX_COLUMNS:,} different keys.",
                        "Are values used as keys?",
                    )
        return found


def _shape(
    file: TextFile, head: bytes, whole: bool, records: Path, explode: Sequence[Path]
) -> Shape:
    mark = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    text = head[mark:].decode("utf-8", "surrogateescape")
    is_list = text.lstrip(_WHITE).startswith("[")
    end = None if is_list else first_document(text)
    is_single = whole and end is not None and not text[end:].strip(_WHITE)
    # A document with the list that is taken apart is a record itself.
    is_record = bool(explode) and (
        not is_single or any(path[:1] == explode[0][:1] for path in paths_of(text, frozenset()))
    )
    if records or is_list or (not is_record and (end is None or is_single)):
        found = list_of_records(text, records or None)
        if found is not None:
            before = text[: found[0]].encode("utf-8", "surrogateescape")
            return Shape("JSON list", mark + len(before), found[1])
        if records:
            raise BadInput(
                f"{file.path} has no list {'.'.join(records)} in its first "
                f"{BLOCK_BYTES >> 20} MiB.",
                "Correct records in the mapping.",
            )
    return Shape("JSON lines", mark) if end is not None else Shape("JSON documents", mark, 0)


# --- parsing ------------------------------------------------------------------------------------
_BROKEN, _VALUE, _OBJECT = range(3)
_REASONS = {_BROKEN: "not JSON", _VALUE: "not a JSON object"}
_STATE = f"""
SELECT CAST(CASE WHEN NOT json_valid(line) THEN {_BROKEN}
                 WHEN ltrim(line, ' ' || chr(9) || chr(13)) LIKE '{{%' THEN {_OBJECT}
                 ELSE {_VALUE} END AS TINYINT) AS state FROM lines
"""


@contextmanager
def _connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """An engine that reads nothing but what it is handed, in bounded memory."""
    with duckdb.connect(":memory:") as connection:
        for name, value in _SETTINGS.items():
            connection.execute(f"SET {name} = {value}")
        yield connection


def _selected(
    connection: duckdb.DuckDBPyConnection, lines: pa.Table, sql: str
) -> duckdb.DuckDBPyRelation:
    """The rows that a SELECT finds in the table ``lines``."""
    found = connection.from_arrow(lines).query("lines", sql)
    assert found is not None
    return found


def _texts(block: bytes) -> pa.Array:
    """The lines of a block, without a copy."""
    data = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(data == ord("\n")) + 1
    if not len(ends) or ends[-1] < len(data):
        ends = np.append(ends, len(data))
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    texts = pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(block))
    texts.validate(full=True)  # UTF-8
    return texts


def _query(paths: Sequence[Path], explode: Sequence[Path]) -> str:
    """SQL that reads the columns ``paths`` of the table ``lines``, after their numbers.

    Each list is taken apart in a step of its own, materialised: otherwise the engine parses the
    whole record again for each item.
    """
    levels: list[list[tuple[int, Path]]] = [[] for _ in range(len(explode) + 1)]
    for at, path in enumerate(paths):
        level = sum(path[: len(e)] == e for e in explode)
        levels[level].append((at, path[len(explode[level - 1]) :] if level else path))
    rows, kept = "SELECT n, line AS j FROM lines", ["n"]
    above: Path = ()
    steps: list[str] = []
    for level, found in enumerate(levels):
        texts, items = _texts_at(found), ""
        if level < len(explode):
            texts = f"list_transform({texts}, lambda t: left(t, {MAX_REPEATED_CHARACTERS}))"
            items = f", {_items(explode[level][len(above) :])} AS items"
            above = explode[level]
        read = [f"v[{place}] AS c{at}" for place, (at, _) in enumerate(found, 1)]
        source = f"(SELECT {', '.join(kept)}, {texts} AS v{items} FROM ({rows}))"
        columns = ", ".join([*kept, *read, *(["items"] if items else [])])
        stored = "MATERIALIZED " if items else ""
        steps.append(f"s{level} AS {stored}(SELECT {columns} FROM {source})")
        kept += [f"c{at}" for at, _ in found]
        rows = f"SELECT {', '.join(kept)}, unnest(items) AS j FROM s{level}"
    names = ", ".join(["n", *(f"c{at}" for at in range(len(paths)))])
    return f"WITH {', '.join(steps)} SELECT {names} FROM s{len(explode)}"


def _texts_at(paths: Sequence[tuple[int, Path]]) -> str:
    return f"json_extract_string(j, [{', '.join(_pointer(path) for _, path in paths)}]::VARCHAR[])"


def _items(path: Path) -> str:
    """The items of a list; of anything else a list with it, and of nothing, or of a list without
    items, a list with a null: no record disappears.
    """
    pointer = _pointer(path)
    every = _quoted("$" + "".join(f'."{key}"' for key in path) + "[*]")
    return (
        f"CASE WHEN json_type(j, {pointer}) IS DISTINCT FROM 'ARRAY' "
        f"THEN [json_extract(j, {pointer})] WHEN json_array_length(j, {pointer}) = 0 "
        f"THEN [NULL] ELSE json_extract(j, {every}) END"
    )


def _pointer(path: Path) -> str:
    """A path as a JSON pointer (RFC 6901), quoted for SQL."""
    return _quoted("".join(f"/{key.replace('~', '~0').replace('/', '~1')}" for key in path))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
