"""Stored passwords."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from tests.connections.conftest import PASSWORD, Other, rows
from tippers_dagster.catalog import store as catalog_store
from tippers_dagster.catalog.kinds import Connection
from tippers_dagster.connections import secrets, store
from tippers_dagster.connections.opening import place_of
from tippers_dagster.errors import SettingsError
from tippers_dagster.platform.redaction import redact
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings, get_settings

BODY = Connection(dialect="postgresql", host="db", database="d", user="u")


def with_token(settings: Settings, body: Connection = BODY) -> Connection:
    return body.model_copy(update={"password": secrets.encrypt(settings, PASSWORD, body)})


def with_keys(monkeypatch: pytest.MonkeyPatch, *keys: str) -> Settings:
    monkeypatch.setenv("TIPPERS_SECRETS_KEYS", ",".join(keys))
    get_settings.cache_clear()
    return get_settings()


def new_key() -> str:
    return Fernet.generate_key().decode()


def test_tokens_can_be_decrypted_and_reveal_nothing(settings: Settings) -> None:
    body = with_token(settings)
    assert PASSWORD not in str(body.password)
    assert secrets.decrypt(settings, "x", body) == PASSWORD
    assert secrets.decrypt(settings, "x", BODY) is None
    file = secrets.secrets_file(settings)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_concurrent_processes_get_the_same_key(settings: Settings) -> None:
    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda _: with_token(settings), range(24)))
    assert {secrets.decrypt(settings, "x", body) for body in bodies} == {PASSWORD}
    assert [path.name for path in settings.home_path.iterdir()] == ["secrets_keys"]


def test_a_token_is_useless_for_another_server(settings: Settings) -> None:
    elsewhere = with_token(settings).model_copy(update={"host": "evil.example"})
    with pytest.raises(secrets.UnreadablePassword, match=r"registrar .* another server"):
        secrets.decrypt(settings, "registrar", elsewhere)


def test_an_older_key_still_decrypts_and_a_lost_one_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new = new_key(), new_key()
    body = with_token(with_keys(monkeypatch, old))
    assert secrets.decrypt(with_keys(monkeypatch, new, old), "x", body) == PASSWORD
    with pytest.raises(secrets.UnreadablePassword) as caught:
        secrets.decrypt(with_keys(monkeypatch, new), "registrar", body)
    assert "registrar" in caught.value.message
    assert "TIPPERS_SECRETS_KEYS" in caught.value.message
    assert "edit registrar" in str(caught.value.hint)


@pytest.mark.parametrize("value", ["hunter2", "", "a" * 44, "c" * 43 + "=,x"])
def test_a_bad_key_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    settings = with_keys(monkeypatch, value or " ")
    with pytest.raises(SettingsError, match="TIPPERS_SECRETS_KEYS") as caught:
        secrets.encrypt(settings, PASSWORD, BODY)
    assert not value or value not in str(caught.value)


def test_keys_are_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = new_key(), new_key()
    settings = with_keys(monkeypatch, one, two)
    assert redact(f"{one} and {two} and {PASSWORD}", settings, [PASSWORD]) == "*** and *** and ***"
    assert one not in repr(settings)


# --- rotation ------------------------------------------------------------------------------------
def tokens(settings: Settings) -> set[str]:
    found = rows(
        settings,
        "SELECT body->>'password' FROM tippers.definition UNION ALL "
        "SELECT body->>'password' FROM tippers.definition_version",
    )
    return {str(token) for (token,) in found if token}


def password_of(settings: Settings) -> str | None:
    return secrets.decrypt(settings, "registrar", store.get(settings, "registrar"))


def test_rotation_makes_a_new_key_and_keeps_the_passwords(campus: Settings) -> None:
    store.edit(campus, "registrar", {"sync_seconds": 60}, by="ada")
    before, key = tokens(campus), secrets.secrets_file(campus).read_text()
    assert secrets.rotate(campus) == 1
    assert not tokens(campus) & before
    now = secrets.secrets_file(campus).read_text()
    assert now != key
    assert len(now.split()) == 1
    assert password_of(campus) == PASSWORD
    # Past versions can still be restored.
    ref = store.ref_of("registrar")
    catalog_store.restore(campus, ref, 1, by="ada")
    assert password_of(campus) == PASSWORD
    assert store.get(campus, "registrar").sync_seconds == 3600


def test_rotation_with_keys_of_the_settings(
    stack: Settings, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = new_key(), new_key()
    settings = with_keys(monkeypatch, old)
    store.add(settings, "registrar", other.fields, by="ada", password=PASSWORD)
    secrets.rotate(with_keys(monkeypatch, new, old))
    assert password_of(with_keys(monkeypatch, new)) == PASSWORD


def test_rotation_changes_all_or_nothing(
    campus: Settings, other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = secrets.secrets_file(campus).read_text().strip()
    settings = with_keys(monkeypatch, new_key())
    store.add(settings, "archive", other.fields, by="ada", password=PASSWORD)
    settings = with_keys(monkeypatch, new_key(), key)
    before = tokens(settings)
    with pytest.raises(secrets.UnreadablePassword, match="archive"):
        secrets.rotate(settings)
    assert tokens(settings) == before


def test_two_rotations_at_once_lose_no_password(
    campus: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = secrets._remove_old_keys

    def during_another(settings: Settings, connection: sa.Connection) -> None:
        # The other one has put its key first, and has not stored its passwords.
        secrets._put_new_key_first(settings)
        remove(settings, connection)

    monkeypatch.setattr(secrets, "_remove_old_keys", during_another)
    secrets.rotate(campus)
    assert password_of(campus) == PASSWORD
    assert len(secrets.secrets_file(campus).read_text().split()) > 1
    monkeypatch.setattr(secrets, "_remove_old_keys", remove)
    secrets.rotate(campus)
    assert password_of(campus) == PASSWORD
    assert len(secrets.secrets_file(campus).read_text().split()) == 1


# --- nothing reveals them ------------------------------------------------------------------------
def test_nothing_stored_or_shown_contains_a_password(campus: Settings) -> None:
    store.edit(campus, "registrar", {"sync_seconds": 60}, by="ada")
    place = place_of(campus, "registrar", store.get(campus, "registrar"))
    assert PASSWORD in place.secrets
    assert PASSWORD not in repr(place) + str(place) + repr(place.url) + repr(place.body)
    with warehouse_engine(campus).connect() as connection:
        names = connection.execute(
            sa.text("SELECT table_name FROM information_schema.tables WHERE table_schema='tippers'")
        ).scalars()
        for name in names.all():
            kept = connection.execute(sa.text(f"SELECT t::text FROM tippers.{name} t")).scalars()
            assert not any("p@ss" in row for row in kept.all())
