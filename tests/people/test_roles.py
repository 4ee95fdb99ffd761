"""Who may do what: given roles, claims of a login, and the address of the app."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tippers_dagster.cli import people as command
from tippers_dagster.errors import BadInput, SettingsError
from tippers_dagster.people import store
from tippers_dagster.people.login import check_address, has_login, login_file, person_of
from tippers_dagster.people.model import NotAllowed, Person, Role
from tippers_dagster.settings import Settings, get_settings

ADA = {"email": "Ada@Example.org", "email_verified": True}


def setting(monkeypatch: pytest.MonkeyPatch, **values: str) -> Settings:
    for name, value in values.items():
        monkeypatch.setenv(f"TIPPERS_{name.upper()}", value)
    get_settings.cache_clear()
    return get_settings()


def run(*words: str) -> str:
    app = typer.Typer()
    command.register(app)
    app.callback()(lambda: None)
    done = CliRunner().invoke(app, ["people", *words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_a_role_may_what_those_before_may() -> None:
    ada = Person("ada", Role.ANALYST)
    ada.require(Role.VIEWER, "look")
    ada.require(Role.ANALYST, "save definitions")
    with pytest.raises(NotAllowed, match=r"ada may not add connections.* admin, .* analyst"):
        ada.require(Role.ADMIN, "add connections")


def test_roles_are_given_changed_and_taken_away(stack: Settings) -> None:
    assert "Nobody" in run("list")
    run("set", " Ada@Example.org ", "analyst")
    assert store.role_of(stack, "ada@example.ORG") is Role.ANALYST
    run("set", "ada@example.org", "admin")
    assert [g.role for g in store.list_people(stack)] == [Role.ADMIN]
    assert "ada@example.org  admin" in run("list")
    run("remove", "ada@example.org")
    assert store.role_of(stack, "ada@example.org") is None
    with pytest.raises(BadInput, match="no role"):
        run("remove", "ada@example.org")
    for wrong in ("ada", "@example.org", "ada@", "a da@x.org", "ada@x.org\x00"):
        with pytest.raises(BadInput, match="no e-mail"):
            run("set", wrong, "viewer")


def test_a_login_has_the_given_role_or_the_default(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert person_of(stack, ADA) == Person("ada@example.org", Role.VIEWER, "ada@example.org")
    store.set_role(stack, "ada@example.org", Role.ADMIN, by="root")
    assert person_of(stack, ADA).role is Role.ADMIN
    closed = setting(monkeypatch, default_role="none")
    assert person_of(closed, ADA).role is Role.ADMIN
    with pytest.raises(NotAllowed, match="no role here"):
        person_of(closed, {"email": "eve@example.org"})


@pytest.mark.parametrize("claims", [{}, {"email": ""}, {**ADA, "email_verified": False}])
def test_a_login_without_a_verified_address_is_nobody(
    stack: Settings, claims: dict[str, object]
) -> None:
    with pytest.raises(NotAllowed, match="verified"):
        person_of(stack, claims)


@pytest.mark.parametrize(
    ("claim", "role"),
    [
        ("analyst", Role.ANALYST),
        (["staff", "viewer", "admin"], Role.ADMIN),
        ("Admin", Role.VIEWER),
        (["root"], Role.VIEWER),
        (None, Role.VIEWER),
        ({"admin": True}, Role.VIEWER),
    ],
)
def test_a_claim_decides_where_it_is_set(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, claim: object, role: Role
) -> None:
    store.set_role(stack, "ada@example.org", Role.ADMIN, by="root")
    settings = setting(monkeypatch, role_claim="roles")
    assert person_of(settings, {**ADA, "roles": claim}).role is role


def test_without_a_login_it_listens_on_this_machine_only(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check_address(stack)
    everywhere = setting(monkeypatch, streamlit_host="0.0.0.0")
    with pytest.raises(SettingsError, match="this machine only"):
        check_address(everywhere)
    check_address(setting(monkeypatch, streamlit_protected="true"))
    monkeypatch.delenv("TIPPERS_STREAMLIT_PROTECTED")
    settings = setting(monkeypatch)
    login_file(settings).parent.mkdir(parents=True)
    login_file(settings).write_text("[other]\nx = 1\n")
    assert not has_login(settings)
    login_file(settings).write_text('[auth]\ncookie_secret = "x"\n')
    assert has_login(settings)
    check_address(settings)
    login_file(settings).write_text("[auth\n")
    with pytest.raises(SettingsError, match="not TOML"):
        has_login(settings)
    gone = setting(monkeypatch, streamlit_secrets=str(tmp_path / "gone.toml"))
    with pytest.raises(SettingsError, match=r"no file .*gone\.toml"):
        has_login(gone)
