"""A small catalog of two levels, and a project without definitions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Draft, Ref
from tippers_dagster.catalog.names import read_body
from tippers_dagster.settings import Settings, get_settings

REPOSITORY = Path(__file__).resolve().parents[2]


def draft(kind: Kind | str, written: str, *, owner: str = "ada", about: str = "", **body) -> Draft:
    """A draft of ``concept.name``, or of ``name`` if there is no concept."""
    kind = Kind(kind)
    concept, _, name = written.rpartition(".")
    return Draft(Ref(concept, name, kind), read_body(kind, body), about, owner)


def function(written: str, label: str = "STATIC", rule: str = "always_on") -> Draft:
    condition = {"when": "hours >= 15", "label": label}
    return draft("labelling_function", written, rule=rule, labels=[label], conditions=[condition])


def device() -> list[Draft]:
    """A concept whose label model selects the entities of the next one."""
    labels = ("STATIC", "LAPTOP", "PHONE")
    return [
        draft("concept", "device", values=[{"name": label} for label in labels]),
        draft("index", "device.devices", sql="SELECT DISTINCT mac_address FROM space"),
        draft("rule", "device.always_on", index="devices", sql="SELECT mac_address, 1 AS hours"),
        *(function(f"device.votes_{label.lower()}", label) for label in labels),
        draft(
            "label_model",
            "device.device_type",
            index="devices",
            labelling_functions=[f"votes_{label.lower()}" for label in labels],
        ),
    ]


def people() -> list[Draft]:
    """The next level: everything that is not static."""
    return [
        draft("concept", "people", values=[{"name": "VISITOR"}, {"name": "RESIDENT"}]),
        draft(
            "derived_index",
            "people.people",
            parent="device.devices",
            label_model="device.device_type",
            labels=["LAPTOP", "PHONE"],
            include_unlabelled=True,
        ),
        draft("rule", "people.span", index="people", sql="SELECT mac_address, 1 AS days"),
        function("people.short_span", "VISITOR", "span"),
    ]


def ref(written: str, kind: Kind | str = Kind.RULE) -> Ref:
    concept, _, name = written.rpartition(".")
    return Ref(concept, name, Kind(kind))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a dbt project without definitions."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(REPOSITORY / "dbt_project" / "dbt_project.yml", folder)
    monkeypatch.setenv("TIPPERS_DBT_PROJECT", str(folder))
    return folder


@pytest.fixture
def deployment(project: Path, stack: Settings) -> Settings:
    """A deployment with that project."""
    get_settings.cache_clear()
    return get_settings()
