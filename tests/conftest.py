"""What every test may ask for.

One embedded PostgreSQL serves the whole session; a test that asks for ``stack`` gets databases of
its own on it, copied from templates, a home and a lake of its own, and the environment that
processes started by the test need.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pytest
from psycopg2 import sql
from pydantic import SecretStr
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from tests.parsed import PARSED
from tippers_dagster.platform.locks.keeper import close_keepers
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.postgres.embedded import (
    ADMINISTRATOR,
    EmbeddedServer,
    start_embedded,
    stop_embedded,
)
from tippers_dagster.platform.postgres.owner import OWNER, administering
from tippers_dagster.platform.warehouse.engine import sqlalchemy_url, warehouse_engine
from tippers_dagster.settings import Settings, get_settings

if TYPE_CHECKING:
    from tests.deployment import Deployed

REPOSITORY = Path(__file__).resolve().parents[1]

DEVICE_KEY = "5e" * 32
"""Of all homes that tests fill: else chance decides which entities are held out."""

WAREHOUSE = "warehouse"
"""The database of every `stack`, one after the other: so the types that Arrow's driver reads of a
database, and dbt's parsed projects, serve many tests.
"""

SERVERS = {"session_server", "home", "deployed", "s3_server", "browser"}
"""Fixtures that start one, or a browser."""

SHARING = "test_deployment.py"
"""Files beside the journeys whose tests share the running deployment."""

ENGINES = os.environ.get("TIPPERS_TEST_ENGINES", "none")
"""How much is tested again with PostgreSQL as the SQL engine: `none`, `small`, or `all`."""

STARTING = ("test_stack.py", "test_soak.py")
"""Files that start all of `tippers up` themselves."""


def pytest_configure() -> None:
    """Homes that tests make are closed to others, as those of users are."""
    os.umask(0o077)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Mark what needs a server before tests are chosen or shuffled, and put them in order after."""
    for item in items:
        if not SERVERS.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("server")
        if item.get_closest_marker("second_engine") and ENGINES == "none":
            item.add_marker(pytest.mark.skip(reason="set TIPPERS_TEST_ENGINES"))
    yield
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: _place(item, slow))


def _place(item: pytest.Item, slow: set[Path]) -> tuple[bool, ...]:
    """The longest first: the last file of a process should be a quick one.

    The tests of the shared deployment come one after the other, so that it is started once, and its
    log is tracked and computed once; last of them those that take a part of it away.
    """
    return (
        not _needs_deployment(item),
        item.get_closest_marker("outage") is not None,
        "tracked_log" in getattr(item, "fixturenames", ()),
        item.path.name not in STARTING,
        item.path not in slow,
    )


def pytest_xdist_make_scheduler(
    config: pytest.Config, log: Producer | None
) -> LoadFileScheduling | None:
    """A file is one process's work, and so are all tests that share the running deployment.

    So are those that start one themselves: a deployment is eight processes, and of more than two at
    a time, pages and commands wait for each other longer than a person would.
    """
    if config.getvalue("dist") != "loadfile":
        return None
    return _Files(config, log)


class _Files(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        folder, _, name = file.rpartition("/")
        if folder.endswith("/journeys") or name == SHARING:
            return "deployment"
        return "starts" if name in STARTING else file


@pytest.fixture(scope="session", autouse=True)
def parsed_projects(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> None:
    """All processes of a test run share the dbt projects that they parse."""
    folder = tmp_path_factory.getbasetemp()
    PARSED.keep_in((folder if worker_id == "master" else folder.parent) / "parsed_projects")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No setting of the developer's shell or ``.env`` reaches a test, nor one test's the next."""
    for name in list(os.environ):
        if name.startswith(("TIPPERS_", "DAGSTER_", "AWS_", "PG")) and name != "TIPPERS_SHARED":
            monkeypatch.delenv(name)
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    monkeypatch.setenv("TIPPERS_HOME", str(tmp_path / "home"))
    # Starting worker processes takes longer than the small tasks of tests; `test_tasks.py` tests
    # that results do not depend on it.
    monkeypatch.setenv("TIPPERS_THREADS", "1")
    _forget_settings()
    yield
    close_keepers()
    _forget_settings()
    PARSED.collect()


def _forget_settings() -> None:
    get_settings.cache_clear()
    databases.cache_clear()
    warehouse_engine.cache_clear()


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder for a home with a server, which is stopped after.

    In memory where there is room: making databases is hundreds of small files, each synced.
    """
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 4 << 30
    where = str(memory) if roomy else None
    with tempfile.TemporaryDirectory(prefix="tippers-test-", dir=where) as name:
        yield Path(name)
        stop_embedded(Path(name))


@pytest.fixture
def deployed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    """The running deployment that tests share; see ``deployment.py``."""
    from tests.deployment import SHARED

    return SHARED.get(tmp_path_factory, tracked="tracked_log" in request.fixturenames)


@pytest.fixture
def tracked_log(deployed: Deployed) -> None:
    """The running deployment has a log that definitions are computed from."""


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop the shared deployment after its last test: it computes as long as it runs."""
    if _needs_deployment(item) and (nextitem is None or not _needs_deployment(nextitem)):
        from tests.deployment import SHARED

        SHARED.stop()


def _needs_deployment(item: pytest.Item) -> bool:
    return "deployed" in getattr(item, "fixturenames", ())


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of the test's own, its embedded server (if the test starts one) stopped after."""
    with server_folder() as folder:
        monkeypatch.setenv("TIPPERS_HOME", str(folder))
        get_settings.cache_clear()
        yield folder


@pytest.fixture
def settings(home: Path) -> Settings:
    """Settings with nothing configured but the home. Using a database starts a server there."""
    return get_settings()


@dataclass(frozen=True)
class SessionServer:
    """The session's server, and how to make databases on it."""

    server: EmbeddedServer
    _cursor: psycopg2.extensions.cursor  # an administrator's, open for the session

    def create(self, template: str = "template0", name: str | None = None) -> str:
        """The owner's libpq URL of a new database, of a name that no other test has."""
        close_keepers()  # one that is connected cannot be copied
        name = name or f"test_{uuid.uuid4().hex[:12]}"
        # Seven times as fast as by the log, as long as nothing is synced.
        self._cursor.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY FILE_COPY").format(
                *map(sql.Identifier, (name, OWNER, template))
            )
        )
        return self.server.url(name)

    def drop(self, url: str) -> None:
        """Remove a database and whoever is connected to it."""
        self.disconnect(url)
        name = sql.Identifier(self.name_of(url))
        self._cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))

    def disconnect(self, url: str) -> None:
        """End all connections to a database, as pools keep them: else it cannot be copied.

        Dropping by force does so, too, but looks every 0.1 s only whether they are gone.
        """
        name = self.name_of(url)
        self._cursor.execute(f"SELECT pg_terminate_backend(pid) {_CONNECTED}", (name,))
        for _ in range(50):
            self._cursor.execute(f"SELECT count(*) {_CONNECTED}", (name,))
            if self._cursor.fetchone() == (0,):
                break
            time.sleep(0.002)

    @staticmethod
    def name_of(url: str) -> str:
        """The name of the database of a URL that ``create`` gave."""
        return url.split("@/", 1)[1].split("?", 1)[0]


_CONNECTED = "FROM pg_stat_activity WHERE datname = %s"


@pytest.fixture(scope="session")
def session_server() -> Iterator[SessionServer]:
    """The embedded server of the session."""
    with server_folder() as folder:
        server = start_embedded(folder)
        without_fsync(server)
        with administering(server.url("postgres", ADMINISTRATOR)) as cursor:
            yield SessionServer(server, cursor)


def without_fsync(server: EmbeddedServer) -> None:
    """Let a server of tests answer before the disk has it: what is killed is not the machine."""
    with administering(server.url("postgres", ADMINISTRATOR)) as cursor:
        cursor.execute("ALTER SYSTEM SET fsync = off")
        cursor.execute("SELECT pg_reload_conf()")


@pytest.fixture(scope="session")
def warehouse_template(session_server: SessionServer) -> str:
    """The name of a migrated warehouse database to copy, with the rights of all roles in it."""
    from tippers_dagster.sql.roles import ensure_roles

    settings = Settings(home=session_server.server.home, device_key=SecretStr(DEVICE_KEY))
    ensure_roles(settings)
    warehouse_engine(settings).dispose()
    return "tippers"


@pytest.fixture(scope="session")
def dagster_template(session_server: SessionServer) -> str:
    """The name of a database with Dagster's tables to copy."""
    from dagster_postgres import DagsterPostgresStorage

    url = sqlalchemy_url(session_server.server.url("dagster"))
    DagsterPostgresStorage(url, should_autocreate_tables=True)  # its connections are not pooled
    return "dagster"


@pytest.fixture
def database(session_server: SessionServer) -> Iterator[str]:
    """The libpq URL of an empty database of the test's own."""
    url = session_server.create()
    yield url
    session_server.drop(url)


def environment_of(folder: Path, warehouse: str, dagster: str) -> dict[str, str]:
    """The environment of a deployment whose home and lake are in a folder."""
    return {
        "TIPPERS_HOME": str(folder / "home"),
        "TIPPERS_DATABASE_URL": warehouse,
        "TIPPERS_DAGSTER_URL": dagster,
        "TIPPERS_LAKE_URL": str(folder / "lake"),
        "TIPPERS_DEVICE_KEY": DEVICE_KEY,
    }


def enter(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Settings:
    """The settings of such a deployment, for this process and those that it starts."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    home = Path(environment["TIPPERS_HOME"])
    home.mkdir(exist_ok=True)
    PARSED.lend(home)
    _forget_settings()
    return get_settings()


@pytest.fixture
def stack(
    session_server: SessionServer,
    warehouse_template: str,
    dagster_template: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Settings]:
    """Settings of a whole deployment: migrated warehouse, Dagster storage, lake in a folder.

    Also put into the environment, for ``get_settings()`` and the processes a test starts. The
    source tables' database is the warehouse's, as in the embedded stack.
    """
    warehouse = session_server.create(warehouse_template, WAREHOUSE)
    dagster = session_server.create(dagster_template)
    yield enter(monkeypatch, environment_of(tmp_path, warehouse, dagster))
    session_server.drop(warehouse)
    session_server.drop(dagster)


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with MLflow's tables to copy: making them takes seconds."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def own_mlflow(mlflow_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An MLflow of the test's own that is ready at once; its address, in the environment too."""
    file = tmp_path / "mlflow.db"
    shutil.copyfile(mlflow_template, file)
    address = f"sqlite:///{file}"
    monkeypatch.setenv("TIPPERS_MLFLOW_URL", address)
    get_settings.cache_clear()
    return address


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data; the test is skipped on a machine without it."""
    folder = Path(os.environ.get("TIPPERS_SHARED", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; TIPPERS_SHARED names another folder")
    return folder


@dataclass(frozen=True)
class Bucket:
    """An S3 bucket of the test's own on a server that speaks HTTP."""

    name: str
    endpoint_url: str

    @property
    def url(self) -> str:
        """What ``TIPPERS_LAKE_URL`` takes."""
        return f"s3://{self.name}/lake"

    @property
    def environment(self) -> dict[str, str]:
        """What reaches it; the credentials are meaningless."""
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "TIPPERS_S3_ENDPOINT_URL": self.endpoint_url,
            "TIPPERS_LAKE_URL": self.url,
        }


def new_bucket(endpoint_url: str) -> Bucket:
    """An empty bucket on this server."""
    import boto3

    bucket = Bucket(f"test-{uuid.uuid4().hex[:12]}", endpoint_url)
    keys = {
        name.lower(): value for name, value in bucket.environment.items() if name.startswith("AWS_")
    }
    client = boto3.client("s3", endpoint_url=endpoint_url, region_name="us-east-1", **keys)
    client.create_bucket(Bucket=bucket.name)
    return bucket


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket, and an environment in which the lake is there."""
    bucket = new_bucket(s3_server)
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    return bucket
