"""Models as the page shows them."""

from __future__ import annotations

import io
from dataclasses import replace

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from streamlit_app.services import models
from streamlit_app.services.app import App
from tests.labelling.small import LABELS, keys
from tests.learning.registered import REF, N
from tests.streamlit_app.modelled import modelled_app, registered  # noqa: F401
from tippers_dagster.access.model import NotAllowed, Person, Role
from tippers_dagster.errors import BadInput
from tippers_dagster.learning.registry import champion_of


def test_a_classifier_in_full(modelled_app: App) -> None:  # noqa: F811
    app, catalog = modelled_app, models.catalog_of(modelled_app)
    assert models.classifiers(catalog) == [REF]
    assert models.problem(catalog, REF) is None
    newest, older = models.results(app, REF)
    assert (newest.run_id, older.run_id) == ("run-2", "run-1")
    assert [m.model for m in newest.models] == ["random_forest", "ridge", "lightgbm"]

    found = models.registry(app, REF)
    assert found is not None
    assert found.champion is not None
    assert found.champion.number == 2
    assert models.back_to(app, REF, found) == 1
    assert [d.version for d in models.decisions(app, REF)] == [2, 1]
    standing = models.assets(app, catalog, REF)
    assert standing["predictions"].rows == N
    assert standing["champion"].error is None

    predicted = models.predicted(app, catalog, REF)
    assert predicted is not None
    assert predicted.model_version == 2
    assert sum(predicted.counts.values()) == sum(n for *_, n in predicted.histogram) == N
    assert predicted.agreement == [], "the label model was never computed"
    runs = models.drift(app, REF)
    assert [r.model_version for r in runs] == [2, 1]
    assert {c.name for c in runs[0].columns} == {"hours", "rooms", "label"}
    csv = pa_csv.read_csv(io.BytesIO(models.export(app, REF, "csv")))
    parquet = pq.read_table(io.BytesIO(models.export(app, REF, "parquet")))
    assert csv.num_rows == parquet.num_rows == N

    model = models.model_of(app, REF, 2)
    assert models.model_of(app, REF, 2) is model, "kept"
    begin = models.example_rows(app, catalog, REF, model)
    assert begin.column_names == ["hours", "rooms"]
    answered = models.predict_rows(app, catalog, REF, model, begin)
    assert set(answered["label"].to_pylist()) <= set(LABELS)
    many = pa.table({"hours": pa.nulls(models.MAX_ROWS + 1, pa.float64())})
    with pytest.raises(BadInput, match="predicts at most"):
        models.predict_rows(app, catalog, REF, model, many)
    one = keys(N)[3].as_py()
    assert models.predict_index(app, catalog, REF, model, one.upper()).num_rows == 1
    assert models.predict_index(app, catalog, REF, model).num_rows == N
    assert models.read_csv(b"hours,rooms\n1,2\n").num_rows == 1
    with pytest.raises(BadInput, match="is empty"):
        models.read_csv(b"")

    _roles(app)
    assert models.roll_back(app, REF).version == 1
    assert models.promote(app, REF, 2).by == "ada"
    assert champion_of(app.settings, str(REF)).number == 2


def _roles(app: App) -> None:
    viewer = replace(app, person=Person("vi", Role.VIEWER))
    catalog = models.catalog_of(viewer)
    model = models.model_of(app, REF, 2)
    assert models.registry(viewer, REF) is not None
    for ask in (
        lambda: models.promote(viewer, REF, 1),
        lambda: models.roll_back(viewer, REF),
        lambda: models.export(viewer, REF, "csv"),
        lambda: models.model_of(viewer, REF, 2),
        lambda: models.example_rows(viewer, catalog, REF, model),
        lambda: models.predict_rows(viewer, catalog, REF, model, pa.table({})),
        lambda: models.predict_index(viewer, catalog, REF, model),
    ):
        with pytest.raises(NotAllowed, match="analyst"):
            ask()


def test_before_anything_was_computed(empty_app: App) -> None:
    assert models.results(empty_app, REF) == []
    assert models.decisions(empty_app, REF) == []
    assert models.drift(empty_app, REF) == []
    catalog = models.catalog_of(empty_app)
    standing = models.assets(empty_app, catalog, REF)
    assert standing["classifier"].materialized_at is None
    assert standing["predictions"].error is None
