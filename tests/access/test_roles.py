"""Roles: assigned roles, claims of a login, and the address of the app."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tippers_dagster.access import store
from tippers_dagster.access.login import (
    entrance,
    has_login,
    login_file,
    person_from_claims,
    person_from_header,
)
from tippers_dagster.access.model import Login, NotAllowed, Person, Role, email_address
from tippers_dagster.cli import people as command
from tippers_dagster.errors import BadInput, SettingsError
from tippers_dagster.settings import Settings, get_settings

ISSUER = "https://login.example.org"
ADA = {"iss": ISSUER, "sub": "ada", "email": "Ada@Example.org", "email_verified": True}


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


def test_a_role_includes_the_previous_ones() -> None:
    ada = Person("ada", Role.ANALYST)
    ada.require(Role.VIEWER, "look")
    ada.require(Role.ANALYST, "save definitions")
    with pytest.raises(NotAllowed, match=r"ada may not add connections.* admin role, .* analyst"):
        ada.require(Role.ADMIN, "add connections")


def test_roles_are_assigned_changed_and_removed(stack: Settings) -> None:
    assert "No roles" in run("list")
    ada = Login(ISSUER, "ada", "ada@example.org")
    assert "from the first login on" in run("set", " Ada@Example.org ", "analyst")
    assert "not logged in yet" in run("list")
    assert store.role_of(stack, ada) is Role.ANALYST
    assert f"ada of {ISSUER}" in run("set", "ada@example.ORG", "admin")
    assert [g.role for g in store.list_people(stack)] == [Role.ADMIN]
    assert store.role_of(stack, ada) is Role.ADMIN
    assert "ada@example.org  admin" in run("list")
    assert f"ada of {ISSUER}" in run("list")
    run("remove", "Ada@example.org")
    assert store.role_of(stack, ada) is None
    with pytest.raises(BadInput, match="no role"):
        run("remove", "ada@example.org")
    for wrong in ("ada", "@example.org", "ada@", "a da@x.org", "ada@x.org\x00"):
        with pytest.raises(BadInput, match="not an e-mail"):
            run("set", wrong, "viewer")


def test_a_login_has_the_assigned_role_or_the_default(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert person_from_claims(stack, ADA) == Person(
        "ada@example.org", Role.VIEWER, "ada@example.org"
    )
    store.set_role(stack, "ada@example.org", Role.ADMIN, by="root")
    assert person_from_claims(stack, ADA).role is Role.ADMIN
    closed = setting(monkeypatch, default_role="none")
    assert person_from_claims(closed, ADA).role is Role.ADMIN
    with pytest.raises(NotAllowed, match="no role here"):
        person_from_claims(closed, {**ADA, "sub": "eve", "email": "eve@example.org"})


UNVERIFIED = [False, None, "False", "false", "no", "true", "True", 1, 0, "", [True], {}]


@pytest.mark.parametrize(
    "claims",
    [
        {"email": ""},
        {"email": None},
        {"email": ["ada@example.org"]},
        *({"email_verified": value} for value in UNVERIFIED),
    ],
)
def test_a_login_without_a_verified_address_is_rejected(
    stack: Settings, claims: dict[str, object]
) -> None:
    store.set_role(stack, "ada@example.org", Role.ADMIN, by="root")
    with pytest.raises(NotAllowed, match="verified"):
        person_from_claims(stack, {**ADA, **claims})
    with pytest.raises(NotAllowed, match="verified"):
        person_from_claims(stack, {k: v for k, v in ADA.items() if k != "email_verified"})
    assert [given.subject for given in store.list_people(stack)] == [None]


@pytest.mark.parametrize("missing", ["iss", "sub"])
@pytest.mark.parametrize("value", [None, "", 7])
def test_a_login_without_issuer_and_subject_is_rejected(
    stack: Settings, missing: str, value: object
) -> None:
    with pytest.raises(NotAllowed, match="does not identify you"):
        person_from_claims(stack, {**ADA, missing: value})


def test_the_addresses_of_a_trusted_issuer_are_verified(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = setting(monkeypatch, trusted_issuers=f"https://other.example, {ISSUER}")
    unsaid = {k: v for k, v in ADA.items() if k != "email_verified"}
    for claims in (unsaid, {**ADA, "email_verified": None}, {**ADA, "email_verified": "true"}):
        assert person_from_claims(settings, claims).email == "ada@example.org"
    for wrong in (False, "false", "False", "no", 0, ""):
        with pytest.raises(NotAllowed, match="verified"):
            person_from_claims(settings, {**ADA, "email_verified": wrong})
    for other in ("https://login.example.org.evil", "HTTPS://LOGIN.EXAMPLE.ORG", "https://x"):
        with pytest.raises(NotAllowed, match="verified"):
            person_from_claims(settings, {**unsaid, "iss": other})


def test_a_user_who_gets_an_address_later_does_not_get_its_role(stack: Settings) -> None:
    store.set_role(stack, "ada@example.org", Role.ADMIN, by="root")
    assert person_from_claims(stack, ADA).role is Role.ADMIN
    assert person_from_claims(stack, {**ADA, "sub": "another ada"}).role is Role.VIEWER
    assert person_from_claims(stack, {**ADA, "iss": "https://evil.example"}).role is Role.VIEWER
    store.set_role(stack, "ada@example.org", Role.ANALYST, by="root")
    assert person_from_claims(stack, {**ADA, "sub": "another ada"}).role is Role.VIEWER
    assert person_from_claims(stack, {**ADA, "email": "ada@married.example"}).role is Role.ANALYST

    store.remove(stack, "ada@example.org")
    store.set_role(stack, "ada@example.org", Role.ANALYST, by="root")
    assert person_from_claims(stack, {**ADA, "sub": "another ada"}).role is Role.ANALYST
    assert person_from_claims(stack, ADA).role is Role.VIEWER


def test_an_invitation_of_a_new_address_replaces_the_role_of_the_old_one(stack: Settings) -> None:
    store.set_role(stack, "ada@example.org", Role.ADMIN, by="root")
    assert person_from_claims(stack, ADA).role is Role.ADMIN
    store.set_role(stack, "ada@married.example", Role.ANALYST, by="root")
    assert person_from_claims(stack, {**ADA, "email": "ada@married.example"}).role is Role.ANALYST
    assert [given.email for given in store.list_people(stack)] == ["ada@married.example"]
    assert person_from_claims(stack, ADA).role is Role.ANALYST


def test_of_two_concurrent_logins_one_is_bound(stack: Settings) -> None:
    store.set_role(stack, "ada@example.org", Role.ADMIN, by="root")
    claims = [{**ADA, "sub": f"ada {i}"} for i in range(4)] * 2
    with ThreadPoolExecutor(8) as pool:
        roles = list(pool.map(lambda found: person_from_claims(stack, found).role, claims))
    assert sorted(roles) == [Role.VIEWER] * 6 + [Role.ADMIN] * 2
    assert roles[:4] == roles[4:]


def test_addresses_that_look_alike_are_different(stack: Settings) -> None:
    assert email_address(" \tAda@Example.ORG\n") == "ada@example.org"
    assert email_address("J\u00d3S\u00c9@x.es") == "j\u00f3s\u00e9@x.es"
    for wrong in (
        "\u212aim@example.org",  # the Kelvin sign, which lower() turns into a k
        "jose\u0301@x.es",  # a decomposed letter
        "ada@example.org\u200b",
        "ada\u202e@example.org",
        "ada@example.org, eve@example.org",
        "ada@x@y",
        "Ada <ada@example.org>",
        "a" * 250 + "@x.org",
    ):
        with pytest.raises(BadInput):
            email_address(wrong)
    store.set_role(stack, "kim@example.org", Role.ADMIN, by="root")
    store.set_role(stack, "jose\u0301@x.es", Role.ADMIN, by="root")
    for other in ("\uff4bim@example.org", "\u043aim@example.org"):
        assert person_from_claims(stack, {**ADA, "sub": other, "email": other}).role is Role.VIEWER
    with pytest.raises(NotAllowed):
        person_from_claims(stack, {**ADA, "sub": "x", "email": "\u212aim@example.org"})
    assert (
        person_from_claims(stack, {**ADA, "sub": "j", "email": "JOS\u00c9@x.es"}).role is Role.ADMIN
    )


def test_the_proxy_names_the_user_once(stack: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = setting(monkeypatch, streamlit_user_header="X-Forwarded-Email")
    assert person_from_header(settings, ["ada@example.org"]).role is Role.VIEWER
    store.set_role(settings, "ada@example.org", Role.ANALYST, by="root")
    ada = Person("ada@example.org", Role.ANALYST, "ada@example.org")
    assert person_from_header(settings, ["Ada@example.org"]) == ada
    assert (
        person_from_claims(settings, ADA).role is Role.VIEWER
    )  # with a login, this is another user
    for values in ([], [""], ["ada"], ["ada@example.org"] * 2, ["a@x.org, ada@example.org"]):
        with pytest.raises(NotAllowed, match="X-Forwarded-Email"):
            person_from_header(settings, values)
    closed = setting(monkeypatch, default_role="none")
    with pytest.raises(NotAllowed, match="no role here"):
        person_from_header(closed, ["eve@example.org"])


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
def test_a_claim_decides_if_it_is_set(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, claim: object, role: Role
) -> None:
    store.set_role(stack, "ada@example.org", Role.ADMIN, by="root")
    settings = setting(monkeypatch, role_claim="roles")
    assert person_from_claims(settings, {**ADA, "roles": claim}).role is role


def write_login(settings: Settings, text: str) -> None:
    login_file(settings).parent.mkdir(parents=True, exist_ok=True)
    login_file(settings).write_text(text)


@pytest.mark.parametrize(
    "values",
    [
        {"streamlit_host": "0.0.0.0"},
        {"streamlit_host": "::"},
        {"streamlit_host": "campus.example.edu"},
        {"streamlit_protected": "true"},
        {"streamlit_protected": "true", "streamlit_host": "0.0.0.0"},
        {"streamlit_public_url": "https://tippers.example.edu"},
    ],
)
def test_without_a_login_the_app_serves_this_machine_only(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, values: dict[str, str]
) -> None:
    assert entrance(stack) == "local"
    reached = setting(monkeypatch, **values)
    with pytest.raises(SettingsError, match="this machine only") as caught:
        entrance(reached)
    assert "TIPPERS_STREAMLIT_USER_HEADER" in (caught.value.hint or "")
    assert "[auth]" in (caught.value.hint or "")
    write_login(reached, '[auth]\ncookie_secret = "x"\n')
    assert entrance(reached) == "login"
    login_file(reached).unlink()
    assert entrance(setting(monkeypatch, streamlit_user_header="X-Forwarded-Email")) == "proxy"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_machine_has_more_than_one_name(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    assert entrance(setting(monkeypatch, streamlit_host=host)) == "local"


def test_a_login_file_that_cannot_be_read_is_named(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_login(stack, "[other]\nx = 1\n")
    assert not has_login(stack)
    write_login(stack, "[auth\n")
    with pytest.raises(SettingsError, match="not TOML"):
        has_login(stack)
    write_login(stack, "auth = true\n")
    with pytest.raises(SettingsError, match="not a section"):
        has_login(stack)
    write_login(stack, '[auth]\ncookie_secret = "x"\n')
    with pytest.raises(SettingsError, match="Use only one"):
        entrance(setting(monkeypatch, streamlit_user_header="X-User"))
    gone = setting(monkeypatch, streamlit_secrets=str(tmp_path / "gone.toml"))
    with pytest.raises(SettingsError, match=r"no file .*gone\.toml"):
        has_login(gone)


def test_an_invalid_header_name_is_rejected(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="TIPPERS_STREAMLIT_USER_HEADER"):
        setting(monkeypatch, streamlit_user_header="X-User: y")
