"""`tippers classifiers`."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from tests.learning.trained import REF, Learned, N, learned
from tippers_dagster.catalog import store
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.cli import build_app
from tippers_dagster.errors import TippersError
from tippers_dagster.labelling.gold import give
from tippers_dagster.learning import train

__all__ = ["learned"]


@pytest.fixture
def small(learned: Learned, monkeypatch: pytest.MonkeyPatch) -> Learned:
    """The tests' classifier in place of the project's."""

    def load(_: object) -> Catalog:
        return learned.catalog

    monkeypatch.setattr(store, "load_catalog", load)
    return learned


def run(*arguments: str) -> str:
    found = CliRunner().invoke(build_app(["classifiers"]), ["classifiers", *arguments])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code == 0, found.output
    return found.output


def test_untrained_classifiers_are_reported(small: Learned) -> None:
    assert "device.guess  not trained" in run("list")
    with pytest.raises(TippersError, match=r"device.guess has not been trained yet"):
        run("show", "device.guess")
    with pytest.raises(TippersError, match=r"There is no classifier device.other"):
        run("show", "device.other")


def test_ranking_and_comparison(small: Learned, monkeypatch: pytest.MonkeyPatch) -> None:
    really = train.make_model

    def make(name: str, *args: object, **more: object) -> object:
        if name == "ridge":
            raise ValueError("no ridge today")
        return really(name, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(train, "make_model", make)
    small.define(models=("naive_bayes", "decision_tree", "ridge"))
    assert small.run().success
    listed = run("list")
    shown = run("show", str(REF))
    assert "device.guess" in listed
    assert "is best, trained on" in shown
    assert "ridge failed: ValueError: no ridge today" in shown
    lines = [line.split() for line in shown.splitlines()]
    ranks = {line[1]: line[0] for line in lines if len(line) > 2 and line[0] in ("1", "2", "3")}
    assert ranks.keys() == {"naive_bayes", "decision_tree", "ridge"}
    assert ranks["ridge"] == "3"
    assert "majority class" in shown
    assert "import gold labels (`tippers gold import FILE --concept device`)" in " ".join(
        shown.split()
    )
    key = small.query(f"SELECT mac_address FROM indexes.device__devices LIMIT {N}")
    for row in key[:40]:
        give(small.settings, "device", str(row["mac_address"]), "STATIC", by="ada")
    assert small.run().success
    assert "gold labels" in run("show", str(REF))
