"""Labels as the page shows them."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from streamlit_app.services import labels
from streamlit_app.services.app import App
from tests.sql.definitions import MACS
from tests.streamlit_app.defined import by, computed, defined_app  # noqa: F401
from tippers_dagster.access.model import NotAllowed, Role
from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import BadInput
from tippers_dagster.labelling.earlier_labels import keep_labels
from tippers_dagster.labelling.labels import LabelTable, NotLabelled
from tippers_dagster.platform.warehouse.engine import warehouse_engine

TYPE = Ref("device", "type", Kind.LABEL_MODEL)


def test_the_results_of_label_models(defined_app: App) -> None:  # noqa: F811
    catalog = labels.catalog_of(defined_app)
    assert labels.label_models(catalog) == [TYPE]
    found = labels.summary(defined_app, TYPE)
    assert sum(found.classes.values()) == len(MACS)
    assert sum(n for *_, n in found.histogram) == len(MACS)
    assert {low for low, *_ in found.histogram} == {0.8, 0.95}
    assert labels.evaluation(defined_app, TYPE) is None
    with pytest.raises(NotLabelled, match="has no labels yet"):
        labels.summary(defined_app, Ref("device", "other", Kind.LABEL_MODEL))


def test_entities_are_found_by_key_and_label(defined_app: App) -> None:  # noqa: F811
    everybody = labels.find(defined_app, TYPE)
    assert [e.key for e in everybody] == sorted(MACS)
    assert {e.label for e in labels.find(defined_app, TYPE, label="A")} == {"A"}
    assert labels.find(defined_app, TYPE, label="tie") == []
    assert [e.key for e in labels.find(defined_app, TYPE, text=MACS[0].upper())] == [MACS[0]]
    dashed = MACS[0].upper().replace(":", "-")
    assert [e.key for e in labels.find(defined_app, TYPE, text=dashed)] == [MACS[0]]
    assert labels.find(defined_app, TYPE, text="' OR true --") == []
    assert len(labels.find(defined_app, TYPE, limit=2)) == 2


def test_gold_labels_are_set_scored_and_removed(defined_app: App) -> None:  # noqa: F811
    catalog = labels.catalog_of(defined_app)
    for entity in labels.find(defined_app, TYPE)[:3]:
        labels.set_gold(defined_app, catalog, TYPE, entity.key, "A")
    assert labels.gold_count(defined_app, "device") == 3
    good = labels.evaluation(defined_app, TYPE)
    assert good is not None
    assert good.entities == 3
    left = [e.key for e in labels.uncertain(defined_app, TYPE)]
    assert len(left) == len(MACS) - 3
    assert left[0] not in [e.key for e in labels.uncertain(defined_app, TYPE, skip=left[:1])]
    labels.set_gold(defined_app, catalog, TYPE, MACS[0], "B")
    (again,) = labels.find(defined_app, TYPE, text=MACS[0])
    assert again.gold == "B"
    labels.remove_gold(defined_app, TYPE, MACS[0])
    assert labels.find(defined_app, TYPE, text=MACS[0])[0].gold is None
    for key, label in ((MACS[0], "C"), ("nobody", "A")):
        with pytest.raises(BadInput):
            labels.set_gold(defined_app, catalog, TYPE, key, label)


def test_a_key_within_very_many_others_has_its_gold_label_set(defined_app: App) -> None:  # noqa: F811
    with warehouse_engine(defined_app.settings).begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO labels.device__type (mac_address, outcome) "
                "SELECT '0' || n || 'zz', 'abstain' FROM generate_series(1000, 2200) n "
                "UNION ALL SELECT 'zz', 'abstain'"
            )
        )
    catalog = labels.catalog_of(defined_app)
    labels.set_gold(defined_app, catalog, TYPE, "zz", "A")
    (found,) = (e for e in labels.find(defined_app, TYPE, text="zz", limit=2000) if e.key == "zz")
    assert found.gold == "A"
    with pytest.raises(BadInput, match="no entity z"):
        labels.set_gold(defined_app, catalog, TYPE, "z", "A")


def keep(app: App, version: str, given: dict[str, str], weight: float) -> None:
    """A materialisation that gave these labels."""
    table = LabelTable("device", "type", "mac_address", "text", ("A", "B"), ("is_a",))
    rows = pa.table(
        {
            "mac_address": list(given),
            "label": list(given.values()),
            "outcome": ["label"] * len(given),
            "version": [version] * len(given),
            "run_id": [f"run of {version}"] * len(given),
        }
    )
    classes = {label: list(given.values()).count(label) for label in ("A", "B")}
    functions = [{"labelling function": "is_a", "coverage": 0.5, "learned weight": weight}]
    keep_labels(app.settings, table, rows, {"classes": classes, "functions": functions})


def test_labels_are_compared_with_an_earlier_materialisation(defined_app: App) -> None:  # noqa: F811
    assert labels.materialisations(defined_app, TYPE) == []
    keep(defined_app, "first", dict.fromkeys(MACS, "A"), 0.7)
    keep(defined_app, "second", {**dict.fromkeys(MACS, "A"), MACS[0]: "B"}, 0.8)
    after, before = labels.materialisations(defined_app, TYPE)
    found = labels.compare_materialisations(by(defined_app, Role.VIEWER), TYPE, before, after)
    assert (found.common, found.changed) == (len(MACS), 1)
    assert ("A", "B", 1) in found.moves
    assert found.classes == [("A", len(MACS), len(MACS) - 1), ("B", 0, 1)]
    (function,) = found.functions
    assert function["Labelling function"] == "is_a"
    assert (function["Estimated accuracy, before"], function["Estimated accuracy, after"]) == (
        0.7,
        0.8,
    )
    assert function["Accuracy on gold labels, after"] is None


def test_all_labels_as_a_file(defined_app: App) -> None:  # noqa: F811
    csv = pa_csv.read_csv(io.BytesIO(labels.export(defined_app, TYPE, "csv")))
    parquet = pq.read_table(io.BytesIO(labels.export(defined_app, TYPE, "parquet")))
    assert csv.num_rows == parquet.num_rows == len(MACS)


def test_viewers_see_no_entities(defined_app: App) -> None:  # noqa: F811
    viewer = by(defined_app, Role.VIEWER)
    catalog = labels.catalog_of(viewer)
    assert labels.summary(viewer, TYPE).entities == labels.summary(defined_app, TYPE).entities
    for ask in (
        lambda: labels.find(viewer, TYPE),
        lambda: labels.uncertain(viewer, TYPE),
        lambda: labels.explain(viewer, catalog, TYPE, MACS[0]),
        lambda: labels.export(viewer, TYPE, "csv"),
        lambda: labels.set_gold(viewer, catalog, TYPE, MACS[0], "A"),
        lambda: labels.remove_gold(viewer, TYPE, MACS[0]),
    ):
        with pytest.raises(NotAllowed, match="analyst"):
            ask()
