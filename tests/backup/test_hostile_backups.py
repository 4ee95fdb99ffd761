"""A damaged or hostile backup changes nothing, and is refused in a sentence."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow as pa
import pytest
import sqlalchemy as sa

from tests.backup.other_machine import other_machine
from tests.conftest import SessionServer
from tests.graph.conftest import bare
from tippers_dagster.backup import making, restoring
from tippers_dagster.backup.making import make_backup
from tippers_dagster.backup.manifest import BackupError
from tippers_dagster.backup.restoring import restore
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.platform.warehouse.migrate import current_revision, newest_revision
from tippers_dagster.settings import Settings
from tippers_dagster.stack.doctor import examine
from tippers_dagster.stack.supervisor import StackError, run_stack

__all__ = ["bare"]

Change = Callable[[Path, dict[str, Any]], None]


def table(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    tables = manifest["warehouse"]["tables"]
    return next(t for t in tables if ".".join(t["place"]) == name)


def with_text(folder: Path, entry: dict[str, Any], text: bytes, said: int | None = None) -> None:
    """Other rows of a table, with everything that the manifest says of them right, or not."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(text)
    content = sink.getvalue().to_pybytes()
    (folder / entry["file"]).write_bytes(content)
    entry |= {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "text_bytes": len(text) if said is None else said,
        "rows": text.count(b"\n"),
    }


def truncated(folder: Path, manifest: dict[str, Any]) -> None:
    path = folder / table(manifest, "source.space")["file"]
    path.write_bytes(path.read_bytes()[:-1])


def changed(folder: Path, manifest: dict[str, Any]) -> None:
    path = folder / "lake" / manifest["lake"][0]["key"]
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(bytes(content))


def missing(folder: Path, manifest: dict[str, Any]) -> None:
    (folder / "lake" / manifest["lake"][0]["key"]).unlink()


def outside(folder: Path, manifest: dict[str, Any]) -> None:
    manifest["lake"][0]["key"] = "../../outside"


def absolute(folder: Path, manifest: dict[str, Any]) -> None:
    table(manifest, "source.space")["file"] = "/etc/passwd"


def linked(folder: Path, manifest: dict[str, Any]) -> None:
    path = folder / "lake" / manifest["lake"][0]["key"]
    shutil.move(path, folder.parent / "elsewhere")
    path.symlink_to(folder.parent / "elsewhere")


def linked_folder(folder: Path, manifest: dict[str, Any]) -> None:
    shutil.move(folder / "lake", folder.parent / "elsewhere-lake")
    (folder / "lake").symlink_to(folder.parent / "elsewhere-lake")


def pipe(folder: Path, manifest: dict[str, Any]) -> None:
    path = folder / "lake" / manifest["lake"][0]["key"]
    path.unlink()
    os.mkfifo(path)


def statement_as_type(folder: Path, manifest: dict[str, Any]) -> None:
    column = table(manifest, "source.space")["shape"]["columns"][0]
    column["type"] = "text); CREATE TABLE public.hacked (a int); --"


def statement_as_name(folder: Path, manifest: dict[str, Any]) -> None:
    entry = table(manifest, "source.space")
    entry["place"][0] = 'x"; CREATE TABLE public.hacked (a int); --'


def statement_as_column(folder: Path, manifest: dict[str, Any]) -> None:
    table(manifest, "tippers.tracking")["columns"][0] = "a\") FROM PROGRAM 'touch /tmp/x'; --"


def system_schema(folder: Path, manifest: dict[str, Any]) -> None:
    table(manifest, "source.space")["place"] = ["pg_catalog", "pg_user"]


def unknown_table(folder: Path, manifest: dict[str, Any]) -> None:
    entry = table(manifest, "tippers.tracking")
    entry["place"] = ["tippers", "of_the_future"]


def bomb(folder: Path, manifest: dict[str, Any]) -> None:
    with_text(folder, table(manifest, "tippers.person_role"), b"\n" * (64 << 20), said=100)


def huge(folder: Path, manifest: dict[str, Any]) -> None:
    manifest["lake"][0]["bytes"] = 1 << 60


def wrong_rows(folder: Path, manifest: dict[str, Any]) -> None:
    with_text(folder, table(manifest, "tippers.grid"), b"no boolean\tweek\tUTC\n")


def ends_early(folder: Path, manifest: dict[str, Any]) -> None:
    entry = table(manifest, "tippers.vendor_prefix")
    with_text(folder, entry, b"\\.\n\n\n")


def newer(folder: Path, manifest: dict[str, Any]) -> None:
    manifest["warehouse"]["revision"] = "9999"


def other_dagster(folder: Path, manifest: dict[str, Any]) -> None:
    manifest["dagster"]["revision"] = "0123456789ab"


def other_chunk(folder: Path, manifest: dict[str, Any]) -> None:
    manifest["settings"]["chunk"] = "month"


def other_key(folder: Path, manifest: dict[str, Any]) -> None:
    manifest["keys"] = "none"


def damaged_keys(folder: Path, manifest: dict[str, Any]) -> None:
    (folder / "keys.json").write_text("[]")


def keys_of_another(folder: Path, manifest: dict[str, Any]) -> None:
    with_keys(folder, device_key="ab" * 32)


def no_device_key(folder: Path, manifest: dict[str, Any]) -> None:
    with_keys(folder, device_key="")


def no_fernet_key(folder: Path, manifest: dict[str, Any]) -> None:
    with_keys(folder, secrets_keys=["short"])


def with_keys(folder: Path, **values: object) -> None:
    path = folder / "keys.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def newer_format(folder: Path, manifest: dict[str, Any]) -> None:
    manifest["format"] = 2


CHANGES: dict[Change, str] = {
    truncated: "damaged or was changed",
    changed: "damaged or was changed",
    missing: "cannot be read",
    outside: "not a key of the lake",
    absolute: "should match pattern",
    linked: "cannot be read|is a link",
    linked_folder: "is a link",
    pipe: "special file",
    statement_as_type: "not a type of PostgreSQL's own",
    statement_as_name: "in a schema that is not one of tippers",
    statement_as_column: "does not have",
    system_schema: "in a schema that is not one of tippers",
    unknown_table: "does not have",
    bomb: "damaged or was changed",
    huge: "damaged or was changed",
    wrong_rows: "do not fit",
    ends_early: "damaged or was changed|rows, and its manifest says",
    newer: "newer one",
    other_dagster: "another version of that program",
    other_chunk: "TIPPERS_CHUNK=month",
    other_key: "has no keys",
    damaged_keys: "is damaged",
    keys_of_another: "device key of another deployment",
    no_device_key: "keys.json of the backup is damaged",
    no_fernet_key: "keys.json of the backup is damaged",
    newer_format: "cannot be used",
}


def state_of(settings: Settings) -> list[object]:
    """What a deployment has: rows of the warehouse, schemas, files."""
    home = settings.home_path
    files = sorted(str(p) for p in home.rglob("*") if p.is_file() and "/dagster/" not in str(p))
    with (
        closing(psycopg2.connect(databases(settings).warehouse)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(
            "SELECT nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = "
            "relnamespace WHERE nspname !~ '^(pg_|information_schema)' ORDER BY 1, 2"
        )
        return [files, cursor.fetchall()]


def test_a_hostile_backup_is_refused_and_changes_nothing(
    bare: Settings, session_server: SessionServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "COUNTERS_SECONDS", 0.0)
    good = tmp_path / "good"
    make_backup(bare, good, "readable")
    with other_machine(session_server, tmp_path / "second", monkeypatch) as target:
        before = state_of(target)
        for change, message in CHANGES.items():
            folder = tmp_path / "work" / change.__name__
            shutil.copytree(good, folder)
            manifest = json.loads((folder / "manifest.json").read_text())
            change(folder, manifest)
            (folder / "manifest.json").write_text(json.dumps(manifest))
            with pytest.raises(BackupError, match=message) as caught:
                restore(target, folder)
            assert len(caught.value.message) < 400, change.__name__
            assert state_of(target) == before, change.__name__
        (tmp_path / "work" / "empty").mkdir()
        for nothing in (tmp_path / "work" / "empty", tmp_path / "nowhere"):
            with pytest.raises(BackupError):
                restore(target, nothing)
        restore(target, good)
        with pytest.raises(BackupError, match="not empty"):
            restore(target, good)


def test_keys_need_the_right_passphrase(
    bare: Settings, session_server: SessionServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "COUNTERS_SECONDS", 0.0)
    make_backup(bare, tmp_path / "copy", "encrypted", b"the right passphrase")
    key = bare.device_key
    assert key is not None
    for path in (tmp_path / "copy").rglob("*"):
        assert path.is_dir() or key.get_secret_value().encode() not in path.read_bytes()
    with other_machine(session_server, tmp_path / "second", monkeypatch) as target:
        with pytest.raises(BackupError, match="are encrypted"):
            restore(target, tmp_path / "copy")
        with pytest.raises(BackupError, match="cannot be decrypted"):
            restore(target, tmp_path / "copy", b"the wrong passphrase")
        restore(target, tmp_path / "copy", b"the right passphrase")
        assert (target.home_path / "device_key").read_text().strip() == key.get_secret_value()


def test_an_older_backup_is_migrated_and_an_interrupted_restore_repeated(
    bare: Settings, session_server: SessionServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "COUNTERS_SECONDS", 0.0)
    folder = tmp_path / "copy"
    make_backup(bare, folder, "readable")
    manifest = json.loads((folder / "manifest.json").read_text())
    tables = manifest["warehouse"]["tables"]
    tables.remove(table(manifest, "tippers.forgotten"))  # of the last migration
    manifest["warehouse"]["revision"] = "0022"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with other_machine(session_server, tmp_path / "second", monkeypatch) as target:
        with monkeypatch.context() as patch:
            patch.setattr(restoring, "copy_back", _killed)
            with pytest.raises(KeyboardInterrupt):
                restore(target, folder)
        (target.home_path / "lake").mkdir()
        (target.home_path / "lake" / "half").write_text("")
        restore(target, folder)
        with warehouse_engine(target).connect() as connection:
            assert current_revision(connection) == newest_revision()


def test_a_restore_interrupted_at_its_end_is_finished_and_replaces_nothing(
    bare: Settings, session_server: SessionServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "COUNTERS_SECONDS", 0.0)
    folder = tmp_path / "copy"
    make_backup(bare, folder, "readable")
    later = sa.text("UPDATE source.space SET space_name = 'changed since'")
    with other_machine(session_server, tmp_path / "second", monkeypatch) as target:
        with monkeypatch.context() as patch:
            patch.setattr(restoring, "ensure_roles", _killed)
            with pytest.raises(KeyboardInterrupt):
                restore(target, folder)
        found = {check.name: check for check in examine()}
        assert found["restore"].state == "problem"
        with pytest.raises(StackError, match="was interrupted"):
            run_stack(target, lambda _: None)
        with warehouse_engine(target).begin() as connection:
            changed_rows = connection.execute(later).rowcount
        assert changed_rows > 0
        done = restore(target, folder)
        assert any("may be computed again" in note for note in done.notes)
        with warehouse_engine(target).connect() as connection:
            query = sa.text("SELECT count(*) FROM source.space WHERE space_name = 'changed since'")
            assert connection.scalar(query) == changed_rows
        assert "restore" not in {check.name for check in examine()}
        with pytest.raises(BackupError, match="not empty"):
            restore(target, folder)


def _killed(*_: object) -> None:
    raise KeyboardInterrupt
