"""The registered model of a forecaster: its champions, with the history that they continue.

It is a single file of numpy arrays. ``tippers models export`` checks it and writes it as an MLflow
model: ``mlflow.pyfunc.load_model(folder).predict(frame)`` forecasts the spaces in the frame's
column ``space``. Loading it requires this package, and runs no code from the folder.
"""

from __future__ import annotations

import datetime as dt
import io
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from tippers_dagster import __version__
from tippers_dagster.campus.local_time import LocalClock
from tippers_dagster.forecasting.backtest import ForecastTask, forecast_ahead
from tippers_dagster.forecasting.panel import LEVELS, Panel
from tippers_dagster.forecasting.reading import QUANTILE_COLUMNS
from tippers_dagster.forecasting.series import bin_begins, places
from tippers_dagster.forecasting.work import Bundle
from tippers_dagster.platform.mlflow.exporting import export_folder
from tippers_dagster.platform.mlflow.model_files import (
    ModelRefused,
    intact_version,
    model_files,
    read_model,
    record_model,
    recorded_file,
)
from tippers_dagster.platform.mlflow.search import name_filter
from tippers_dagster.settings import Settings

VERSION_TAG = "asset_version"
ALIAS = "champion"
FILE = "data/champions.npz"
"""Path of the file in MLflow's generic flavour."""


class Champions:
    """Forecasts the requested spaces, each with its champion."""

    def __init__(self, content: bytes) -> None:
        self._bundle, self._timezone = read_bundle(content)

    def predict(
        self, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One row per space and future bin; unknown spaces have none."""
        wanted = set(model_input["space"].astype(str))
        frames = [self._of_model(part, wanted) for part in self._bundle.parts]
        return pd.concat([f for f in frames if f is not None] or [_empty()], ignore_index=True)

    def _of_model(self, part: ForecastTask, wanted: set[str]) -> pd.DataFrame | None:
        spaces = part.panel.spaces
        if not wanted.intersection(spaces):
            return None
        clock, panel = LocalClock(self._timezone), part.panel
        begins = bin_begins(clock, panel.origin, part.horizon, panel.width)
        day, slot = places(clock, begins, panel.origin, panel.width)
        quantiles = forecast_ahead(part)[:, day, slot]
        frame = pd.DataFrame(quantiles.reshape(-1, len(LEVELS)), columns=list(QUANTILE_COLUMNS))
        times = pd.to_datetime(np.tile(begins, len(spaces)), unit="s", utc=True)
        frame.insert(0, "interval_begin_time", times)
        frame.insert(0, "model", part.model)
        frame.insert(0, "space", np.repeat(spaces, len(begins)))
        return frame[frame["space"].isin(wanted)]


def _load_pyfunc(path: str) -> Champions:
    """Load an exported model; called by MLflow."""
    return Champions(Path(path).read_bytes())


def _empty() -> pd.DataFrame:
    return pd.DataFrame(columns=["space", "model", "interval_begin_time", *QUANTILE_COLUMNS])


def register(settings: Settings, name: str, version: str, bundle: Bundle) -> str:
    """Log the champions to the active run, register them as ``name``, and return the version.

    Each version of the asset is registered once, according to the warehouse's record, as long as
    its file in MLflow is unchanged.
    """
    client = mlflow.MlflowClient()
    number = intact_version(settings, client, name, version) or _registered(
        settings, client, name, version, bundle
    )
    client.set_registered_model_alias(name, ALIAS, str(number))
    return str(number)


def _registered(settings: Settings, client: Any, name: str, version: str, bundle: Bundle) -> int:
    from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR

    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    content = write_bundle(bundle, settings.timezone)
    with _flavour(content) as given:
        logged = mlflow.pyfunc.log_model(name="champions", **given)
    if not client.search_registered_models(name_filter(name)):
        client.create_registered_model(name)
    run = mlflow.active_run()
    assert run is not None  # the model was logged to it
    tags = {VERSION_TAG: version}
    created = client.create_model_version(
        name, logged.model_uri, run.info.run_id, tags, model_id=logged.model_id
    )
    record_model(settings, name, int(created.version), version, "npz", FILE, content)
    return int(created.version)


def newest_version(settings: Settings, name: str) -> int:
    """The newest version that can be loaded.

    Raises
    ------
    ModelRefused
        When there is none.
    """
    recorded = model_files(settings, name)
    if not recorded:
        raise ModelRefused(
            f"No version of {name} can be loaded: none is recorded.",
            "Either there is no such forecaster, or its champions were registered before digests "
            f"were recorded. To train them again: `tippers pipeline materialize {name}`.",
        )
    return recorded[0].version


def export_forecaster(settings: Settings, name: str, version: int, to: Path) -> None:
    """Check registered champions and write them to a new folder.

    Raises
    ------
    ModelRefused, MlflowAway
        When they do not match their record, or cannot be fetched; nothing is written then.
    BadInput
        When the folder exists, or cannot be written.
    """

    def parsed(content: bytes) -> tuple[bytes, Bundle]:
        return content, read_bundle(content)[0]

    content, bundle = read_model(settings, name, version, "npz", parsed)
    spaces = [space for part in bundle.parts for space in part.panel.spaces]
    example = {"dataframe_split": {"columns": ["space"], "data": [[s] for s in spaces[:1]]}}

    def save(folder: Path) -> None:
        with _flavour(content) as given:
            mlflow.pyfunc.save_model(str(folder), **given)

    export_folder(to, recorded_file(settings, name, version), content, example, save)


@contextmanager
def _flavour(content: bytes) -> Iterator[dict[str, Any]]:
    """Arguments of MLflow's generic flavour: the data, and a module of this package that loads it,
    so no code is stored with it.
    """
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*input example was not provided")
        file = Path(folder) / Path(FILE).name
        file.write_bytes(content)
        yield {
            "loader_module": __name__,
            "data_path": str(file),
            "signature": ModelSignature(inputs=Schema([ColSpec("string", "space")])),
            "pip_requirements": [f"tippers=={__version__}"],
        }


def write_bundle(bundle: Bundle, timezone: str) -> bytes:
    """Champions and their histories as one numpy file without pickled objects."""
    described = [
        {
            "model": part.model,
            "horizon": part.horizon,
            "first": part.panel.first.isoformat(),
            "spaces": list(part.panel.spaces),
        }
        for part in bundle.parts
    ]
    arrays: dict[str, Any] = {
        "about": np.frombuffer(
            json.dumps({"timezone": timezone, "parts": described}).encode(), np.uint8
        )
    }
    for i, part in enumerate(bundle.parts):
        arrays[f"values_{i}"] = part.panel.values
        arrays[f"flags_{i}"] = part.panel.flags
        arrays[f"capacity_{i}"] = part.capacity
        arrays[f"state_{i}"] = np.frombuffer(part.state, np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def read_bundle(content: bytes) -> tuple[Bundle, str]:
    """The bundle that :func:`write_bundle` wrote, and its time zone."""
    with np.load(io.BytesIO(content), allow_pickle=False) as found:
        about = json.loads(found["about"].tobytes())
        parts = [
            ForecastTask(
                part["model"],
                found[f"state_{i}"].tobytes(),
                Panel(
                    tuple(part["spaces"]),
                    dt.date.fromisoformat(part["first"]),
                    found[f"values_{i}"],
                    found[f"flags_{i}"],
                ),
                found[f"capacity_{i}"],
                part["horizon"],
            )
            for i, part in enumerate(about["parts"])
        ]
    return Bundle(tuple(parts)), about["timezone"]
