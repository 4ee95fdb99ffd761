"""People log in by OpenID Connect; a claim of the login says what they may do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from oidc_provider_mock import User, run_server_in_thread
from playwright.sync_api import Browser, Page, expect

from benchmarks.soak import free_ports
from tests.deployment import Deployed
from tests.stack.waiting import until
from tests.streamlit_app.chromium import ANSWER_MS
from tippers_dagster.stack.services import http_ok

pytestmark = pytest.mark.slow

PORT = "TIPPERS_STREAMLIT_PORT"
PEOPLE = {"ada": ["janitor", "analyst"], "vic": ["viewer"], "bob": ["janitor"]}


@pytest.fixture
def app(deployed: Deployed, tmp_path: Path) -> Iterator[str]:
    """The address of a second app of the deployment, behind a login."""
    known = [
        User(
            sub=name,
            claims={"email": f"{name}@campus.edu", "email_verified": True, "roles": roles},
        )
        for name, roles in PEOPLE.items()
    ]
    port = free_ports()[PORT]
    address = f"http://127.0.0.1:{port}"
    with run_server_in_thread(user_claims=known) as provider:
        secrets = tmp_path / "secrets.toml"
        secrets.write_text(
            f"""[auth]
            redirect_uri = "{address}/oauth2callback"
            cookie_secret = "{"5e" * 32}"
            client_id = "tippers"
            client_secret = "hunter2"
            server_metadata_url = "http://localhost:{provider.server_port}/.well-known/openid-configuration"
            """
        )
        own = {
            PORT: port,
            "TIPPERS_STREAMLIT_SECRETS": str(secrets),
            "TIPPERS_ROLE_CLAIM": "roles",
            "TIPPERS_DEFAULT_ROLE": "none",
        }
        with (tmp_path / "app.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tippers_dagster.cli", "app"],
                env=deployed.environment | own,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            until(lambda: http_ok(f"{address}/_stcore/health"), 60)
            yield address
        finally:
            process.terminate()
            process.wait(30)


def log_in(browser: Browser, address: str, name: str) -> Page:
    """In a browser of their own, from the page that they want to see."""
    context = browser.new_context()
    context.set_default_timeout(ANSWER_MS)
    page = context.new_page()
    # The provider's page wants a style sheet of another server.
    page.route("https://cdn.jsdelivr.net/**", lambda route: route.abort())
    page.goto(f"{address}/definitions")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name=name, exact=True).click()
    return page


def test_the_login_says_who_somebody_is_and_what_they_may_do(app: str, browser: Browser) -> None:
    ada = log_in(browser, app, "ada")
    expect(ada.get_by_text("ada@campus.edu · analyst")).to_be_visible()
    ada.goto(f"{app}/definitions")
    expect(ada.get_by_role("button", name="New").first).to_be_visible()

    vic = log_in(browser, app, "vic")
    expect(vic.get_by_text("vic@campus.edu · viewer")).to_be_visible()
    vic.goto(f"{app}/definitions")
    expect(vic.get_by_role("heading", name="Definitions")).to_be_visible()
    expect(vic.get_by_role("button", name="New")).to_have_count(0)

    bob = log_in(browser, app, "bob")
    expect(bob.get_by_text("has no role here")).to_be_visible()
    bob.goto(f"{app}/occupancy")
    expect(bob.get_by_text("has no role here")).to_be_visible()


def test_who_logs_out_sees_nothing_more(app: str, browser: Browser) -> None:
    page = log_in(browser, app, "vic")
    expect(page.get_by_text("vic@campus.edu · viewer")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("button", name="End session").click()  # the provider asks
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    page.goto(f"{app}/occupancy")
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    expect(page.get_by_text("vic@campus.edu")).to_have_count(0)
