"""Votes and labels as assets: results, metadata, failures."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from tests.kills import POINTS, leaves_nothing_fresh
from tests.labelling.small import FUNCTIONS, LABELS, World, function, keys, model, truth
from tippers_dagster.automation import computation
from tippers_dagster.automation.state import load_states
from tippers_dagster.catalog.kinds import ConceptValue
from tippers_dagster.errors import LowMemory
from tippers_dagster.labelling.analysis import ABSTAIN, find_patterns
from tippers_dagster.labelling.describe import label_counts
from tippers_dagster.labelling.gold import import_gold
from tippers_dagster.labelling.label_model import Training, fit_label_model
from tippers_dagster.labelling.labels import read_labels
from tippers_dagster.labelling.work import label_entities, read_entities
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key
from tippers_dagster.sql.roles import ensure_roles

N = 120
KEY = dg.AssetKey(["device", "kind_of"])


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {e.check_name: e.passed for e in result.get_asset_check_evaluations()}


def materialization(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetMaterialization:
    events = [e for e in result.all_events if e.is_step_materialization]
    found = [e.materialization for e in events]
    return next(m for m in found if m.asset_key.path[-1] == name)


def test_every_entity_gets_the_label_that_snorkel_gives(world: World) -> None:
    result = world.run()
    assert result.success
    rows = read_labels(world.settings, "device", "kind_of").sort_by("mac_address")
    assert rows["mac_address"].to_pylist() == keys(N).to_pylist()
    votes = np.stack([rows[f"vote_{f.ref.name}"].to_numpy() for f in FUNCTIONS], axis=1)
    fitted = fit_label_model(
        votes.astype(np.int8), LABELS, [f.ref.name for f in FUNCTIONS], Training(epochs=60)
    )
    expected = fitted.predict(find_patterns(votes.astype(np.int8)))
    voted = (votes != ABSTAIN).any(axis=1)
    for number, label in enumerate(LABELS):
        found = rows[f"p_{label.lower()}"]
        assert np.allclose(found.to_numpy()[voted], expected.probabilities[voted, number])
        assert found.to_pylist()[-2:] == [None, None]
    assert rows["outcome"].to_pylist()[-2:] == ["abstain", "abstain"]
    assert rows["label"].to_pylist()[-2:] == [None, None]
    right = np.array(rows["label"].to_pylist(), object) == np.array(LABELS, object)[truth(N)]
    assert right[:-2].mean() > 0.9
    assert all(v is None or v in LABELS for v in rows["majority_label"].to_pylist())

    state = load_states(world.settings)["device/kind_of"]
    assert set(rows["version"].to_pylist()) == {state.version}
    assert set(rows["run_id"].to_pylist()) == {result.run_id}
    assert state.rows == N
    failed = [name for name, passed in checks(result).items() if not passed]
    assert failed == ["kind_of__logged_to_mlflow"]  # no server is configured
    assert len(checks(result)) == 2 * len(FUNCTIONS) + 4


def test_the_lake_has_the_same_labels_without_mac_addresses(world: World) -> None:
    assert world.run().success
    lake = open_lake(world.settings)
    rows = lake.read_table(definition_key("labels", "device", "kind_of"))
    assert rows.column_names[0] == "device_id"
    assert rows["device_id"].type == pa.uint64()
    there = read_labels(world.settings, "device", "kind_of")
    assert sorted(rows["confidence"].drop_null().to_pylist()) == pytest.approx(
        sorted(there["confidence"].drop_null().to_pylist())
    )
    assert not any(b"aa:bb:cc" in lake.read_bytes(key) for key in lake.list())
    votes = lake.read_table(definition_key("votes", "device", "one_room"))
    assert votes.column_names == ["device_id", "vote"]
    assert set(votes["vote"].to_pylist()) == {-1, 0}


def test_the_warehouse_table_is_ready_for_joins(world: World) -> None:
    ensure_roles(world.settings)
    assert world.run().success
    told = world.query(
        "SELECT c.reltuples, has_table_privilege('tippers_reader', c.oid, 'SELECT') AS readable, "
        "(SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AS keys, "
        "col_description(c.oid, a.attnum) AS meaning FROM pg_class c JOIN pg_attribute a "
        "ON a.attrelid = c.oid AND a.attname = 'vote_short' "
        "WHERE c.oid = 'labels.device__kind_of'::regclass"
    )
    meaning = "-1 abstain, 0 STATIC, 1 LAPTOP, 2 PHONE"
    assert told == [{"reltuples": N, "readable": True, "keys": 1, "meaning": meaning}]


def test_metadata_is_complete(world: World) -> None:
    result = world.run()
    votes = materialization(result, "one_room").metadata
    assert votes["dagster/row_count"].value == 94
    assert votes["votes"].value["LAPTOP"] == 0
    assert votes["coverage"].value == pytest.approx(votes["votes"].value["STATIC"] / 94, abs=1e-5)
    labels = materialization(result, "kind_of").metadata
    assert labels["dagster/row_count"].value == N
    assert sum(labels["classes"].value.values()) == N
    abstained = labels["classes"].value["abstain"]
    assert 2 <= abstained < 10
    assert sum(labels["confidence_histogram"].value.values()) == N - abstained
    table = labels["labelling_functions"]
    assert [r.data["labelling function"] for r in table.records] == [f.ref.name for f in FUNCTIONS]
    assert labels["plot_labels"].value.startswith("![labels](data:image/png;base64,")
    assert len(labels["plot_functions"].value) < 60_000
    schema = labels["dagster/column_schema"].value
    assert [c.name for c in schema.columns][:4] == ["mac_address", "label", "outcome", "confidence"]
    assert "mlflow_run" not in labels
    specs = {s.key.path[-1]: s for a in _assets(world) for s in a.specs}
    assert specs["kind_of"].group_name == "device"
    assert specs["kind_of"].owners == ["ada@campus.edu"]
    assert {d.asset_key.path[-1] for d in specs["kind_of"].deps} >= {"devices", "short"}
    assert {d.asset_key.path[-1] for d in specs["short"].deps} == {"usage"}
    assert "labelling_function" in specs["short"].kinds


def _assets(world: World) -> list[dg.AssetsDefinition]:
    from tippers_dagster.labelling.assets import labelling_assets

    return labelling_assets(world.settings, world.catalog, world.nodes)


def test_single_assets_can_be_computed(world: World) -> None:
    assert world.run("short", "one_room").success
    lake = open_lake(world.settings)
    assert lake.list("votes/") == [
        "votes/device/one_room/data.parquet",
        "votes/device/short/data.parquet",
    ]
    result = world.run("kind_of")
    assert not result.success
    assert "always_on" in (load_states(world.settings)["device/kind_of"].error or "")


def test_a_failing_function_does_not_affect_others(world: World) -> None:
    # Found only in the run: the rule no longer has this column.
    wrong = function("wrong", "walls > 3", "PHONE")
    errs = function("errs", "hours / (rooms - rooms) > 1", "PHONE", rule="places")
    world.put(
        "rules",
        "places",
        pa.table({"mac_address": keys(N), "hours": np.ones(N), "rooms": np.arange(N)}),
    )
    world.functions = (*FUNCTIONS, wrong, errs)
    result = world.run(*(f.ref.name for f in world.functions))
    assert not result.success
    states = load_states(world.settings)
    assert states["device/short"].version is not None
    assert states["device/wrong"].version is None
    assert "walls" in (states["device/wrong"].error or "")
    assert "failed on every row" in (states["device/errs"].error or "")
    made = {
        m.asset_key.path[-1]
        for m in (e.materialization for e in result.all_events if e.is_step_materialization)
    }
    assert made == {f.ref.name for f in FUNCTIONS}


def test_errors_on_some_rows_are_reported(world: World) -> None:
    some = function("some", "10 / (rooms - 1) > 1", "PHONE", rule="places")
    world.functions = (*FUNCTIONS, some)
    result = world.run("some")
    assert result.success
    told = materialization(result, "some").metadata
    assert told["abstained_on_errors"].value > 0
    assert "division by zero" in told["example"].value
    assert checks(result) == {"some__votes_at_all": True, "some__without_errors": False}
    assert load_states(world.settings)["device/some"].details["errors"] > 0


def test_views_survive_other_labels_and_other_functions(world: World) -> None:
    assert world.run().success
    world.execute(
        "CREATE VIEW phones AS SELECT mac_address FROM labels.device__kind_of WHERE label = 'PHONE'"
    )
    before = len(world.query("SELECT * FROM phones"))
    world.functions = (*FUNCTIONS, function("also_short", "hours <= 0.8", "PHONE"))
    world.models = (model(world.functions),)
    assert world.run().success
    assert abs(len(world.query("SELECT * FROM phones")) - before) < 5
    assert "vote_also_short" in read_labels(world.settings, "device", "kind_of").column_names

    world.execute("CREATE VIEW votes AS SELECT vote_also_short FROM labels.device__kind_of")
    world.functions, world.models = FUNCTIONS, (model(FUNCTIONS),)
    old = read_labels(world.settings, "device", "kind_of")
    assert not world.run("kind_of").success
    assert "view votes depends on" in (load_states(world.settings)["device/kind_of"].error or "")
    assert read_labels(world.settings, "device", "kind_of").equals(old)
    world.execute("DROP VIEW votes")
    assert world.run("kind_of").success
    columns = read_labels(world.settings, "device", "kind_of").column_names
    assert "vote_also_short" not in columns


def test_labels_are_reproducible(world: World) -> None:
    assert world.run().success
    first = read_labels(world.settings, "device", "kind_of").drop_columns("run_id")
    assert world.run().success
    assert read_labels(world.settings, "device", "kind_of").drop_columns("run_id").equals(first)


def test_a_label_without_votes_is_a_warning(world: World) -> None:
    quiet = [function(f"quiet_{i}", "hours > 1000", "PHONE") for i in range(2)]
    world.functions = (*FUNCTIONS[:4], *quiet)
    world.models = (model(world.functions),)
    result = world.run()
    assert result.success
    found = checks(result)
    assert not found["kind_of__every_label_has_votes"]
    assert not found["quiet_0__votes_at_all"]
    rows = read_labels(world.settings, "device", "kind_of")
    assert "PHONE" not in rows["label"].to_pylist()
    assert load_states(world.settings)["device/kind_of"].details["classes"]["PHONE"] == 0


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("DELETE FROM indexes.device__devices", "nothing to label"),
        ("INSERT INTO indexes.device__devices VALUES (NULL)", "rows without a key"),
        (
            "INSERT INTO indexes.device__devices SELECT * FROM indexes.device__devices",
            "duplicate keys",
        ),
        ("DROP TABLE indexes.device__devices", "Materialise it first"),
        (
            "DELETE FROM indexes.device__devices WHERE mac_address LIKE '%_0'",
            "has keys that are not in the index",
        ),
    ],
)
def test_an_invalid_index_is_reported(world: World, sql: str, message: str) -> None:
    functions = [f.ref.name for f in FUNCTIONS]
    assert world.run(*functions).success
    world.execute(sql)
    assert not world.run("kind_of").success
    state = load_states(world.settings)["device/kind_of"]
    assert message in (state.error or "")
    assert state.version is None


def test_no_vote_at_all_is_an_error(world: World) -> None:
    world.functions = tuple(function(f"quiet_{i}", "hours > 1000", LABELS[i]) for i in range(3))
    world.models = (model(world.functions),)
    assert not world.run().success
    state = load_states(world.settings)["device/kind_of"]
    assert "No labelling function voted for any of the 120 entities" in (state.error or "")


def test_gold_labels_score_functions_and_model(world: World, tmp_path) -> None:
    from tests.labelling.small import written_gold

    wrong = function("upside_down", "hours >= 15", "PHONE")
    world.functions = (*FUNCTIONS, wrong)
    world.models = (model(world.functions),)
    file = tmp_path / "gold.csv"
    file.write_text(written_gold(N, every=2))
    import_gold(world.settings, file, {"device": LABELS}, by="ada", concept="device")
    result = world.run()
    assert result.success
    assert not checks(result)["kind_of__better_than_random_on_gold"]
    told = materialization(result, "kind_of").metadata
    assert told["gold_entities"].value == 59
    assert told["gold_accuracy"].value > 0.8
    scores = world.query("SELECT * FROM tippers.label_model_score")
    assert [s["entities"] for s in scores] == [59]
    assert scores[0]["details"]["confusion"]
    assert scores[0]["version"] == load_states(world.settings)["device/kind_of"].version


def test_the_class_balance_comes_from_gold_labels(world: World, tmp_path) -> None:
    world.replace_model(class_balance="gold")
    assert ("source", "gold_label") in {n.key for n in world.nodes}
    assert world.run(*(f.ref.name for f in FUNCTIONS)).success
    assert not world.run("kind_of").success
    state = load_states(world.settings)["device/kind_of"]
    assert "no entity of the index has the gold label STATIC or LAPTOP" in (state.error or "")
    file = tmp_path / "gold.csv"
    macs = keys(N).to_pylist()
    file.write_text("key,label\n" + "".join(f"{macs[i]},{LABELS[min(2, i)]}\n" for i in range(10)))
    import_gold(world.settings, file, {"device": LABELS}, by="ada", concept="device")
    assert world.run("kind_of").success
    ref = world.models[0].ref
    made = label_entities(world.settings, world.catalog, ref, "v", "r")
    assert made.fitted.class_balance.tolist() == pytest.approx([0.1, 0.1, 0.8])
    assert sum(label_counts(made).values()) == N


def test_versions_follow_what_labels_are_computed_from(world: World) -> None:
    before = {n.key: n.content for n in world.nodes}
    world.functions = (function("always_on", "hours >= 16", "STATIC"), *FUNCTIONS[1:])
    after = {n.key: n.content for n in world.nodes}
    assert {k for k in after if after[k] != before[k]} == {("device", "always_on")}
    world.replace_model(epochs=61)
    assert ("device", "kind_of") in {n.key for n in world.nodes if n.content != before[n.key]}
    assert ConceptValue(name="X").name == "X"


def test_keys_may_be_numbers(world: World) -> None:
    world.put("indexes", "devices", pa.table({"mac_address": pa.array(range(7), pa.int64())}))
    found, kind = read_entities(world.settings, world.catalog, world.models[0].ref)
    assert (found.to_pylist(), kind) == (list(range(7)), "bigint")


def test_loading_needs_neither_torch_nor_mlflow() -> None:
    code = (
        "import sys, tippers_dagster.labelling.assets, tippers_dagster.labelling.describe; "
        "bad = {'torch', 'snorkel', 'mlflow', 'matplotlib'} & set(sys.modules); "
        "sys.exit(', '.join(bad) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_killed_run_records_nothing_as_labelled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world.run().success
    for name, folder in (("one_room", "votes/"), ("kind_of", "labels/")):
        for point in POINTS:
            leaves_nothing_fresh(
                monkeypatch,
                world.settings,
                f"device/{name}",
                partial(world.run, name),
                point,
                folder,
            )


def test_without_memory_nothing_is_started_and_it_is_reported(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*_: object) -> None:
        raise LowMemory("Only 12 MB of memory are free.")

    monkeypatch.setattr(computation, "wait_for_memory", short)
    assert not world.run().success
    votes = load_states(world.settings)["device/one_room"]
    assert (votes.error, votes.tries) == ("Only 12 MB of memory are free.", 0)
    assert votes.retry_at is not None
    assert not world.run("kind_of").success
    assert load_states(world.settings)["device/kind_of"].error == votes.error
