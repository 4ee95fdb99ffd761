"""Gold labels: import, rejection, export, and scores of labels over time."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from tests.labelling.small import LABELS, World, keys, written_gold
from tippers_dagster.catalog import store
from tippers_dagster.cli import build_app
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.gold import (
    count_gold,
    delete_gold,
    evaluate_labels,
    give,
    gold_numbers,
    import_gold,
    read_gold,
    rescore,
    scores,
)
from tippers_dagster.labelling.labels import NotLabelled
from tippers_dagster.settings import Settings

CONCEPTS = {"device": LABELS, "people": ("VISITOR", "RESIDENT")}


def tippers(*arguments: str) -> Result:
    return CliRunner().invoke(build_app(["gold"]), arguments, catch_exceptions=False)


def take(settings: Settings, file: Path, concept: str | None = "device") -> list[tuple[int, ...]]:
    done = import_gold(settings, file, CONCEPTS, by="ada", concept=concept)
    return [(d.rows, d.new, d.changed) for d in done]


def test_labels_are_imported_once_and_replaced(stack: Settings, tmp_path: Path) -> None:
    file = tmp_path / "gold.csv"
    file.write_text("mac_address,label\na,PHONE\nb,STATIC\na,PHONE\n")
    assert take(stack, file) == [(2, 2, 0)]
    assert take(stack, file) == [(2, 0, 0)]
    file.write_text('key,label,note\na,LAPTOP,"seen, by me"\n0012,PHONE,\n')
    assert take(stack, file) == [(2, 1, 1)]
    found = read_gold(stack, "device").select(["entity", "label", "labelled_by"]).to_pylist()
    assert [tuple(row.values()) for row in found] == [
        ("0012", "PHONE", "ada"),
        ("a", "LAPTOP", "ada"),
        ("b", "STATIC", "ada"),
    ]
    assert delete_gold(stack, "device", ["a", "nobody"]) == 1
    assert count_gold(stack) == [("device", "PHONE", 1), ("device", "STATIC", 1)]
    assert delete_gold(stack, "device") == 2


def test_an_address_has_one_label_however_it_is_spelled(stack: Settings, tmp_path: Path) -> None:
    file = tmp_path / "gold.csv"
    file.write_text("mac_address,label\n00:1a:2b:3c:4d:5e,PHONE\n00-1A-2B-3C-4D-5E,PHONE\n")
    assert take(stack, file) == [(1, 1, 0)]
    file.write_text("mac_address,label\n001a.2b3c.4d5e,LAPTOP\n")
    assert take(stack, file) == [(1, 0, 1)]
    assert read_gold(stack, "device")["entity"].to_pylist() == ["00:1a:2b:3c:4d:5e"]
    file.write_text("mac_address,label\n001a.2b3c.4d5e,LAPTOP\n001A2B3C4D5E,PHONE\n")
    with pytest.raises(BadInput, match="more than one label for some entities"):
        take(stack, file)
    give(stack, "device", "001A2B-3C4D5E", "STATIC", by="ada")
    assert count_gold(stack) == [("device", "STATIC", 1)]
    spelled = pa.array(["00:1A:2B:3C:4D:5E", "00:1a:2b:3c:4d:5f"])
    assert gold_numbers(stack, "device", spelled, ("PHONE", "STATIC")).tolist() == [1, -1]
    assert delete_gold(stack, "device", ["00 1a 2b 3c 4d 5e"]) == 1


def test_a_parquet_file_may_contain_many_concepts(stack: Settings, tmp_path: Path) -> None:
    file = tmp_path / "gold.parquet"
    rows = {"concept": ["device", "people"], "entity": [7, 7], "label": ["PHONE", "VISITOR"]}
    pq.write_table(pa.table(rows), file)
    assert take(stack, file, None) == [(1, 1, 0), (1, 1, 0)]
    assert read_gold(stack, "people")["entity"].to_pylist() == ["7"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key,label\na,phone\n", "'phone' is not a label of device"),
        ("key,label\na,PHONE\n,PHONE\n", "row 2 has no key"),
        ("key,label\na,\n", "row 1 has no label"),
        ("key,label\na,PHONE\na,STATIC\n", "some entities \\(1\\), for example a"),
        ("mac,label\na,PHONE\n", "are mac, label"),
        ("key,label\na,PHONE,3\n", "cannot be read"),
        ("", "is empty"),
        ("key,key,label\na,a,PHONE\n", "the column key twice"),
        ("key,label\na,PHONE\nb\0,PHONE\n", "row 2 has a NUL in its entity"),
    ],
)
def test_a_wrong_file_changes_nothing(
    stack: Settings, tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "gold.csv"
    file.write_text(text)
    with pytest.raises(BadInput, match=message):
        take(stack, file)
    assert count_gold(stack) == []


def test_unusual_keys_survive_export_and_import_without_formulas(
    stack: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tippers_dagster.cli.gold.get_settings", lambda: stack)
    odd = ["=1+1", "'=1+1", "-12", "+", "@x", "NULL", "NA", 'a"b', "a,b", "\ttab", "'quoted'"]
    rows = {"key": odd, "label": ["PHONE"] * len(odd)}
    file = tmp_path / "gold.parquet"
    pq.write_table(pa.table(rows), file)
    assert take(stack, file) == [(len(odd), len(odd), 0)]
    for name in ("out.csv", "out.parquet"):
        tippers("gold", "export", "device", str(tmp_path / name))
        assert take(stack, tmp_path / name) == [(len(odd), 0, 0)]
    assert not re.search(r'^"?[=+\-@\t]', (tmp_path / "out.csv").read_text(), re.M)
    columns = {"entity": [["a"]], "label": ["PHONE"]}
    pq.write_table(pa.table(columns), file)
    with pytest.raises(BadInput, match="entity is not text"):
        take(stack, file)


def test_a_concept_must_be_known(stack: Settings, tmp_path: Path) -> None:
    file = tmp_path / "gold.csv"
    file.write_text("key,label\na,PHONE\n")
    with pytest.raises(BadInput, match="no column concept"):
        take(stack, file, None)
    with pytest.raises(BadInput, match="no concept robots"):
        take(stack, file, "robots")
    with pytest.raises(BadInput, match="There is no file"):
        take(stack, tmp_path / "none.csv")


def test_scores_over_time(world: World, tmp_path: Path) -> None:
    settings = world.settings
    file = tmp_path / "gold.csv"
    with pytest.raises(NotLabelled, match="no labels yet"):
        evaluate_labels(settings, "device", "kind_of")
    assert rescore(settings, "device", ["kind_of"]) == {}
    assert world.run().success
    assert scores(settings, "device", "kind_of") == []  # there are no gold labels yet

    file.write_text(written_gold(120))
    take(settings, file)
    first = rescore(settings, "device", ["kind_of"])
    macs = keys(120).to_pylist()
    file.write_text("key,label\n" + "".join(f"{mac},STATIC\n" for mac in macs[:90]))
    take(settings, file)  # now all have the same gold label
    second = rescore(settings, "device", ["kind_of"])
    assert second["kind_of"] < first["kind_of"]
    kept = scores(settings, "device", "kind_of")
    assert [round(s["accuracy"], 6) for s in kept] == pytest.approx(
        [second["kind_of"], first["kind_of"]], abs=1e-5
    )
    assert sum(map(sum, kept[0]["details"]["confusion"])) == kept[0]["entities"]

    truth = pa.table(
        {"entity": [*macs[:3], "nobody"], "label": ["STATIC", "LAPTOP", "ROBOT", "PHONE"]}
    )
    found = evaluate_labels(settings, "device", "kind_of", truth)
    assert found.entities == 2  # one does not exist, one has an unknown label


def test_from_the_command_line(stack: Settings, tmp_path: Path) -> None:
    assert [d.ref.name for d in store.list_definitions(stack)].count("device") == 1
    file, out = tmp_path / "gold.csv", tmp_path / "out.csv"
    file.write_text("key,label\na,PHONE\nb,STATIC\n")
    done = tippers("gold", "import", str(file), "--concept", "device", "--by", "ada")
    assert "device: 2 gold labels, 2 new, 0 changed." in done.stdout
    assert "PHONE" in tippers("gold", "list").stdout
    assert "2 gold labels written" in tippers("gold", "export", "device", str(out)).stdout
    before = file.read_text().splitlines()[1:]
    assert [
        ",".join(line.replace('"', "").split(",")[:2]) for line in out.read_text().splitlines()[1:]
    ] == before
    again = tippers("gold", "import", str(out), "--concept", "device")
    assert "0 new, 0 changed" in again.stdout
    assert "has no scores" in tippers("gold", "scores", "device.device_type").stdout
    assert (
        "1 gold label of device removed"
        in tippers("gold", "delete", "device", "--entity", "a").stdout
    )
    with pytest.raises(BadInput, match="neither"):
        tippers("gold", "export", "device", str(tmp_path / "out.xlsx"))
