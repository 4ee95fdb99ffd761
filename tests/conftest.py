"""Fixtures for all tests.

One embedded PostgreSQL serves the whole session. A test with the fixture ``stack`` gets its own
databases on it, copied from templates, its own home and lake, and the environment for processes
that it starts.
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

import psycopg2
import pytest
from psycopg2 import sql
from pydantic import SecretStr
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from tippers_dagster.local.databases import databases
from tippers_dagster.local.owner import OWNER, administering
from tippers_dagster.local.postgres import (
    ADMINISTRATOR,
    EmbeddedServer,
    start_embedded,
    stop_embedded,
)
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.warehouse.engine import sqlalchemy_url, warehouse_engine
from tippers_dagster.warehouse.keeper import close_keepers

REPOSITORY = Path(__file__).resolve().parents[1]

DEVICE_KEY = "5e" * 32
"""The device key of all tests' homes, as it decides which entities are held out."""

DEPLOYMENTS = ("test_stack.py", "test_deployment.py", "test_soak.py")
"""Files that start the whole `tippers up`, as the journeys do."""


def pytest_configure() -> None:
    """Make the tests' homes private, like those of users."""
    os.umask(0o077)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the journeys and files with slow tests, so that the last file is a quick one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path.parent.name != "journeys", item.path not in slow))


def pytest_xdist_make_scheduler(
    config: pytest.Config, log: Producer | None
) -> LoadFileScheduling | None:
    """Each file is run by one process, and all tests of running deployments by the same one.

    A deployment has eight processes. Two deployments at a time on two cores would make pages and
    commands wait longer than a user would.
    """
    if config.getvalue("dist") != "loadfile":
        return None
    return _Files(config, log)


class _Files(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        folder, _, name = file.rpartition("/")
        return "deployments" if folder.endswith("/journeys") or name in DEPLOYMENTS else file


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Isolate tests from the developer's shell and ``.env``, and from other tests' settings."""
    for name in list(os.environ):
        if name.startswith(("TIPPERS_", "DAGSTER_", "AWS_", "PG")) and name != "TIPPERS_SHARED":
            monkeypatch.delenv(name)
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    monkeypatch.setenv("TIPPERS_HOME", str(tmp_path / "home"))
    _forget_settings()
    yield
    close_keepers()
    _forget_settings()


def _forget_settings() -> None:
    get_settings.cache_clear()
    databases.cache_clear()
    warehouse_engine.cache_clear()


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder for a home with a server, which is stopped afterwards.

    In memory if there is space: a new database has hundreds of small files, and each is synced.
    """
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 4 << 30
    where = str(memory) if roomy else None
    with tempfile.TemporaryDirectory(prefix="tippers-test-", dir=where) as name:
        yield Path(name)
        stop_embedded(Path(name))


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home for one test; its embedded server, if the test starts it, is stopped afterwards."""
    with server_folder() as folder:
        monkeypatch.setenv("TIPPERS_HOME", str(folder))
        get_settings.cache_clear()
        yield folder


@pytest.fixture
def settings(home: Path) -> Settings:
    """Settings with only the home configured. Using a database starts a server there."""
    return get_settings()


@dataclass(frozen=True)
class SessionServer:
    """The session's server; creates and drops databases on it."""

    server: EmbeddedServer

    def create(self, template: str = "template0") -> str:
        """The owner's libpq URL of a new database."""
        close_keepers()  # a database with connections cannot be copied
        name = f"test_{uuid.uuid4().hex[:12]}"
        with self._cursor() as cursor:
            # Seven times as fast as through the log, as long as nothing is synced.
            cursor.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY FILE_COPY").format(
                    *map(sql.Identifier, (name, OWNER, template))
                )
            )
        return self.server.url(name)

    def drop(self, url: str) -> None:
        """Drop a database and its connections."""
        self.disconnect(url)
        with self._cursor() as cursor:
            name = sql.Identifier(self.name_of(url))
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))

    def disconnect(self, url: str) -> None:
        """End all connections to a database, which pools keep open, so that it can be copied.

        Dropping by force does this, too, but checks only every 0.1 s whether they have ended.
        """
        name = self.name_of(url)
        with self._cursor() as cursor:
            cursor.execute(f"SELECT pg_terminate_backend(pid) {_CONNECTED}", (name,))
            for _ in range(50):
                cursor.execute(f"SELECT count(*) {_CONNECTED}", (name,))
                if cursor.fetchone() == (0,):
                    break
                time.sleep(0.002)

    @staticmethod
    def name_of(url: str) -> str:
        """The name of the database in a URL from ``create``."""
        return url.split("@/", 1)[1].split("?", 1)[0]

    @contextmanager
    def _cursor(self) -> Iterator[psycopg2.extensions.cursor]:
        with administering(self.server.url("postgres", ADMINISTRATOR)) as cursor:
            yield cursor


_CONNECTED = "FROM pg_stat_activity WHERE datname = %s"


@pytest.fixture(scope="session")
def session_server() -> Iterator[SessionServer]:
    """The embedded server of the session."""
    with server_folder() as folder:
        made = SessionServer(start_embedded(folder))
        with made._cursor() as cursor:
            cursor.execute("ALTER SYSTEM SET fsync = off")
            cursor.execute("SELECT pg_reload_conf()")
        yield made


@pytest.fixture(scope="session")
def warehouse_template(session_server: SessionServer) -> str:
    """The name of a migrated warehouse database to copy, with the rights of all roles."""
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
    """The libpq URL of an empty database for one test."""
    url = session_server.create()
    yield url
    session_server.drop(url)


def environment_of(folder: Path, warehouse: str, dagster: str) -> dict[str, str]:
    """The environment of a deployment with its home and lake in a folder."""
    return {
        "TIPPERS_HOME": str(folder / "home"),
        "TIPPERS_DATABASE_URL": warehouse,
        "TIPPERS_DAGSTER_URL": dagster,
        "TIPPERS_LAKE_URL": str(folder / "lake"),
        "TIPPERS_DEVICE_KEY": DEVICE_KEY,
    }


def enter(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Settings:
    """Apply such an environment to this process and those that it starts; returns the settings."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    Path(environment["TIPPERS_HOME"]).mkdir(exist_ok=True)
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

    They are also in the environment, for ``get_settings()`` and processes that a test starts. The
    source tables are in the warehouse, as in the embedded stack.
    """
    warehouse = session_server.create(warehouse_template)
    dagster = session_server.create(dagster_template)
    yield enter(monkeypatch, environment_of(tmp_path, warehouse, dagster))
    session_server.drop(warehouse)
    session_server.drop(dagster)


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with MLflow's tables to copy, as creating them takes seconds."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def own_mlflow(mlflow_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an MLflow store for one test, which is also in the environment."""
    file = tmp_path / "mlflow.db"
    shutil.copyfile(mlflow_template, file)
    address = f"sqlite:///{file}"
    monkeypatch.setenv("TIPPERS_MLFLOW_URL", address)
    get_settings.cache_clear()
    return address


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data; the test is skipped if it does not exist."""
    folder = Path(os.environ.get("TIPPERS_SHARED", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set TIPPERS_SHARED to its folder")
    return folder


@dataclass(frozen=True)
class Bucket:
    """An S3 bucket for one test, on an HTTP server."""

    name: str
    endpoint_url: str

    @property
    def url(self) -> str:
        """The value for ``TIPPERS_LAKE_URL``."""
        return f"s3://{self.name}/lake"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of an S3 server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket, with the environment to use it: endpoint and (dummy) credentials."""
    import boto3

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("TIPPERS_S3_ENDPOINT_URL", s3_server)
    name = f"test-{uuid.uuid4().hex[:12]}"
    client = boto3.client("s3", endpoint_url=s3_server, region_name="us-east-1")
    client.create_bucket(Bucket=name)
    monkeypatch.setenv("TIPPERS_LAKE_URL", f"s3://{name}/lake")
    get_settings.cache_clear()
    return Bucket(name, s3_server)
