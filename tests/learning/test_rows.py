"""Predictions of a champion, and the command line."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from tests.labelling.small import LABELS, keys
from tests.learning.registered import (  # noqa: F401
    NAME,
    REF,
    N,
    Registered,
    features,
    registered,
)
from tippers_dagster.catalog import store
from tippers_dagster.cli import models as cli
from tippers_dagster.errors import BadInput
from tippers_dagster.learning.models import LoadedModel
from tippers_dagster.learning.predictions import NotPredicted, has_predictions
from tippers_dagster.learning.registry import NoChampion, promote
from tippers_dagster.learning.rows import (
    find_classifier,
    fitting_columns,
    predict_by_champion,
    predict_rows,
    read_rows,
)
from tippers_dagster.platform.mlflow.model_files import ModelRefused


@dataclass
class Echo:
    """A model that predicts B confidently if ``size`` is above 1 and ``kind`` is known."""

    classes_: tuple[str, ...] = ("A", "B")
    feature_names_in_: tuple[str, ...] = ("size", "kind")
    seen: list[pd.DataFrame] = field(default_factory=list)

    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray:
        self.seen.append(frame)
        b = (frame["size"].to_numpy() > 1) & frame["kind"].notna().to_numpy()
        return np.column_stack([~b, b]).astype(float)


def loaded(**types: str) -> LoadedModel:
    return LoadedModel(NAME, 4, Echo(), types or {"size": "double", "kind": "string"})


def test_predicted_rows_keep_their_columns() -> None:
    rows = pa.table({"note": ["x", "y", "z"], "size": [1, 2, 3], "kind": ["a", None, "c"]})
    found = predict_rows(loaded(), rows, ("B", "A"))
    assert found.column_names == [
        *("note", "size", "kind", "label", "confidence", "p_b", "p_a", "model_version")
    ]
    assert found["label"].to_pylist() == ["A", "A", "B"]
    assert found["p_b"].to_pylist() == [0, 0, 1]
    assert set(found["model_version"].to_pylist()) == {4}
    assert predict_rows(loaded(), rows.slice(0, 0), ("A", "B")).num_rows == 0
    with pytest.raises(BadInput, match="result columns: label"):
        predict_rows(loaded(), rows.append_column("label", rows["note"]), ("A",))


def test_types_must_be_those_of_training() -> None:
    model = loaded()
    taken = fitting_columns(model, pa.table({"size": [1], "kind": [101], "more": ["x"]}))
    assert taken.schema == pa.schema({"size": pa.float64(), "kind": pa.string()})
    assert taken["kind"].to_pylist() == ["101"]
    nothing = fitting_columns(model, pa.table({"size": pa.nulls(1), "kind": pa.nulls(1)}))
    assert nothing["kind"].type == pa.string()
    with pytest.raises(BadInput, match="size contains text such as 'big'"):
        fitting_columns(model, pa.table({"size": ["big"], "kind": ["a"]}))
    with pytest.raises(BadInput, match=r"kind contains numbers such as 1\.5"):
        fitting_columns(model, pa.table({"size": [1], "kind": [1.5]}))
    with pytest.raises(BadInput, match="needs the columns size, kind"):
        fitting_columns(model, pa.table({"size": [1]}))


def test_files_of_rows(tmp_path: Path) -> None:
    rows = pa.table({"size": [1.5, None], "kind": ["a", None]})
    pq.write_table(rows, tmp_path / "rows.parquet")
    pa_csv.write_csv(rows, tmp_path / "rows.csv")
    for name in ("rows.parquet", "rows.csv"):
        assert read_rows(tmp_path / name).to_pylist() == rows.to_pylist()
    with pytest.raises(BadInput, match="no file"):
        read_rows(tmp_path / "none.csv")
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(BadInput, match="is not a Parquet file"):
        read_rows(tmp_path / "bad.parquet")


def run(*words: str) -> str:
    app = typer.Typer()
    cli.register(app)
    done = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_the_command_line(
    registered: Registered,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(store, "load_catalog", lambda _: registered.catalog)
    listed = run("models", "list")
    assert "device.guess" in listed
    assert "none" in listed
    with pytest.raises(BadInput, match=r"The classifiers: device\.guess"):
        find_classifier(registered.catalog, "device.gues")
    registered.register(0.2)
    registered.register()
    with pytest.raises(NoChampion):
        run("predict", NAME)
    assert "Version 2 of device.guess is champion; previously: none" in run(
        "models", "promote", NAME, "2"
    )
    run("models", "promote", NAME, "1")
    assert "Version 2 of device.guess is champion again; previously: 1" in run(
        "models", "roll-back", NAME
    )
    shown = run("models", "show", NAME)
    assert "champion" in shown
    assert "rolled back" in shown

    some = keys(N).to_pylist()[:2]
    answer = run("predict", NAME, "--entity", some[1], "--entity", some[0])
    table = pa_csv.read_csv(io.BytesIO(answer.encode()))
    assert table["mac_address"].to_pylist() == some[::-1]
    assert set(table["label"].to_pylist()) <= set(LABELS)
    with pytest.raises(NotPredicted, match="nobody is not an entity"):
        run("predict", NAME, "--entity", "nobody")

    out = tmp_path / "out.parquet"
    assert f"{N:,} predictions written" in run("predict", NAME, "--out", str(out))
    assert pq.read_table(out).num_rows == N
    rows = tmp_path / "rows.csv"
    pa_csv.write_csv(features(5), rows)
    answer = run("predict", NAME, "--in", str(rows), "--out", str(tmp_path / "some.csv"))
    assert "5 predictions written" in answer
    bad = tmp_path / "bad.csv"
    bad.write_text("hours\n1\n")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(BadInput, match="needs the columns hours, rooms"):
        run("predict", NAME, "--in", str(bad), "--out", str(tmp_path / "no.csv"))
    assert sorted(tmp_path.iterdir()) == before, "whole or not at all"
    with pytest.raises(BadInput, match="not both"):
        run("predict", NAME, "--in", str(rows), "--entity", "x")
    assert not has_predictions(registered.settings, "device", "guess")

    to = tmp_path / "exported"
    assert "Version 2 of device.guess written to" in run("models", "export", NAME, "--to", str(to))
    assert {"MLmodel", "README.md", "model.skops"} <= {path.name for path in to.iterdir()}
    with pytest.raises(ModelRefused, match="none is recorded"):
        run("models", "export", "forecaster.campus", "--to", str(tmp_path / "other"))


def test_the_command_predicts_the_same_as_the_asset(registered: Registered) -> None:  # noqa: F811
    registered.register()
    promote(registered.settings, NAME, 1, "ada")
    found = predict_by_champion(registered.settings, registered.catalog, REF)
    assert registered.predict().success
    written: list[dict[str, Any]] = registered.query(
        "SELECT mac_address, label, confidence FROM predictions.device__guess ORDER BY 1"
    )
    asked = found.select(["mac_address", "label", "confidence"]).sort_by("mac_address").to_pylist()
    assert asked == written
