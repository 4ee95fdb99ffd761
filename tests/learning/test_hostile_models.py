"""Models replaced by an attacker through MLflow's HTTP interface, which has no login."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import dagster as dg
import pytest
import requests
import yaml

from benchmarks.soak import free_ports
from streamlit_app.services import models as service
from streamlit_app.services.app import App
from tests.labelling.small import LABELS
from tests.learning.registered import NAME, REF, Registered, fill, registered  # noqa: F401
from tippers_dagster.access.model import Person, Role
from tippers_dagster.automation.state import load_states
from tippers_dagster.learning.models import load_model
from tippers_dagster.learning.predictions import has_predictions
from tippers_dagster.learning.registry import NotRegistered, decisions, promote
from tippers_dagster.learning.saved import FILE, parse_model
from tippers_dagster.platform.mlflow.client import mlflow_client
from tippers_dagster.platform.mlflow.model_files import ModelRefused, model_files
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.stack.services import http_ok

ROOT = str(Path(__file__).resolve().parents[2])


class Evil:
    """Creates a folder when it is unpickled, or when skops builds it."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.marker,)

    def __setstate__(self, state: dict[str, Any]) -> None:
        os.mkdir(state["marker"])


class EvilInSkops(Evil):
    __reduce__ = object.__reduce__


@dataclass
class Attacker:
    """An attacker who can reach MLflow's port, and knows only what MLflow shows."""

    url: str
    marker: Path

    def place(self, version: int = 1) -> str:
        asked = {"name": NAME, "version": str(version)}
        answer = requests.get(
            f"{self.url}/api/2.0/mlflow/model-versions/get-download-uri", asked, timeout=120
        )
        uri = answer.json()["artifact_uri"]
        return f"{self.url}/api/2.0/mlflow-artifacts/artifacts/{uri.partition(':/')[2]}"

    def read(self, path: str) -> bytes:
        return requests.get(f"{self.place()}/{path}", timeout=120).content

    def write(self, path: str, content: bytes) -> None:
        answer = requests.put(f"{self.place()}/{path}", data=content, timeout=120)
        assert answer.ok, answer.text

    def delete(self, path: str) -> None:
        assert requests.delete(f"{self.place()}/{path}", timeout=120).ok

    def claim(self, **flavours: Any) -> None:
        """Change ``MLmodel``."""
        told = yaml.safe_load(self.read("MLmodel"))
        for flavour, changes in flavours.items():
            told["flavors"][flavour].update(changes)
        self.write("MLmodel", yaml.safe_dump(told).encode())

    # --- attacks ----------------------------------------------------------------------------------
    def pickle_of_sklearn(self) -> None:
        self.write("model.pkl", pickle.dumps(Evil(self.marker)))
        self.claim(
            sklearn={"pickled_model": "model.pkl", "serialization_format": "pickle"},
            python_function={"model_path": "model.pkl"},
        )
        self.write(FILE, pickle.dumps(Evil(self.marker)))

    def cloudpickle_of_pyfunc(self) -> None:
        self.write("python_model.pkl", cloudpickle.dumps(Evil(self.marker)))
        self.claim(
            python_function={
                "loader_module": "mlflow.pyfunc.model",
                "python_model": "python_model.pkl",
                "cloudpickle_version": cloudpickle.__version__,
            }
        )
        self.delete(FILE)

    def module_beside_it(self) -> None:
        self.write("code/evil_loader.py", f"import os\nos.mkdir({str(self.marker)!r})\n".encode())
        self.claim(python_function={"loader_module": "evil_loader", "code": "code"})
        self.write(FILE, b"no model")

    def types_that_it_trusts_itself(self) -> None:
        self.write(FILE, skops_of(EvilInSkops(self.marker)))
        trusted = [f"{EvilInSkops.__module__}.{EvilInSkops.__name__}"]
        self.claim(sklearn={"skops_trusted_types": trusted})

    def another_version(self) -> None:
        """Register another version, and move the alias to it."""
        other = self.url + "/api/2.0/mlflow"
        source = requests.get(
            f"{other}/model-versions/get", {"name": NAME, "version": "1"}, timeout=120
        ).json()["model_version"]
        made = {k: source[k] for k in ("name", "source", "run_id", "tags") if k in source}
        made["model_id"] = source["source"].removeprefix("models:/")
        answer = requests.post(f"{other}/model-versions/create", json=made, timeout=120)
        assert answer.ok, answer.text
        number = answer.json()["model_version"]["version"]
        alias = {"name": NAME, "alias": "champion", "version": number}
        assert requests.post(f"{other}/registered-models/alias", json=alias, timeout=120).ok


def skops_of(thing: Any) -> bytes:
    import skops.io

    return bytes(skops.io.dumps(thing))


@pytest.fixture
def attacked(
    stack: Settings, mlflow_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Registered, Attacker]]:
    """A champion, version 1, in an MLflow server like the local stack's."""
    file, port = tmp_path / "mlflow.db", free_ports()["TIPPERS_MLFLOW_PORT"]
    file.write_bytes(mlflow_template.read_bytes())
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{file}"]
    command += ["--artifacts-destination", str(tmp_path / "artifacts")]
    with (tmp_path / "mlflow.log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until = time.monotonic() + 300
            while not http_ok(f"{url}/health"):
                assert server.poll() is None, (tmp_path / "mlflow.log").read_text()
                assert time.monotonic() < until, "MLflow does not start"
                time.sleep(0.2)
            monkeypatch.setenv("TIPPERS_MLFLOW_URL", url)
            get_settings.cache_clear()
            with dg.DagsterInstance.ephemeral() as instance:
                world = Registered(get_settings(), instance)
                fill(world)
                world.train_asset()
                world.register()
                promote(world.settings, NAME, 1, "ada")
                yield world, Attacker(url, tmp_path / "executed")
        finally:
            server.terminate()
            server.wait(30)


PREDICT = """
import sys
from tests.learning.registered import Registered
from tippers_dagster.catalog import store
from tippers_dagster.cli import main
from tippers_dagster.settings import get_settings

def tripwire(event, arguments):
    if event in ("pickle.find_class", "os.system", "os.mkdir", "subprocess.Popen"):
        seen.append((event, str(arguments)))

def told(*_):
    print("SEEN", [s for s in seen if "tippers-model-" not in s[1]], file=sys.stderr)

from tippers_dagster.platform.mlflow import model_files
from tippers_dagster.learning import models, saved
seen = []
def watched(*arguments, real=models.read_model):
    seen.clear()
    try:
        return real(*arguments)
    finally:
        told()
models.read_model = watched
store.load_catalog = lambda _: Registered(get_settings(), None).catalog
from tippers_dagster.platform.mlflow.client import mlflow_client
import skops.io, mlflow.store.artifact.models_artifact_repo
with mlflow_client(get_settings()):
    pass
sys.addaudithook(tripwire)
main()
"""


def tippers(*words: str) -> subprocess.CompletedProcess[str]:
    """The command line in a separate process that records the calls of loading a model."""
    return subprocess.run(
        [sys.executable, "-c", PREDICT, *words],
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_a_replaced_champion_is_refused_and_runs_nothing(
    attacked: tuple[Registered, Attacker],
) -> None:
    world, attacker = attacked
    kept = {path: attacker.read(path) for path in ("MLmodel", FILE)}
    app = App(world.settings, Person("ada", Role.ANALYST))
    for attack in (
        attacker.pickle_of_sklearn,
        attacker.cloudpickle_of_pyfunc,
        attacker.module_beside_it,
        attacker.types_that_it_trusts_itself,
    ):
        attack()
        service._loaded.cache_clear()
        with pytest.raises(ModelRefused, match=f"Version 1 of {NAME} is not loaded") as refused:
            service.model_of(app, REF, 1)
        assert f"tippers pipeline materialize {NAME} --no-stale-only" in str(refused.value)
        assert not attacker.marker.exists(), attack.__name__
        for path, content in kept.items():
            attacker.write(path, content)

    attacker.pickle_of_sklearn()
    done = tippers("predict", NAME)
    assert done.returncode == 1, done.stderr
    assert f"Version 1 of {NAME} is not loaded" in done.stderr
    assert "Traceback" not in done.stderr
    assert "SEEN []" in done.stderr
    assert done.stdout == ""
    assert not world.predict().success
    error = load_states(world.settings)["device/guess__predictions"].error
    assert error is not None
    assert "was changed after it was registered" in error
    assert not has_predictions(world.settings, "device", "guess")
    assert not attacker.marker.exists()

    # Training again helps: the new version replaces one that cannot be read.
    world.register(0.1)
    assert world.run().success
    assert "is not loaded" in decisions(world.settings, NAME)[0].reason
    answer = tippers("predict", NAME)
    assert answer.returncode == 0, answer.stderr
    assert "SEEN []" in answer.stderr, "loading calls nothing that could execute"
    assert answer.stdout.count("\n") > 100

    attacker.another_version()
    found = service.registry(app, REF)
    assert found is not None
    assert found.champion is not None
    assert found.champion.number == 2, "the alias is MLflow's, the champion is ours"
    assert [v.number for v in found.versions] == [2, 1]
    with pytest.raises(NotRegistered, match="no version 3"):
        service.promote(app, REF, 3)
    with pytest.raises(ModelRefused, match="no record of registering it"):
        load_model(world.settings, NAME, 3)


def test_loading_through_mlflow_would_be_attacked(registered: Registered, tmp_path: Path) -> None:  # noqa: F811
    """The attacks work if a model is loaded through MLflow, which refuses in our processes."""
    import mlflow
    from mlflow.exceptions import MlflowException

    registered.register()
    with mlflow_client(registered.settings), pytest.raises(MlflowException, match="disallowed"):
        mlflow.sklearn.load_model(f"models:/{NAME}/1")
    with pytest.raises(MlflowException, match="disallowed"):
        mlflow.pyfunc.load_model(f"models:/{NAME}/1")
    marker = tmp_path / "executed"
    pickle.loads(pickle.dumps(Evil(marker)))
    assert marker.exists()


# --- versions from before digests were recorded ---------------------------------------------------
def file_of(world: Registered) -> Path:
    """The path of version 1's file in MLflow."""
    with mlflow_client(world.settings) as client:
        uri = client.get_model_version_download_uri(NAME, "1")
    return Path(uri.removeprefix("file://")) / FILE


def forget_digest(world: Registered) -> None:
    world.execute("UPDATE tippers.model_file SET sha256 = NULL, bytes = NULL, recorded_at = NULL")


def test_a_version_of_an_earlier_home_is_recorded_when_it_is_first_used(
    registered: Registered,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    registered.register()
    (before,) = model_files(registered.settings, NAME)
    forget_digest(registered)
    assert load_model(registered.settings, NAME, 1).classes == tuple(sorted(LABELS))
    assert "was registered before digests were recorded" in caplog.text
    (after,) = model_files(registered.settings, NAME)
    assert (after.sha256, after.bytes) == (before.sha256, before.bytes)
    file = file_of(registered)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelRefused, match="was changed after"):
        load_model(registered.settings, NAME, 1)


def test_a_version_in_another_format_is_not(
    registered: Registered,  # noqa: F811
    tmp_path: Path,
) -> None:
    registered.register()
    forget_digest(registered)
    marker, file = tmp_path / "executed", file_of(registered)
    for content, why in (
        (pickle.dumps(Evil(marker)), "BadZipFile"),
        (skops_of(EvilInSkops(marker)), r"EvilInSkops \(ObjectNode\)"),
        (skops_of([print, len]), r"builtins\.len"),
        (skops_of({"a": 1}), "not a classifier"),
    ):
        file.write_bytes(content)
        with pytest.raises(ModelRefused, match=f"^Version 1 of {NAME} is not loaded. .*{why}"):
            load_model(registered.settings, NAME, 1)
        assert not marker.exists()
    assert model_files(registered.settings, NAME)[0].sha256 is None
    file.unlink()
    with pytest.raises(ModelRefused, match="is missing in MLflow"):
        load_model(registered.settings, NAME, 1)


def test_a_file_that_unpacks_to_too_much_or_too_deep_is_not_read() -> None:
    with pytest.raises(ModelRefused, match="damaged or not a skops model"):
        parse_model(packed("[" * 100_000))
    with pytest.raises(ModelRefused, match="damaged or not a skops model"):
        parse_model(packed("{}"))
    node = {"__class__": "system", "__module__": "posix", "__loader__": "FunctionNode"}
    with pytest.raises(ModelRefused, match=r"posix\.system \(FunctionNode\)"):
        parse_model(packed(json.dumps(node)))


def packed(schema: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        file.writestr("schema.json", schema)
    return sink.getvalue()
