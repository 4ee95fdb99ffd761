"""Other web sites cannot use this machine's servers; the servers' own pages can."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, sync_playwright
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from benchmarks.soak import free_ports
from tests.conftest import SessionServer, environment_of
from tests.stack.waiting import until
from tests.streamlit_app.chromium import ANSWER_MS, FLAGS, chromium
from tippers_dagster.settings import get_settings
from tippers_dagster.stack.services import http_ok, mlflow_environment

MUTATION = "mutation { reloadWorkspace { __typename } }"
QUERY = "{ version }"
JSON = "application/json"
REBOUND = "evil.example"

PUBLIC = {
    "TIPPERS_DAGSTER_PUBLIC_URL": "https://dagster.example.edu",
    "TIPPERS_STREAMLIT_PUBLIC_URL": "https://tippers.example.edu",
    "TIPPERS_STREAMLIT_USER_HEADER": "X-Forwarded-Email",
}


@pytest.fixture(scope="module")
def environment(
    session_server: SessionServer,
    warehouse_template: str,
    dagster_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, str]]:
    """The environment of a deployment with public URLs, whose proxy sends the user in a header."""
    urls = [session_server.create(name) for name in (warehouse_template, dagster_template)]
    known = {k: v for k, v in os.environ.items() if not k.startswith(("TIPPERS_", "DAGSTER_"))}
    folder = tmp_path_factory.mktemp("gate")
    yield {**known, **environment_of(folder, *urls), **free_ports(), **PUBLIC}
    for url in urls:
        session_server.drop(url)


@contextmanager
def served(
    environment: dict[str, str], command: str, port: str, health: str, log: Path
) -> Iterator[str]:
    """The URL of the server that a command starts, in a separate process."""
    address = f"http://127.0.0.1:{environment[port]}"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tippers_dagster.cli", command],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: http_ok(f"{address}{health}"), 120, log.read_text)
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def web(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("web") / "web.log"
    with served(environment, "web", "TIPPERS_WEB_PORT", "/server_info", log) as address:
        yield address


@pytest.fixture(scope="module")
def app(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("app") / "app.log"
    with served(environment, "app", "TIPPERS_STREAMLIT_PORT", "/_stcore/health", log) as address:
        yield address


def answer(
    address: str, path: str, method: str = "GET", body: str | None = None, **headers: str
) -> tuple[int, str]:
    """Status and text of a request with only these headers; ``_`` in a name stands for ``-``."""
    own = address.removeprefix("http://")
    connection = http.client.HTTPConnection(own, timeout=30)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    sent = {"Host": own, **{name.replace("_", "-"): value for name, value in headers.items()}}
    if body is not None:
        sent["Content-Length"] = str(len(body))
    for name, value in sent.items():
        connection.putheader(name, value)
    connection.endheaders(body.encode() if body is not None else None)
    found = connection.getresponse()
    text = found.read().decode(errors="replace")
    connection.close()
    return found.status, text


def upgraded(address: str, path: str, **headers: str) -> int:
    """The status of a websocket request: 101 when the websocket opens."""
    host, port = address.removeprefix("http://").split(":")
    url = f"ws://{headers.pop('Host', host)}:{port}{path}"
    origin = Origin(headers.pop("Origin")) if "Origin" in headers else None
    try:
        with connect(
            url,
            origin=origin,
            address=(host, int(port)),
            subprotocols=[Subprotocol("graphql-ws" if path == "/graphql" else "streamlit")],
            proxy=None,
        ):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def test_dagster_answers_only_to_its_own_names(web: str) -> None:
    port = web.rsplit(":", 1)[1]
    for host in (f"localhost:{port}", "localhost.", f"[::1]:{port}", "dagster.example.edu"):
        assert answer(web, "/server_info", Host=host)[0] == 200, host
    for host in (REBOUND, f"{REBOUND}:{port}", f"127.0.0.1.{REBOUND}", "127.0.0.1@evil", "", "web"):
        status, text = answer(web, "/server_info", Host=host)
        assert status == 403, host
        assert "TIPPERS_DAGSTER_PUBLIC_URL" in text
        assert answer(web, "/", Host=host)[0] == 403
        posted = answer(
            web, "/graphql", "POST", json.dumps({"query": QUERY}), Host=host, Content_Type=JSON
        )
        assert posted[0] == 403


def test_dagster_accepts_graphql_only_from_its_own_pages_and_programs(web: str) -> None:
    body = json.dumps({"query": QUERY})
    own = {"Content_Type": JSON, "Origin": web, "Sec_Fetch_Site": "same-origin"}
    behind = {"Content_Type": JSON, "Origin": "https://dagster.example.edu"}
    for headers in ({"Content_Type": JSON}, own, behind):
        status, text = answer(web, "/graphql", "POST", body, **headers)
        assert (status, json.loads(text)["data"].keys()) == (200, {"version"})
    for headers in (
        {"Origin": f"http://{REBOUND}"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": f"https://dagster.example.edu.{REBOUND}"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"},
    ):
        status, text = answer(web, "/graphql", "POST", body, **{"Content_Type": JSON, **headers})
        assert (status, "another site" in text) == (403, True), headers
        reported = answer(web, "/report_asset_materialization/x", "POST", "", **headers)
        assert reported[0] == 403


@pytest.mark.parametrize("text", [MUTATION, QUERY])
def test_dagster_rejects_requests_that_any_page_could_send(web: str, text: str) -> None:
    path = f"/graphql?query={quote(text)}"
    assert answer(web, path)[0] == 405
    assert answer(web, path, Accept="image/*")[0] == 405
    assert answer(web, path, Accept="text/html", Sec_Fetch_Site="none")[1].endswith("</html>")
    assert answer(web, path, "POST")[0] == 415
    body = json.dumps({"query": text})
    for kind in (
        "text/plain",
        "text/plain;charset=application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
    ):
        assert answer(web, path, "POST", body, Content_Type=kind)[0] == 415, kind


def test_a_link_from_another_site_leads_to_dagster_but_a_frame_does_not(web: str) -> None:
    way = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert answer(web, "/runs", Sec_Fetch_Dest="document", **way)[0] == 200
    assert answer(web, "/runs", Sec_Fetch_Dest="iframe", **way)[0] == 403
    assert answer(web, "/runs", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0] == 403


def test_subscriptions_of_dagster_are_closed_to_other_sites(web: str) -> None:
    assert upgraded(web, "/graphql") == 101
    assert upgraded(web, "/graphql", Origin=web) == 101
    assert upgraded(web, "/graphql", Origin=f"http://{REBOUND}") == 403
    rebound = f"http://{REBOUND}:{web.rsplit(':', 1)[1]}"
    assert upgraded(web, "/graphql", Host=REBOUND, Origin=rebound) == 403


def test_the_app_answers_only_to_its_own_names_and_pages(app: str) -> None:
    stream, port = "/_stcore/stream", app.rsplit(":", 1)[1]
    rebound = f"http://{REBOUND}:{port}"
    paths = ("/", "/occupancy", "/media/x.csv", "/_stcore/host-config", "/static/x")
    for path in paths:
        assert answer(app, path)[0] != 403
        assert answer(app, path, Host=f"{REBOUND}:{port}")[0] == 403, path
    for method in ("PUT", "DELETE"):
        path = "/_stcore/upload_file/session/file"
        assert answer(app, path, method, "", Host=REBOUND, Origin=rebound)[0] == 403
        assert answer(app, path, method, "", Origin=f"http://{REBOUND}")[0] == 403
    assert upgraded(app, stream, Origin=app) == 101
    assert upgraded(app, stream, Origin="https://tippers.example.edu") == 101
    assert upgraded(app, stream, Origin=f"http://{REBOUND}") == 403
    assert upgraded(app, stream, Origin="null") == 403
    assert upgraded(app, stream, Host=REBOUND, Origin=rebound) == 403


def test_mlflow_gets_its_allowed_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIPPERS_MLFLOW_PUBLIC_URL", "https://mlflow.example.edu/x")
    get_settings.cache_clear()
    variables = mlflow_environment(get_settings())
    names = "127.0.0.1:*,localhost:*,mlflow.example.edu"
    assert variables["MLFLOW_SERVER_ALLOWED_HOSTS"] == names
    assert variables["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == "https://mlflow.example.edu"


def shown(app: str, *emails: str) -> bytes:
    """What the app sends, until the page is complete, when the proxy sends these addresses."""
    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

    headers = [("X-Forwarded-Email", email) for email in emails]
    ask = BackMsg()
    ask.rerun_script.query_string = ""
    found = b""
    with connect(
        f"ws{app.removeprefix('http')}/_stcore/stream",
        origin=Origin(app),
        additional_headers=headers,
        proxy=None,
        max_size=None,
    ) as socket:
        socket.send(ask.SerializeToString())
        while True:
            data = socket.recv(60)
            assert isinstance(data, bytes)
            found += data
            if ForwardMsg.FromString(data).WhichOneof("type") == "script_finished":
                return found


def test_the_app_takes_the_user_from_the_header_of_the_proxy(app: str) -> None:
    assert "ada@example.org · viewer".encode() in shown(app, "Ada@example.org")
    for emails in ((), ("ada@example.org", "eve@example.org"), ("ada@example.org",) * 2, ("ada",)):
        page = shown(app, *emails)
        assert b"does not have exactly one e" in page
        assert b"Occupancy" not in page


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page of a browser that resolves evil.example to this machine."""
    path = chromium()
    rule = f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS, rule])
        yield browser.new_page()
        browser.close()


SENT = """
async ([web, app, text]) => {
    const mutation = encodeURIComponent(text);
    const plain = {method: "POST", mode: "no-cors", body: JSON.stringify({query: text})};
    const seen = [];
    for (const [url, options] of [
        [`${web}/graphql?query=${mutation}`, {mode: "no-cors"}],
        [`${web}/graphql`, plain],
        [`${web}/report_asset_materialization/x`, {method: "POST", mode: "no-cors"}],
        [`${app}/_stcore/host-config`, {mode: "no-cors"}],
    ]) {
        try { seen.push((await fetch(url, options)).type) } catch (error) { seen.push("failed") }
    }
    for (const url of [`${app}/_stcore/stream`, `${web}/graphql`]) {
        const kind = url.startsWith(app) ? "streamlit" : "graphql-ws";
        const socket = new WebSocket(url.replace("http", "ws"), kind);
        seen.push(await new Promise(done => {
            socket.onopen = () => done("open");
            socket.onclose = () => done("closed");
        }));
    }
    return seen;
}
"""


def test_a_browser_shows_the_servers_and_lets_no_other_site_use_them(
    web: str, app: str, page: Page
) -> None:
    statuses: dict[str, int] = {}
    page.on("response", lambda found: statuses.update({found.url: found.status}))
    page.goto(web)
    page.get_by_text("Runs").first.wait_for(timeout=ANSWER_MS)
    assert all(status < 400 for status in statuses.values()), statuses
    page.goto(app)
    page.get_by_text("does not have exactly one").wait_for(timeout=ANSWER_MS)

    other = "http://other.example/"
    page.route(
        f"{other}**", lambda route: route.fulfill(body="<p>Hello</p>", content_type="text/html")
    )
    page.goto(other)
    statuses.clear()
    seen = page.evaluate(SENT, [web, app, MUTATION])
    assert seen[-2:] == ["closed", "closed"]
    # The browser itself may block the request; then there is no status.
    assert set(statuses.values()) <= {403}

    for address in (web, app):
        rebound = page.goto(f"http://{REBOUND}:{address.rsplit(':', 1)[1]}/")
        assert rebound is not None
        assert rebound.status == 403
