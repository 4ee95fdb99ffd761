"""Which version is champion, by whose decision, and the records of decisions."""

from __future__ import annotations

import pytest

from tests.learning.registered import NAME, REF, Registered, registered  # noqa: F401
from tippers_dagster.errors import BadInput
from tippers_dagster.learning import registry
from tippers_dagster.learning.keys import champion_path
from tippers_dagster.learning.models import load_model
from tippers_dagster.learning.naming import CHAMPION
from tippers_dagster.learning.registry import (
    Decision,
    NoChampion,
    NotRegistered,
    champion_of,
    champions,
    decisions,
    promote,
    registered_model,
    registered_models,
    roll_back,
)
from tippers_dagster.platform.mlflow.client import MlflowUnavailable, mlflow_client
from tippers_dagster.settings import get_settings


def token(world: Registered) -> str | None:
    node = "/".join(champion_path(REF))
    found = world.query(f"SELECT token FROM tippers.source_token WHERE asset = '{node}'")
    return str(found[0]["token"]) if found else None


def test_promoting_and_rolling_back_by_hand(registered: Registered) -> None:  # noqa: F811
    settings = registered.settings
    with pytest.raises(NotRegistered, match=r"No model device\.guess"):
        registered_model(settings, NAME)
    for wrong in (0.2, 0.1, 0.0):
        registered.register(wrong)
    (found,) = registered_models(settings)
    assert [v.number for v in found.versions] == [3, 2, 1]
    assert found.champion is None
    assert found.challenger is not None
    assert found.challenger.number == 3
    assert found.versions[2].metrics == {"held_out_macro_f1": 0.8}
    assert found.versions[2].asset_version == "v0.2"
    with pytest.raises(NoChampion, match="has no champion") as none:
        champion_of(settings, NAME)
    assert f"tippers models promote {NAME} 3" in str(none.value)

    for version in (1, 3, 2):
        made = promote(settings, NAME, version, "ada")
        assert made.applied_at is not None
        assert champion_of(settings, NAME).number == version
        assert token(registered) == str(version)
    with pytest.raises(BadInput, match="already champion"):
        promote(settings, NAME, 2, "ada")
    with pytest.raises(NotRegistered, match="no version 7"):
        promote(settings, NAME, 7, "ada")

    assert [roll_back(settings, NAME, "bea").version for _ in range(2)] == [3, 1]
    assert token(registered) == "1"
    with pytest.raises(BadInput, match="No other version"):
        roll_back(settings, NAME, "bea")
    log = decisions(settings, NAME)
    assert [(d.decision, d.version, d.champion_before, d.by) for d in log] == [
        ("rolled_back", 1, 3, "bea"),
        ("rolled_back", 3, 2, "bea"),
        ("promoted", 2, 3, "ada"),
        ("promoted", 3, 1, "ada"),
        ("promoted", 1, None, "ada"),
    ]
    model = load_model(settings, NAME, 1)
    assert model.classes == ("LAPTOP", "PHONE", "STATIC")
    assert model.columns == ("hours", "rooms")


def test_a_decision_whose_process_was_killed_is_completed_once(
    registered: Registered,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(2):
        registered.register()
    promote(registered.settings, NAME, 1, "ada")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(registry, "_apply", killed)
        with pytest.raises(KeyboardInterrupt):
            promote(registered.settings, NAME, 2, "ada")
    assert champion_of(registered.settings, NAME).number == 1
    assert decisions(registered.settings, NAME)[0].applied_at is None
    with pytest.raises(BadInput, match="already champion"):
        promote(registered.settings, NAME, 2, "ada")
    assert champion_of(registered.settings, NAME).number == 2
    log = decisions(registered.settings, NAME)
    assert [d.version for d in log] == [2, 1]
    assert all(d.applied_at for d in log)
    assert token(registered) == "2"


def test_a_decision_about_a_version_that_was_deleted_is_forgotten(
    registered: Registered,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(2):
        registered.register()
    with monkeypatch.context() as patched:
        patched.setattr(registry, "_apply", lambda settings, decision: decision)
        promote(registered.settings, NAME, 1, "ada")
    with mlflow_client(registered.settings) as client:
        client.delete_model_version(NAME, "1")
    assert promote(registered.settings, NAME, 2, "ada").champion_before is None
    assert [d.version for d in decisions(registered.settings, NAME)] == [2]


def test_an_alias_that_was_moved_in_mlflow_decides_nothing(
    registered: Registered,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = registered.settings
    for _ in range(3):
        registered.register()
    promote(settings, NAME, 1, "ada")
    with mlflow_client(settings) as client:
        client.set_registered_model_alias(NAME, CHAMPION, "3")
    assert champion_of(settings, NAME).number == 1
    assert CHAMPION not in registered_model(settings, NAME).version(3).aliases
    assert promote(settings, NAME, 2, "ada").champion_before == 1
    assert "was moved in MLflow. It is reset to version 1" in caplog.text
    assert champion_of(settings, NAME).number == 2
    with mlflow_client(settings) as client:
        assert str(client.get_registered_model(NAME).aliases[CHAMPION]) == "2"


def test_a_model_is_found_by_its_name(registered: Registered) -> None:  # noqa: F811
    registered.register()
    asked: list[str] = []
    with mlflow_client(registered.settings) as client:
        for other in ("device.guess_too", "another"):
            client.create_registered_model(other)
        search = type(client).search_registered_models

    def noted(self: object, filter_string: str | None = None, **given: object) -> object:
        asked.append(str(filter_string))
        return search(self, filter_string, **given)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(client), "search_registered_models", noted)
        assert [m.name for m in registered_models(registered.settings, [NAME])] == [NAME]
        assert asked == [f"name = '{NAME}'"]
        assert registered_models(registered.settings, ["nothing's"]) == []
    names = [m.name for m in registered_models(registered.settings)]
    assert names == ["another", NAME, "device.guess_too"]


@pytest.mark.parametrize("url", ["http://ada:hunter2@127.0.0.1:9", None])
def test_missing_mlflow_is_reported(
    registered: Registered,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    url: str | None,
) -> None:
    monkeypatch.delenv("TIPPERS_MLFLOW_URL")
    if url:
        monkeypatch.setenv("TIPPERS_MLFLOW_URL", url)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    get_settings.cache_clear()
    with pytest.raises(MlflowUnavailable) as away:
        promote(get_settings(), NAME, 1, "ada")
    assert "hunter2" not in str(away.value)
    assert decisions(registered.settings, NAME) == []


def test_the_order_of_champions() -> None:
    def made(kind: str, version: int) -> Decision:
        return Decision(NAME, version, None, kind, False, "ada", "")  # type: ignore[arg-type]

    log = [made("promoted", 1), made("promoted", 2), made("kept", 3), made("promoted", 1)]
    assert champions(log[::-1]) == [1, 2, 1]
    log.append(made("rolled_back", 2))
    assert champions(log[::-1]) == [1, 2]
    log.append(made("rolled_back", 1))
    assert champions(log[::-1]) == [1]
