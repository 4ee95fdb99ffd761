"""The compose file: complete, safe by default, and consistent with the settings."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tippers_dagster.access.login import entrance
from tippers_dagster.errors import SettingsError
from tippers_dagster.platform.dagster.addresses import LOOPBACK
from tippers_dagster.settings import Settings

REPOSITORY = Path(__file__).parents[2]
TEXT = (REPOSITORY / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"bucket", "database"}


def test_all_services_exist() -> None:
    expected = {"postgres", "minio", "code", "web", "daemon", "mlflow", "streamlit", *ONE_SHOT}
    assert set(SERVICES) == expected | {"dask", "dask-worker", "metrics"}
    on_demand = {name for name, service in SERVICES.items() if "profiles" in service}
    assert on_demand == {"dask", "dask-worker", "metrics"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_restarts_and_has_a_health_check(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == ("on-failure" if name in ONE_SHOT else "unless-stopped")
    assert name in ONE_SHOT or service["healthcheck"]["test"][0] == "CMD"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    image = service["image"]
    assert ":" in image
    assert not image.endswith(":latest")
    for needed, how in service.get("depends_on", {}).items():
        assert how["condition"] == (
            "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"
        )


def test_no_secret_has_a_default() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|KEY$", variable):
                assert re.fullmatch(r"\$\{\w+:(\?[^}]+|-)\}", value), f"{name}: {variable}"
            elif "://" in str(value) and "@" in str(value):
                assert re.search(r"://\w+:\$\{\w+:\?[^}]+\}@", value), f"{name}: {variable}"


def test_every_service_can_decrypt_stored_passwords() -> None:
    # Without the key each creates one in its own home, which is lost with the container.
    for name in ("code", "daemon", "streamlit"):
        assert "TIPPERS_SECRETS_KEYS" in SERVICES[name]["environment"]


def test_every_variable_is_a_setting() -> None:
    fields = {f"TIPPERS_{name.upper()}" for name in Settings.model_fields}
    used = {name for name in SERVICES["code"]["environment"] if name.startswith("TIPPERS_")}
    assert used - fields == {"TIPPERS_BUCKET"}
    example = (REPOSITORY / ".env.example").read_text()
    shown = set(re.findall(r"^#? ?(TIPPERS_\w+)=", example, re.MULTILINE))
    assert shown - fields <= {"TIPPERS_BUCKET"}
    assert fields <= shown
    for required in set(re.findall(r"\$\{(\w+):\?", TEXT)):
        assert f"\n{required}=\n" in example


def test_persistent_data_is_in_volumes() -> None:
    named = {volume.split(":")[0] for s in SERVICES.values() for volume in s.get("volumes", [])}
    assert set(COMPOSE["volumes"]) <= named


def test_only_one_service_has_the_superusers_password() -> None:
    superuser = re.compile(r"POSTGRES_PASSWORD|://tippers:")
    knowing = {name for name, service in SERVICES.items() if superuser.search(str(service))}
    assert knowing == {"postgres", "database"}
    owners = [v for v in SERVICES["code"]["environment"].values() if "@postgres:" in str(v)]
    assert len(owners) == 3  # warehouse, Dagster, and MLflow for backups
    assert all("://tippers_owner:${DATABASE_PASSWORD" in url for url in owners)


def test_the_database_server_has_a_memory_limit() -> None:
    assert SERVICES["postgres"]["mem_limit"] == SERVICES["postgres"]["memswap_limit"]


def test_the_image_runs_as_an_ordinary_user_and_contains_no_secret() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    assert re.findall("^USER (.*)$", dockerfile, re.MULTILINE)[-1] == "tippers"
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert "!.env" not in ignored


def defaults(name: str) -> dict[str, str]:
    """The environment of a service when ``.env`` has only the three secrets."""
    given = SERVICES[name]["environment"].items()
    return {k: re.sub(r"\$\{\w+:[-?]([^}]*)\}", r"\1", str(v)) for k, v in given}


@pytest.fixture
def app_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Settings]:
    def made(**changes: str) -> Settings:
        wanted = {**defaults("streamlit"), "TIPPERS_HOME": str(tmp_path), **changes}
        for name, value in wanted.items():
            if name in {f"TIPPERS_{field.upper()}" for field in Settings.model_fields}:
                monkeypatch.setenv(name, value)
        return Settings()

    return made


def test_the_app_starts_only_when_users_are_identified(
    app_settings: Callable[..., Settings],
) -> None:
    for old in ({}, {"TIPPERS_STREAMLIT_PROTECTED": "true"}):
        with pytest.raises(SettingsError, match=r"not on 0\.0\.0\.0") as caught:
            entrance(app_settings(**old))
        assert "TIPPERS_STREAMLIT_USER_HEADER" in (caught.value.hint or "")
        assert "secrets.toml" in (caught.value.hint or "")
    named = app_settings(TIPPERS_STREAMLIT_USER_HEADER="X-Forwarded-Email")
    assert entrance(named) == "proxy"
    assert named.default_role == "viewer"


@pytest.mark.parametrize("name", ["web", "streamlit", "mlflow"])
def test_health_checks_and_services_reach_each_other_by_allowed_names(
    name: str, app_settings: Callable[..., Settings]
) -> None:
    address = SERVICES[name]["healthcheck"]["test"][-1]
    settings = app_settings(TIPPERS_STREAMLIT_USER_HEADER="X-Forwarded-Email")
    if name == "mlflow":
        names = defaults("mlflow")["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
        assert {"127.0.0.1:*", "mlflow:5000"} <= set(names)
        assert "*" not in names
        return
    assert urlsplit(address).hostname in LOOPBACK
    if name == "web":
        assert SERVICES["web"]["command"] == ["tippers", "web", "--host", "0.0.0.0"]
        assert urlsplit(settings.dagster_web_url or "").hostname == "web"


def test_the_code_server_publishes_no_port() -> None:
    assert "ports" not in SERVICES["code"]
