"""Secrets and device addresses are only where they belong.

A deployment with known passwords, keys and addresses is used as users would; then every table,
file, log and export is searched for them.
"""

from __future__ import annotations

import csv
import datetime as dt
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from streamlit_app.services import connections as pages
from streamlit_app.services import labels
from streamlit_app.services import runs as run_pages
from streamlit_app.services.app import App
from streamlit_app.services.definitions import files as definition_files
from streamlit_app.services.occupancy.export import export
from streamlit_app.services.occupancy.window import Window
from tests.conftest import Bucket
from tests.connections.conftest import PASSWORD, Other, guarded, other
from tests.graph.small import ALL, Small, draft, function, rule
from tests.leaks import Leak, Wanted, database_leaks, folder_leaks, server_leaks, unpacked
from tippers_dagster.access.model import Person, Role
from tippers_dagster.campus.intake.ingest import ingest_file
from tippers_dagster.catalog.kinds import Classifier, ConnectionTable, Feature, Index, Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.catalog.store import load_catalog
from tippers_dagster.connections import store as connections
from tippers_dagster.labelling.gold import give
from tippers_dagster.occupancy.tracking import track_space
from tippers_dagster.platform.dagster.environment import dagster_instance
from tippers_dagster.platform.postgres.databases import databases
from tippers_dagster.platform.postgres.embedded import ADMINISTRATOR
from tippers_dagster.platform.postgres.owner import OWNER
from tippers_dagster.platform.table_files import Format
from tippers_dagster.settings import Settings, get_settings
from tippers_dagster.stack.doctor import examine

__all__ = ["guarded", "other"]

pytestmark = pytest.mark.slow

DEVICE = "02:ca:fe:4b:1d"
"""The prefix of all device addresses, so that any address in an error is found."""

FERNET = "cGxhbnRlZC1mZXJuZXQta2V5LW9mLTMyLWJ5dGVzISE="
SECRETS = {
    "warehouse password": "Wh-secret/7Qz",
    "dagster password": "Dg-secret/8Xk",
    "connection password": PASSWORD,
    "device key": "7d0e5c1f9a3b4826" * 4,
    "secrets key": FERNET,
    "S3 secret": "S3/secret+planted0001",
}
"""Secrets, by what they are for."""

BY_DESIGN = (
    # The log itself and its rejected rows, for those who load it.
    r"source\.user_ap_trajectory",
    r"tippers\.(reject|session_reject)",
    # The way back from a device's id in the lake.
    r"tippers\.device_address",
    # Results of definitions per device, joined by its address.
    r"(staging|indexes|rules|features|labels|predictions)\.\w+",
    r"tippers\.gold_label",
    # The server's statistics about these columns, for its query plans.
    r"pg_catalog\.pg_statistic",
)
"""Tables of the warehouse that contain device addresses."""

GUESS = Classifier(
    index="devices",
    label_model="type",
    features=("habits",),
    threshold=0.5,
    minimum_per_class=2,
    folds=2,
    models=("naive_bayes",),
)
HABITS = "SELECT mac_address, sum(seconds) AS seconds FROM int_sessions GROUP BY mac_address"
FAILING = (
    # The database's error contains the invalid value; the run reports the error.
    rule(
        "to_number", "SELECT mac_address, max(mac_address::int) AS n FROM int_sessions GROUP BY 1"
    ),
    draft(
        Kind.INDEX,
        "twice",
        Index(
            sql="SELECT mac_address FROM int_sessions UNION ALL SELECT mac_address FROM "
            "int_sessions"
        ),
    ),
    function("no_number", "1 / (sessions - sessions) > 1", "A"),
)


@dataclass(frozen=True)
class Used:
    """A deployment after use: its databases, its folders, its output and exports."""

    settings: Settings
    folder: Path
    bucket: Bucket
    outputs: dict[str, bytes]

    def leaks(self, wanted: Wanted) -> Iterator[Leak]:
        """All places with one of the values."""
        places = databases(self.settings)
        for name, url in {"warehouse": places.warehouse, "dagster": places.dagster}.items():
            for leak in database_leaks(as_administrator(url), wanted):
                yield Leak(leak.name, f"{name} {leak.place}", leak.around)
        yield from server_leaks(as_administrator(places.warehouse), wanted)
        yield from folder_leaks(self.folder, wanted, skipped=("in", "project"))
        for key, content in self.objects().items():
            for part in unpacked(content):
                yield from wanted.leaks(f"lake {key}", part)
        for command, content in self.outputs.items():
            for part in unpacked(content):
                yield from wanted.leaks(f"output of {command}", part)

    def objects(self) -> dict[str, bytes]:
        """All objects of the lake."""
        import boto3

        client = boto3.client("s3", endpoint_url=self.bucket.endpoint_url, region_name="us-east-1")
        listed = client.list_objects_v2(Bucket=self.bucket.name).get("Contents", [])
        names = [entry["Key"] for entry in listed]
        return {
            name: client.get_object(Bucket=self.bucket.name, Key=name)["Body"].read()
            for name in names
        }


def with_password(url: str, secret: str) -> str:
    from urllib.parse import quote

    return url.replace(f"//{OWNER}@", f"//{OWNER}:{quote(SECRETS[secret], safe='')}@")


def as_administrator(url: str) -> str:
    """The URL of the administrator, who may read every table."""
    return re.sub(f"//{OWNER}(:[^@]*)?@", f"//{ADMINISTRATOR}@", url)


@pytest.fixture
def planted(
    bare: Settings, s3: Bucket, own_mlflow: str, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """The settings of the deployment, with all kinds of secrets."""
    values = {
        "TIPPERS_DATABASE_URL": with_password(databases(bare).warehouse, "warehouse password"),
        "TIPPERS_DAGSTER_URL": with_password(databases(bare).dagster, "dagster password"),
        "TIPPERS_DEVICE_KEY": SECRETS["device key"],
        "TIPPERS_SECRETS_KEYS": FERNET,
        "AWS_SECRET_ACCESS_KEY": SECRETS["S3 secret"],
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    databases.cache_clear()
    return get_settings()


def sessions_file(folder: Path) -> Path:
    """Sessions of some devices, half of them long, and one invalid session."""
    start = dt.datetime(2025, 1, 7, 9)
    rows = [["mac_address", "sensor_id", "start_time", "end_time", "space_id"]]
    for n in range(24):
        mac = f"{DEVICE}:{n:02x}"
        for day in range(2):
            begin = start + dt.timedelta(days=day, minutes=n)
            end = begin + dt.timedelta(hours=1 + 5 * (n % 2), minutes=n)
            rows.append([mac, "ap", f"{begin}", f"{end}", "r1"])
    rows.append([f"{DEVICE}:ff", "ap", "2025-01-07 10:00:00", "2025-01-07 09:00:00", "r1"])
    folder.mkdir()
    path = folder / "sessions.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def used(planted: Settings, other: Other, s3: Bucket, tmp_path: Path) -> Used:
    """A deployment that was ingested, tracked, defined, computed, trained and exported."""
    outputs: dict[str, bytes] = {}

    def tippers(*words: str, status: int = 0) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "tippers_dagster.cli", *words],
            env={**os.environ, "COLUMNS": "200"},
            capture_output=True,
            check=False,
        )
        outputs[" ".join(words[:2])] = done.stdout + done.stderr
        assert done.returncode == status, outputs

    ingest_file(planted, "sessions", sessions_file(tmp_path / "in"))
    day, end = dt.date(2025, 1, 6), dt.date(2025, 1, 13)
    track_space(planted, space="hall", start=day, end=end)
    tippers("occupancy", "materialize")
    app = App(planted, Person("ada", Role.ADMIN))
    week = Window(dt.datetime(2025, 1, 6), dt.datetime(2025, 1, 13))
    kinds: tuple[Format, ...] = ("csv", "parquet")
    for kind in kinds:
        outputs[f"counts as {kind}"] = export(app, "r1", week, 3600, kind)

    connections.add(planted, "registrar", other.fields, by="ada", password=PASSWORD)
    connections.choose(planted, "registrar", ConnectionTable(name="enrolment"), by="ada")
    tippers("connections", "sync", "registrar")
    wrong = {**other.fields, "database": "nowhere"}
    connections.add(planted, "broken", wrong, by="ada", password=PASSWORD)
    outputs["broken connection"] = repr(pages.test(app, "broken")).encode()
    outputs["connections"] = repr(pages.listing(app)).encode()
    with dagster_instance(planted) as instance:
        small = Small(planted, instance)
        small.save(
            *ALL,
            draft(Kind.FEATURE, "habits", Feature(index="devices", sql=HABITS)),
            draft(Kind.CLASSIFIER, "guess", GUESS),
        )
        give(planted, "device", f"{DEVICE}:00", "A", by="ada")
        found = small.materialize()
        assert found["device/guess__predictions"].state == "computed", found
        small.save(*FAILING)
        tippers("pipeline", "materialize", status=1)
        failed = [run.run_id for run in run_pages.find(app, states=["failed"]).runs]
        assert failed
        outputs["run pages"] = repr([run_pages.details(app, run) for run in failed]).encode()
        catalog = load_catalog(planted)
        outputs["definitions"] = definition_files.exported(definition_files.to_export(catalog))
        outputs["labels for analysts"] = labels.export(
            app, Ref("device", "type", Kind.LABEL_MODEL), "csv"
        )
    outputs["doctor"] = repr(examine()).encode()
    return Used(planted, tmp_path, s3, outputs)


def test_secrets_and_addresses_are_only_where_they_belong(used: Used) -> None:
    found = list(used.leaks(Wanted({**SECRETS, "device": DEVICE})))
    assert [leak for leak in found if leak.name != "device"] == []

    places = {leak.place for leak in found}
    assert "warehouse indexes.device__devices" in places  # the search works
    assert "output of labels for analysts" in places
    assert "warehouse tippers.reject" in places
    stray = [
        leak
        for leak in found
        if leak.name == "device"
        and leak.place != "output of labels for analysts"
        and not any(re.fullmatch(f"warehouse {table}", leak.place) for table in BY_DESIGN)
    ]
    assert stray == []


@pytest.mark.parametrize("value", [*SECRETS.values(), DEVICE])
def test_a_value_is_found_in_any_encoding(value: str) -> None:
    import base64
    from urllib.parse import quote

    wanted = Wanted({"it": value})
    written = [
        f"x{value}y",
        quote(value, safe=""),
        base64.b64encode(value.encode()).decode(),
        base64.b64encode(f"user:{value}@host".encode()).decode(),
        value.encode().hex(),
    ]
    if value == DEVICE:
        written += [value.upper(), value.replace(":", ""), value.replace(":", "-").upper()]
    for text in written:
        assert list(wanted.leaks("here", text.encode())), text
    assert not list(wanted.leaks("here", b"nothing of it"))
