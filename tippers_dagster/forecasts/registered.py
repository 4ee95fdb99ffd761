"""The registered model of a forecaster: its champions, with the history that they go on from.

``mlflow.pyfunc.load_model("models:/forecaster.campus@champion").predict(frame)``, where the frame
has a column ``space``, gives the forecast of each. Loading it takes this package.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.pyfunc import PythonModel
from mlflow.types import ColSpec, Schema

from tippers_dagster import __version__
from tippers_dagster.forecasts.backtest import Ahead, look_ahead
from tippers_dagster.forecasts.panel import LEVELS, Panel
from tippers_dagster.forecasts.reading import QUANTILE_COLUMNS
from tippers_dagster.forecasts.series import bin_begins, places
from tippers_dagster.forecasts.work import Bundle
from tippers_dagster.spaces.clock import LocalClock

VERSION_TAG = "asset_version"
ALIAS = "champion"
_FILE = "champions.npz"
_CODE = Path(__file__).with_name("registered_code.py")


class Champions(PythonModel):
    """Forecasts the spaces that it is asked for, each by its champion."""

    def load_context(self, context: Any) -> None:
        """Read the champions."""
        self._bundle, self._timezone = read_bundle(Path(context.artifacts["champions"]))

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One row per space and bin to come; a space that it does not know has none."""
        wanted = set(model_input["space"].astype(str))
        frames = [self._of_model(part, wanted) for part in self._bundle.parts]
        return pd.concat([f for f in frames if f is not None] or [_empty()], ignore_index=True)

    def _of_model(self, part: Ahead, wanted: set[str]) -> pd.DataFrame | None:
        spaces = part.panel.spaces
        if not wanted.intersection(spaces):
            return None
        clock, panel = LocalClock(self._timezone), part.panel
        begins = bin_begins(clock, panel.origin, part.horizon, panel.width)
        day, slot = places(clock, begins, panel.origin, panel.width)
        quantiles = look_ahead(part)[:, day, slot]
        frame = pd.DataFrame(quantiles.reshape(-1, len(LEVELS)), columns=list(QUANTILE_COLUMNS))
        times = pd.to_datetime(np.tile(begins, len(spaces)), unit="s", utc=True)
        frame.insert(0, "interval_begin_time", times)
        frame.insert(0, "model", part.model)
        frame.insert(0, "space", np.repeat(spaces, len(begins)))
        return frame[frame["space"].isin(wanted)]


def _empty() -> pd.DataFrame:
    return pd.DataFrame(columns=["space", "model", "interval_begin_time", *QUANTILE_COLUMNS])


def register(name: str, version: str, bundle: Bundle, timezone: str) -> str:
    """Log the champions to the active run and register them as a version of ``name``; that number.

    Registered once for each version of the asset: one that a killed run registered is found again
    by its tag.
    """
    client = mlflow.MlflowClient()
    found = client.search_model_versions(f"name = '{name}' and tag.{VERSION_TAG} = '{version}'")
    number = (
        str(found[0].version) if found else _registered(client, name, version, bundle, timezone)
    )
    client.set_registered_model_alias(name, ALIAS, number)
    return number


def _registered(client: Any, name: str, version: str, bundle: Bundle, timezone: str) -> str:
    from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR

    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*input example was not provided")
        file = Path(folder) / _FILE
        write_bundle(file, bundle, timezone)
        logged = mlflow.pyfunc.log_model(
            name="champions",
            python_model=str(_CODE),
            artifacts={"champions": str(file)},
            signature=ModelSignature(inputs=Schema([ColSpec("string", "space")])),
            pip_requirements=[f"tippers=={__version__}"],
        )
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    run = mlflow.active_run()
    assert run is not None  # the model was logged to it
    tags = {VERSION_TAG: version}
    made = client.create_model_version(
        name, logged.model_uri, run.info.run_id, tags, model_id=logged.model_id
    )
    return str(made.version)


def write_bundle(file: Path, bundle: Bundle, timezone: str) -> None:
    """Write champions and their histories to one file, without pickles."""
    told = [
        {
            "model": part.model,
            "horizon": part.horizon,
            "first": part.panel.first.isoformat(),
            "spaces": list(part.panel.spaces),
        }
        for part in bundle.parts
    ]
    arrays: dict[str, Any] = {
        "about": np.frombuffer(json.dumps({"timezone": timezone, "parts": told}).encode(), np.uint8)
    }
    for i, part in enumerate(bundle.parts):
        arrays[f"values_{i}"] = part.panel.values
        arrays[f"flags_{i}"] = part.panel.flags
        arrays[f"capacity_{i}"] = part.capacity
        arrays[f"state_{i}"] = np.frombuffer(part.state, np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    file.write_bytes(buffer.getvalue())


def read_bundle(file: Path) -> tuple[Bundle, str]:
    """What :func:`write_bundle` wrote, and the time zone."""
    with np.load(file, allow_pickle=False) as found:
        about = json.loads(found["about"].tobytes())
        parts = [
            Ahead(
                told["model"],
                found[f"state_{i}"].tobytes(),
                Panel(
                    tuple(told["spaces"]),
                    dt.date.fromisoformat(told["first"]),
                    found[f"values_{i}"],
                    found[f"flags_{i}"],
                ),
                found[f"capacity_{i}"],
                told["horizon"],
            )
            for i, told in enumerate(about["parts"])
        ]
    return Bundle(tuple(parts)), about["timezone"]
