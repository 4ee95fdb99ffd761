"""Explanations of an entity's label."""

from __future__ import annotations

import math

import pytest
from typer.testing import CliRunner, Result

from tests.labelling.small import FUNCTIONS, World, keys, written_gold
from tippers_dagster.cli import build_app
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.explanations import explain, find_label_model
from tippers_dagster.labelling.gold import import_gold
from tippers_dagster.labelling.labels import NotLabelled, read_labels

MACS = keys(120).to_pylist()


@pytest.fixture
def labelled(world: World) -> World:
    assert world.run().success
    return world


def test_votes_rows_weights_and_posterior(labelled: World, tmp_path) -> None:
    settings, catalog = labelled.settings, labelled.catalog
    file = tmp_path / "gold.csv"
    file.write_text(written_gold(120))
    import_gold(settings, file, {"device": ("STATIC", "LAPTOP", "PHONE")}, by="a", concept="device")
    rows = {r["mac_address"]: r for r in read_labels(settings, "device", "kind_of").to_pylist()}
    mac = MACS[24]  # static, with a row in both rules
    found = explain(settings, catalog, "device.kind_of", mac)
    assert (found.label, found.outcome, found.gold_label) == ("STATIC", "label", "STATIC")
    assert found.confidence == rows[mac]["confidence"]
    assert found.probabilities["STATIC"] == rows[mac]["p_static"]
    by_name = {v.name: v for v in found.votes}
    assert list(by_name) == [f.ref.name for f in FUNCTIONS]
    always = by_name["always_on"]
    assert (always.vote, always.rule) == ("STATIC", "device.usage")
    assert always.row is not None
    assert always.row["hours"] >= 15
    assert always.row["mac_address"] == mac
    assert 0.5 < always.weight <= 1
    assert by_name["short"].vote is None
    assert by_name["short"].evidence == {}
    # The prior and the contributions of the votes give the posterior.
    added = {
        label: math.log(share) + sum(v.evidence.get(label, 0) for v in found.votes)
        for label, share in found.class_balance.items()
    }
    total = sum(math.exp(a) for a in added.values())
    for label, a in added.items():
        assert math.exp(a) / total == pytest.approx(found.probabilities[label], abs=1e-6)


def test_an_address_may_be_spelled_in_any_way(labelled: World) -> None:
    settings, catalog = labelled.settings, labelled.catalog
    spelled = MACS[24].upper().replace(":", "-")
    ours = explain(settings, catalog, "device.kind_of", spelled)
    assert ours == explain(settings, catalog, "device.kind_of", MACS[24])
    assert (ours.entity, ours.votes[0].row is not None) == (MACS[24], True)


def test_an_entity_without_votes(labelled: World) -> None:
    found = explain(labelled.settings, labelled.catalog, "device.kind_of", MACS[-1])
    assert (found.label, found.outcome, found.confidence) == (None, "abstain", None)
    assert set(found.probabilities.values()) == {None}
    assert {v.row for v in found.votes} == {None}


def test_missing_entities_and_models(labelled: World) -> None:
    settings, catalog = labelled.settings, labelled.catalog
    with pytest.raises(NotLabelled, match="no label for ff:ff"):
        explain(settings, catalog, "device.kind_of", "ff:ff")
    with pytest.raises(BadInput, match="is not a label model"):
        explain(settings, catalog, "device.usage", MACS[0])
    with pytest.raises(BadInput, match="no definition"):
        explain(settings, catalog, "device.nothing", MACS[0])
    with pytest.raises(BadInput, match="names no concept"):
        find_label_model(catalog, "kind_of")


def test_before_anything_was_labelled(world: World) -> None:
    with pytest.raises(NotLabelled, match="has no label"):
        explain(world.settings, world.catalog, "device.kind_of", MACS[0])


def test_from_the_command_line(labelled: World, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tippers_dagster.catalog import store

    monkeypatch.setattr(store, "load_catalog", lambda _: labelled.catalog)

    def tippers(*arguments: str) -> Result:
        return CliRunner(env={"COLUMNS": "200"}).invoke(
            build_app(["labels"]), ["labels", *arguments], catch_exceptions=False
        )

    shown = tippers("show", "device.kind_of").stdout
    assert "device.kind_of: 120 entities" in shown
    assert "many_rooms" in shown
    told = tippers("why", "device.kind_of", MACS[24]).stdout
    assert f"{MACS[24]} is STATIC" in told
    assert "always_on: device.usage: hours " in told
    assert "STATIC x " in told
    assert "no function voted" in tippers("why", "device.kind_of", MACS[-1]).stdout
    out = tmp_path / "labels.csv"
    assert "120 labels written" in tippers("export", "device.kind_of", str(out)).stdout
    assert out.read_text().startswith("mac_address,label,outcome,confidence,p_static")
