"""`tippers doctor`: its findings, and that it prints no secrets."""

from __future__ import annotations

import subprocess
import sys

import psycopg2
import pytest

from tippers_dagster.campus.source.creation import create_source_schema
from tippers_dagster.campus.source.load import load_transaction
from tippers_dagster.platform.redaction import redact
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.stack import doctor
from tippers_dagster.stack.doctor import Check, examine

PASSWORD = "s3cr3t/pa:ss"
QUOTED = "s3cr3t%2Fpa%3Ass"


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def tippers(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tippers_dagster.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_fresh_home_has_no_problem(settings: Settings) -> None:
    checks = by_name(examine())
    assert {check.name for check in checks.values() if check.state == "problem"} == set()
    assert checks["source tables"].state == "warning"
    assert "tippers ingest" in checks["source tables"].hint
    assert str(settings.home_path) in checks["device key"].text
    assert checks["lake"].state == "ok"
    done = tippers("doctor")
    assert done.returncode == 0, done.stdout
    assert "0 problems" in done.stdout


def test_a_deployment_is_checked(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIPPERS_DEVICE_KEY")
    get_settings.cache_clear()
    checks = by_name(examine())
    assert {check.name for check in checks.values() if check.state == "problem"} == set()
    assert "the newest" in checks["migrations"].text
    assert checks["device key"].state == "warning"


def test_a_transaction_pool_is_a_problem(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert by_name(examine())["database sessions"].state == "ok"
    # Such a pool hands out idle sessions; here there is only one.
    assert stack.database_url is not None
    session = psycopg2.connect(stack.database_url.get_secret_value())
    monkeypatch.setattr(doctor, "_backend", lambda _: session.get_backend_pid())
    check = by_name(examine())["database sessions"]
    session.close()
    assert (check.state, "session" in check.hint) == ("problem", True)


def test_the_lake_on_s3_is_checked(stack: Settings, s3: object) -> None:
    assert by_name(examine())["lake"].state == "ok"


def test_a_missing_bucket_is_a_problem(
    stack: Settings, s3: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIPPERS_LAKE_URL", "s3://no-such-bucket/lake")
    get_settings.cache_clear()
    assert by_name(examine())["lake"].state == "problem"


def test_missing_source_tables_are_a_problem(
    stack: Settings, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIPPERS_SOURCE_URL", database)
    get_settings.cache_clear()
    check = by_name(examine())["source tables"]
    assert check.state == "problem"
    assert "user_ap_trajectory" in check.text
    assert "TIPPERS_SESSION_TABLE" in check.hint


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ('{"start_time": "ended"}', "column ended (used as start_time)"),
        ('{"mac_address": "no_such"}', "has no column no_such"),
    ],
)
def test_columns_of_a_wrong_type_are_a_problem(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, columns: str, says: str
) -> None:
    create_source_schema(stack)
    with load_transaction(stack) as load:
        load.execute("ALTER TABLE source.user_ap_trajectory ADD COLUMN ended text")
    assert stack.database_url is not None
    monkeypatch.setenv("TIPPERS_SOURCE_URL", stack.database_url.get_secret_value())
    get_settings.cache_clear()
    assert by_name(examine())["source tables"].state == "ok"
    monkeypatch.setenv("TIPPERS_SESSION_COLUMNS", columns)
    get_settings.cache_clear()
    check = by_name(examine())["source columns"]
    assert check.state == "problem"
    assert check.text.startswith("TIPPERS_SESSION_COLUMNS: ")
    assert says in check.text


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://tippers:{QUOTED}@127.0.0.1:1/tippers",
        f"postgresql://tippers@127.0.0.1:1/tippers?password={QUOTED}",
        f"postgresql://tippers:{QUOTED}@no-such-host.invalid/tippers",
    ],
)
def test_an_unreachable_database_is_a_problem_and_its_password_stays_secret(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("TIPPERS_DATABASE_URL", url)
    monkeypatch.setenv("TIPPERS_DAGSTER_URL", url)
    monkeypatch.setenv("TIPPERS_SOURCE_URL", url)
    get_settings.cache_clear()
    checks = by_name(examine())
    for name in ("warehouse", "migrations", "source", "Dagster storage"):
        assert checks[name].state == "problem", name
    assert checks["lake"].state == "ok"
    for command in ("doctor", "env"):
        done = tippers(command)
        assert done.returncode == (1 if command == "doctor" else 0)
        assert PASSWORD not in done.stdout + done.stderr
        assert QUOTED not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_an_invalid_url_stays_secret(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in (f"postgresql://u:{QUOTED}@host:port/db", f"mysql://u:{QUOTED}@host/db", QUOTED):
        monkeypatch.setenv("TIPPERS_DATABASE_URL", url)
        done = tippers("doctor")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert QUOTED not in done.stdout + done.stderr


def test_bad_settings_are_named_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIPPERS_TIMEZONE", "Mars/Olympus")
    monkeypatch.setenv("TIPPERS_WEB_PORT", "three thousand")
    done = tippers("doctor")
    assert done.returncode == 1
    assert "TIPPERS_TIMEZONE" in done.stdout
    assert "TIPPERS_WEB_PORT" in done.stdout
    done = tippers("env")
    assert done.returncode == 1
    assert "TIPPERS_WEB_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_line_of_dotenv_leaves_the_setting_unset(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIPPERS_DEVICE_KEY", "")
    monkeypatch.setenv("TIPPERS_SOURCE_URL", "")
    get_settings.cache_clear()
    assert get_settings().device_key is None
    assert get_settings().source_url is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:pw@host/db", "postgresql://me:***@host/db"),
        ("postgresql+psycopg2://me:p%40w@h:1/db?x=1", "postgresql+psycopg2://me:***@h:1/db?x=1"),
        ("postgresql://me:p@w@host/db", "postgresql://me:***@host/db"),
        ("http://host:80/path", "http://host:80/path"),
        ("postgresql://postgres@/db?host=/run/x&port=5432",) * 2,
        ("host=h password=abc user=u", "host=h password=*** user=u"),
        ("PASSWORD='a b' user=u", "PASSWORD=*** user=u"),
    ],
)
def test_passwords_are_removed_from_any_text(text: str, shown: str) -> None:
    assert redact(text) == shown
