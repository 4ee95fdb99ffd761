"""A small campus with all its occupancy, of which every test gets a copy of its own.

Two buildings, two weeks of sessions and both chunks of them computed, so that a test can take one
away. Making it takes seconds and happens once; a copy takes a part of one.
"""

from __future__ import annotations

import datetime as dt
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import streamlit as st
from streamlit import config

from streamlit_app.services.app import App
from tests.conftest import SessionServer, _forget_settings, enter, environment_of
from tests.occupancy.campus import compute_all, look_again
from tests.streamlit_app.chromium import browser
from tippers_dagster.access.model import Person, Role
from tippers_dagster.campus.source.load import load_transaction
from tippers_dagster.settings import Settings
from tippers_dagster.simulation import CampusOptions, simulate_campus, write_campus

__all__ = ["browser"]

FIRST, UNTIL = dt.date(2025, 1, 20), dt.date(2025, 2, 3)
"""The local dates that the campus has sessions of; chunks begin on 2025-01-20 and 2025-01-27."""

TINY = CampusOptions(people=80, buildings=2, days=14, start=FIRST, seed=5)

# After each run of a page it takes longer than the page: a test imports more than an app.
config.set_option("runner.postScriptGC", False)
# As `tippers app` does: without a login the app is for this machine only.
config.set_option("server.address", "127.0.0.1")


@dataclass(frozen=True)
class Made:
    """What was made once: its databases, and the folder of its home and lake."""

    folder: Path
    warehouse: str
    dagster: str


@pytest.fixture(autouse=True)
def own_main(monkeypatch: pytest.MonkeyPatch) -> None:
    """``AppTest`` puts its script in the place of ``__main__``, which new processes would run."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


@pytest.fixture(scope="session")
def made_campus(
    session_server: SessionServer,
    warehouse_template: str,
    dagster_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Made]:
    """The campus that copies are made of; not to be changed."""
    folder = tmp_path_factory.mktemp("campus")
    made = Made(
        folder, session_server.create(warehouse_template), session_server.create(dagster_template)
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(Settings.model_config, "env_file", None)
        settings = _enter(monkeypatch, made)
        _compute(settings)
    _forget_settings()
    for url in (made.warehouse, made.dagster):
        session_server.disconnect(url)
    yield made
    session_server.drop(made.warehouse)
    session_server.drop(made.dagster)


@pytest.fixture
def campus_app(
    made_campus: Made,
    session_server: SessionServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[App]:
    """The small campus, with an administrator; the test may change it."""
    for name in ("home", "lake"):
        shutil.copytree(made_campus.folder / name, tmp_path / name, symlinks=True)
    copies = [
        session_server.create(template=session_server.name_of(url))
        for url in (made_campus.warehouse, made_campus.dagster)
    ]
    yield App(_enter(monkeypatch, Made(tmp_path, *copies)), Person("ada", Role.ADMIN))
    _leave(session_server, copies)


@pytest.fixture
def nameless_app(campus_app: App) -> App:
    """The small campus, with a log that has no user names."""
    with load_transaction(campus_app.settings) as load:
        load.execute("UPDATE source.user_ap_trajectory SET person = NULL")
    look_again(campus_app.settings)
    compute_all(campus_app.settings)
    return campus_app


@pytest.fixture
def empty_app(stack: Settings) -> Iterator[App]:
    """A deployment with nothing in it, with an administrator."""
    _forget_pages()
    yield App(stack, Person("ada", Role.ADMIN))
    _forget_pages()


@pytest.fixture
def as_role() -> Callable[[App, Role], App]:
    """The same deployment, asked by somebody of another role."""
    return lambda app, role: App(app.settings, Person(f"the {role.name.lower()}", role))


def _enter(monkeypatch: pytest.MonkeyPatch, made: Made) -> Settings:
    _forget_pages()
    return enter(monkeypatch, environment_of(made.folder, made.warehouse, made.dagster))


def _leave(session_server: SessionServer, urls: list[str]) -> None:
    _forget_settings()
    _forget_pages()
    for url in urls:
        session_server.drop(url)


def _compute(settings: Settings) -> None:
    from tippers_dagster.campus.spaces.tree import load_tree
    from tippers_dagster.occupancy.launch import materialize
    from tippers_dagster.occupancy.tracking import track_space
    from tippers_dagster.platform.dagster.environment import dagster_instance

    write_campus(settings, simulate_campus(TINY))
    for root in load_tree(settings).roots:
        track_space(settings, space=root, start=FIRST, end=UNTIL)
    with dagster_instance(settings) as instance:
        materialize(settings, instance)


def _forget_pages() -> None:
    """What pages keep for a moment must not reach the next test."""
    st.cache_data.clear()
    st.cache_resource.clear()
