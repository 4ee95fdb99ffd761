"""A small set of saved definitions, and a dbt project with only the staging models."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.dbt_project.lake import extract_log
from tests.occupancy.campus import Seen, fill
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import (
    Body,
    Concept,
    ConceptValue,
    Condition,
    DerivedIndex,
    Feature,
    Index,
    Kind,
    LabellingFunction,
    LabelModel,
    Rule,
)
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.settings import Settings, get_settings

REPOSITORY = Path(__file__).resolve().parents[2]

MACS = tuple(f"aa:bb:cc:dd:ee:{n:02x}" for n in range(6))


def saved(kind: Kind, concept: str, name: str, body: Body, **more: object) -> Definition:
    """A definition as stored in the database."""
    return Definition(Ref(concept, name, kind), body, version=1, **more)  # type: ignore[arg-type]


def labelling(name: str, label: str) -> Definition:
    body = LabellingFunction(
        rule="long", labels=(label,), conditions=(Condition(when="hours > 1", label=label),)
    )
    return saved(Kind.LABELLING_FUNCTION, "device", name, body)


def rule(sql: str, name: str = "long", index: str = "devices", **more: object) -> Definition:
    return saved(Kind.RULE, "device", name, Rule(index=index, sql=sql), **more)


DEVICE = saved(
    Kind.CONCEPT, "", "device", Concept(values=(ConceptValue(name="A"), ConceptValue(name="B")))
)
DEVICES = saved(
    Kind.INDEX,
    "device",
    "devices",
    Index(sql="SELECT DISTINCT mac_address FROM int_sessions"),
    description="One row per device.",
    owner="ada@example.org",
)
LONG = rule(
    "SELECT mac_address, avg(seconds) / 3600 AS hours, count(*) AS sessions, "
    "max(room_type) AS room FROM int_sessions WHERE mac_address IN (:index_values) GROUP BY 1",
    description="One row per device: how long its sessions last.",
)
MODEL = saved(
    Kind.LABEL_MODEL,
    "device",
    "type",
    LabelModel(index="devices", labelling_functions=("is_a", "is_b", "is_b_too")),
)
CHOSEN = saved(
    Kind.DERIVED_INDEX,
    "device",
    "chosen",
    DerivedIndex(parent="devices", label_model="type", labels=("A",), minimum_confidence=0.6),
)
NUMBERS = saved(
    Kind.FEATURE,
    "device",
    "numbers",
    Feature(
        index="chosen",
        sql="SELECT mac_address, min(start_time) AS first_time, sum(seconds) AS seconds "
        "FROM int_sessions WHERE mac_address IN (SELECT mac_address FROM chosen) "
        "GROUP BY mac_address",
    ),
)
ALL = (
    DEVICE,
    DEVICES,
    LONG,
    labelling("is_a", "A"),
    labelling("is_b", "B"),
    labelling("is_b_too", "B"),
    MODEL,
    CHOSEN,
    NUMBERS,
)


def catalog(*changed: Definition, without: Iterable[Definition] = ()) -> Catalog:
    """The small set with some definitions added or replaced."""
    gone = {d.ref for d in without}
    by_name = {d.ref: d for d in (*ALL, *changed) if d.ref not in gone}
    return Catalog(by_name.values())


def bare_project(folder: Path) -> Path:
    """A copy of the hand-written project without any definition."""
    source = REPOSITORY / "dbt_project"
    shutil.copytree(source / "models" / "staging", folder / "models" / "staging")
    shutil.copytree(source / "macros", folder / "macros")
    shutil.copytree(source / "tests", folder / "tests")
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(source / name, folder / name)
    return folder


def use_bare_project(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Settings:
    """Settings with such a project."""
    monkeypatch.setenv("TIPPERS_DBT_PROJECT", str(bare_project(folder)))
    get_settings.cache_clear()
    return get_settings()


def fill_source(settings: Settings) -> None:
    """Three sessions of each device; each device's are an hour longer than the previous one's."""
    start = dt.datetime(2025, 1, 6, 9)
    rows = [
        Seen(mac, "r1", start + dt.timedelta(days=day), start + dt.timedelta(days=day, hours=n + 1))
        for n, mac in enumerate(MACS)
        for day in range(3)
    ]
    fill(settings, {"hall": None, "r1": "hall"}, rows)
    extract(settings)


def extract(settings: Settings) -> None:
    """Extract the log of the source's week; call it again after the source has changed."""
    extract_log(settings, space=None, start=dt.date(2025, 1, 6), end=dt.date(2025, 1, 13))
