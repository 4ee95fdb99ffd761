"""DuckDB in a process of its own, which opens what it is given and then closes itself.

``sandbox.py`` forks it from a process that has imported this module (``sql/template.py``). The
first line of its standard input is the setup, each further one a request, both JSON. Each answer is
a line on the file descriptor ``answers``; results are Arrow files in the private folder that the
setup names.

Tables are Parquet: files of the lake, or of the private folder. DuckDB reads them itself, through a
file system that has these files only and cannot write.

Until the database is closed nothing of any user has run; from then on SQL can reach nothing but
what was opened, and change no setting. The process ends when its input does, however the parent
ended. It imports none of our modules, so that it starts quickly and inherits no connection.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import os
import queue
import resource
import sys
import threading
import types
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

READ_AT_ONCE = 16
"""How many files' footers are read at the same time: on S3 each is a request."""

GIVEN = "given"
"""Protocol of the files that SQL reads: all others are out of reach."""

GLOBAL_SETTINGS = {
    # The same as PostgreSQL, where it differs.
    "TimeZone": "UTC",
    "default_null_order": "postgres",
    "ieee_floating_point_ops": False,
    "integer_division": True,
    "order_by_non_integer_literal": True,
    # Nothing is found, fetched or remembered.
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    # A log has many files, and many models read it.
    "parquet_metadata_cache": True,
    # Less memory: no model depends on the order in which rows are read.
    "preserve_insertion_order": False,
}
LAST_SETTINGS = {
    "allowed_directories": f"[{GIVEN}://]",
    "enable_external_access": False,
    "lock_configuration": True,
}
"""In this order, once everything is open."""

MACROS = {
    "array_lower(items, dimension)": "CASE WHEN dimension = 1 AND len(items) > 0 THEN 1 END",
    "array_remove(items, item)": "list_filter(items, lambda x: x IS DISTINCT FROM item)",
    "array_upper(items, dimension)": "CASE WHEN dimension = 1 THEN nullif(len(items), 0) END",
    "btrim(value)": "trim(value), (value, characters) AS trim(value, characters)",
    "date_bin(stride, source, origin)": "time_bucket(stride, source, origin)",
    "div(a, b)": "trunc(a / b)",
    "jsonb_array_length(value)": "json_array_length(value)",
    "regexp_like(value, pattern)": "regexp_matches(value, pattern)",
    "to_jsonb(value)": "to_json(value)",
}
"""PostgreSQL's functions that DuckDB has under another name."""

SELECT = duckdb.StatementType.SELECT

PLAIN = {
    *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "VARCHAR"),
    *("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"),
}
"""Types that results keep."""

AS_BIGINT = {"HUGEINT", "UHUGEINT", "UBIGINT", "UINTEGER", "USMALLINT", "UTINYINT"}
"""Sums of integers are HUGEINT. A value beyond bigint is an error, not another value."""


def main(answers: int, _: Sequence[str] = ()) -> None:
    """Set up, close, and serve requests until the input ends."""
    _end_first_when_memory_is_short()
    _allow_open_files()
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    with os.fdopen(answers, "w", buffering=1) as out:
        setup = json.loads(lines.get())
        connection = _answer(out, lambda: _open(setup))
        request: dict[str, Any] = {}
        while connection is not None and not request.get("last"):
            request = json.loads(lines.get())
            _answer(out, lambda: _serve(connection, setup, request))  # noqa: B023


def _read(lines: queue.SimpleQueue[bytes]) -> None:
    """Pass on the lines of standard input; end the process with them.

    Nothing has to be put in order: the database is in memory, and the parent owns the folder.
    """
    rest = b""
    # os.read, not sys.stdin: its lock would keep the process from ending.
    while piece := os.read(0, 1 << 16):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            lines.put(line)
    os._exit(1)


def _end_first_when_memory_is_short() -> None:
    with contextlib.suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text("1000")


def _answer(out: Any, work: Any) -> Any:
    """Write a line with what went well or wrong; returns what the work gave for this process."""
    try:
        given, told = work()
    except (duckdb.Error, pa.ArrowException, OSError, ValueError, MemoryError) as error:
        given, told = None, {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(told), file=out)
    return given


# --- opening ------------------------------------------------------------------------------------
def _open(setup: dict[str, Any]) -> tuple[duckdb.DuckDBPyConnection, dict[str, Any]]:
    folder = Path(setup["folder"])
    connection = duckdb.connect(":memory:")
    settings = {
        **GLOBAL_SETTINGS,
        **setup["settings"],
        "temp_directory": str(folder / "spilled"),
        "home_directory": str(folder),
        "secret_directory": str(folder / "secrets"),
    }
    for name, value in settings.items():
        _set(connection, name, value)
    connection.execute("CREATE TYPE jsonb AS JSON")
    for head, body in MACROS.items():
        connection.execute(f"CREATE MACRO {head} AS {body}")
    files = _Given()
    connection.register_filesystem(files)
    for name, given in setup["datasets"].items():
        _open_dataset(connection, files, name, setup["lake"], given)
    for name in setup["tables"]:
        _open_table(connection, files, name, folder)
    for name, sql in setup["views"]:
        _create_view(connection, name, sql)
    for name, value in LAST_SETTINGS.items():
        _set(connection, name, value)
    return connection, {}


def _set(connection: duckdb.DuckDBPyConnection, name: str, value: Any) -> None:
    connection.execute(f"SET GLOBAL {name} = {_text(str(value))}")


class _Given(fsspec.AbstractFileSystem):
    """The files that were given, opened once and read-only.

    A file that is replaced while SQL runs stays what it was.
    """

    protocol = GIVEN
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[str, pa.NativeFile] = {}

    def add(self, name: str, file: pa.NativeFile) -> str:
        """Give a file; returns its path for SQL."""
        path = quote(name, safe="/=")  # without the characters of patterns
        self._files[path] = file
        return f"{GIVEN}://{path}"

    def _file(self, path: str) -> pa.NativeFile:
        return self._files[self._strip_protocol(path)]

    def _open(self, path: str, mode: str = "rb", **_: Any) -> _GivenFile:
        if mode != "rb":
            raise PermissionError(f"{path} is read-only")
        return _GivenFile(self._file(path))

    def exists(self, path: str, **_: Any) -> bool:
        return self._strip_protocol(path) in self._files

    isfile = exists

    def glob(self, path: str, **_: Any) -> list[str]:
        if not self.exists(path):
            raise FileNotFoundError(f"{path} was not given")
        return [path]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": self._file(path).size(), "type": "file"}

    def modified(self, path: str) -> dt.datetime:
        """They do not change."""
        return dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


class _GivenFile(io.RawIOBase):
    """One of them, at a position of its own."""

    def __init__(self, file: pa.NativeFile) -> None:
        self._file = file
        self._at = 0

    @property
    def size(self) -> int:
        return self._file.size()

    def read(self, size: int = -1) -> bytes:
        found: bytes = self._file.read_at(self.size - self._at if size < 0 else size, self._at)
        self._at += len(found)
        return found

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}
        self._at = start[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _open_dataset(
    connection: duckdb.DuckDBPyConnection,
    files: _Given,
    name: str,
    lake: dict[str, Any],
    given: dict[str, Any],
) -> None:
    """A table over files of the lake; those that lack an optional column have nulls in it."""
    source, columns, optional = _filesystem(lake), given["columns"], set(given["optional"])

    def opened(key: str) -> tuple[pa.NativeFile, frozenset[str]]:
        file = source.open_input_file(f"{lake['root']}/{key}")
        missing = frozenset(columns).difference(pq.read_schema(file).names)
        if missing - optional:
            raise ValueError(f"{key} has no column {', '.join(sorted(missing - optional))}")
        return file, missing

    paths: dict[frozenset[str], list[str]] = {}
    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        for key, (file, missing) in zip(
            given["keys"], pool.map(opened, given["keys"]), strict=True
        ):
            paths.setdefault(missing, []).append(files.add(key, file))
    parts = (_select(some, columns, missing) for missing, some in paths.items())
    _create_view(connection, name, " UNION ALL ".join(parts))


def _open_table(
    connection: duckdb.DuckDBPyConnection, files: _Given, name: str, folder: Path
) -> None:
    """A table that was written for this process."""
    file = fs.LocalFileSystem().open_input_file(str(folder / f"{name}.parquet"))
    names = pq.read_schema(file).names
    _create_view(connection, name, _select([files.add(name, file)], names))


def _select(
    paths: list[str], columns: Sequence[str], missing: Collection[str] = frozenset()
) -> str:
    """The columns of files of a form; missing ones are null texts."""
    wanted = (f"NULL::VARCHAR AS {_quoted(n)}" if n in missing else _quoted(n) for n in columns)
    read = ", ".join(map(_text, paths))
    return f"SELECT {', '.join(wanted)} FROM read_parquet([{read}], hive_partitioning = false)"


def _create_view(connection: duckdb.DuckDBPyConnection, name: str, sql: str) -> None:
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(name.partition('.')[0])}")
    connection.execute(f"CREATE VIEW {_place(name)} AS {sql}")


def _allow_open_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _filesystem(lake: dict[str, Any]) -> fs.FileSystem:
    return fs.S3FileSystem(**lake["s3"]) if "s3" in lake else fs.LocalFileSystem()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _place(name: str) -> str:
    schema, _, table = name.partition(".")
    return f"{_quoted(schema)}.{_quoted(table)}"


# --- requests -----------------------------------------------------------------------------------
def _serve(
    connection: duckdb.DuckDBPyConnection, setup: dict[str, Any], request: dict[str, Any]
) -> tuple[None, dict[str, Any]]:
    folder = Path(setup["folder"])
    if "dbt" in request:
        # The answer may be larger than a pipe.
        (folder / "dbt.json").write_text(json.dumps(_dbt(connection, folder, request)))
        return None, {"file": "dbt.json"}
    cursor = connection.cursor()
    # A transaction of its own: nothing that a query does outlasts it.
    cursor.execute("BEGIN")
    try:
        (statement,) = _one_query(cursor, request["sql"])
        told: dict[str, Any] = {"columns": _described(cursor, statement.query)}
        if request.get("result"):
            told["rows"] = _write(cursor.sql(statement), folder / request["result"])
        return None, told
    finally:
        with contextlib.suppress(duckdb.Error):
            cursor.execute("ROLLBACK")
        cursor.close()


def _one_query(cursor: duckdb.DuckDBPyConnection, sql: str) -> list[duckdb.Statement]:
    found = cursor.extract_statements(sql)
    if len(found) != 1 or found[0].type != SELECT:
        raise ValueError("This is not one query.")
    return found


def _described(cursor: duckdb.DuckDBPyConnection, query: str) -> list[list[str]]:
    """Names and types of a query's columns; it is planned only.

    ``query`` is one statement as DuckDB gives it: behind an empty one, the query itself would run.
    """
    return [[row[0], row[1]] for row in cursor.execute(f"DESCRIBE {query}").fetchall()]


def _write(result: duckdb.DuckDBPyRelation, path: Path) -> int:
    """Write a result as an Arrow file, batch by batch; returns its rows."""
    reader = result.to_arrow_reader(100_000)
    rows = 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


# --- dbt ----------------------------------------------------------------------------------------
def _dbt(
    connection: duckdb.DuckDBPyConnection, folder: Path, request: dict[str, Any]
) -> dict[str, Any]:
    """Run dbt on the database; what it made is left as Arrow files.

    ``tables``: models whose rows are wanted; ``counted``: those of which only the number is;
    ``examples``: tests of which failing rows are.
    """
    _lend_to_dbt(connection)
    from dbt.cli.main import dbtRunner

    done = dbtRunner().invoke(request["dbt"])
    told: dict[str, Any] = {"success": bool(done.success), "made": {}, "examples": {}}
    told["messages"] = {
        r.node.unique_id: r.message for r in _results(done) if str(r.status) == "error"
    }
    wanted = {name: set(request.get(name, ())) for name in ("tables", "counted", "examples")}
    results = {r.node.unique_id: r for r in _results(done) if r.node.unique_id in _all(wanted)}
    if done.exception is not None:
        told["exception"] = str(done.exception)
    for unique_id, result in results.items():
        status, node = str(result.status), result.node
        if status == "success" and unique_id in wanted["tables"]:
            path = folder / f"{len(told['made'])}.arrow"
            told["made"][unique_id] = _copied(connection, str(node.relation_name), path)
        elif status == "success":
            told["made"][unique_id] = _counted(connection, str(node.relation_name))
        elif status in ("fail", "warn"):
            path = folder / f"failing{len(told['examples'])}.arrow"
            told["examples"][unique_id] = path.name
            _write(connection.sql(_some_as_text(connection, node.compiled_code)), path)
    return told


def _results(done: Any) -> Any:
    return getattr(done.result, "results", ())


def _all(wanted: dict[str, set[str]]) -> set[str]:
    return set().union(*wanted.values())


EXAMPLES = 5


def _some_as_text(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    columns = [_quoted(name) for name, _ in _described(connection, sql)]
    texts = ", ".join(f"CAST({name} AS VARCHAR) AS {name}" for name in columns)
    return f"SELECT {texts} FROM ({sql}\n) AS failing LIMIT {EXAMPLES}"


def _copied(connection: duckdb.DuckDBPyConnection, place: str, path: Path) -> dict[str, Any]:
    columns = _described(connection, f"SELECT * FROM {place}")
    wanted = ", ".join(_portable(*column) for column in columns)
    rows = _write(connection.sql(f"SELECT {wanted} FROM {place}"), path)
    return {"columns": columns, "rows": rows, "file": path.name}


def _counted(connection: duckdb.DuckDBPyConnection, place: str) -> dict[str, Any]:
    columns = _described(connection, f"SELECT * FROM {place}")
    (rows,) = connection.execute(f"SELECT count(*) FROM {place}").fetchone() or (0,)
    return {"columns": columns, "rows": rows}


def _portable(name: str, kind: str) -> str:
    """A column in a type that Arrow and CSV have; lists and others as PostgreSQL's texts."""
    quoted = _quoted(name)
    if kind in PLAIN:
        return quoted
    if kind in AS_BIGINT:
        return f"CAST({quoted} AS BIGINT) AS {quoted}"
    if kind.endswith("[]"):
        return f"{_LIST.format(quoted)} AS {quoted}"
    return f"CAST({quoted} AS VARCHAR) AS {quoted}"


_ITEM = """'"' || replace(replace(CAST(x AS VARCHAR), '\\', '\\\\'), '"', '\\"') || '"'"""
_LIST = (
    "'{{' || array_to_string(list_transform({}, lambda x: "
    f"CASE WHEN x IS NULL THEN 'NULL' ELSE {_ITEM} END), ',') || '}}}}'"
)
"""A list in PostgreSQL's form: {"a",NULL}."""


def _lend_to_dbt(connection: duckdb.DuckDBPyConnection) -> None:
    """Let dbt's environment use this database: the plugin of the profile is this module's."""
    from dbt.adapters.duckdb import environments
    from dbt.adapters.duckdb.plugins import BasePlugin

    module = types.ModuleType("tippers_sandbox")
    module.Plugin = type("Plugin", (BasePlugin,), {})  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    environments.Environment.initialize_db = classmethod(  # type: ignore[method-assign, assignment]
        lambda cls, creds, plugins=None: connection
    )
