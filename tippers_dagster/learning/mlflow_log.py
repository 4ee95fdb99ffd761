"""Logs classifiers to MLflow: a run for each model below the materialisation's run.

The best model is registered once per version of the asset, however often it is materialised: the
registered version records the asset's version.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import redirect_stderr
from functools import partial
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Classifier
from tippers_dagster.catalog.model import Ref
from tippers_dagster.learning.bank import arguments_of
from tippers_dagster.learning.errors import CannotTrain
from tippers_dagster.learning.naming import (
    CHALLENGER,
    METRIC_TAG,
    RUN_TAG,
    VALUE_TAG,
    VERSION_TAG,
    registered_name,
)
from tippers_dagster.learning.results import model_results
from tippers_dagster.learning.saved import FILE, TRUSTED_TYPES, parse_model
from tippers_dagster.learning.tables import EVALUATED_ON
from tippers_dagster.learning.work import Trained
from tippers_dagster.platform.mlflow.model_files import intact_version, record_model
from tippers_dagster.platform.table_files import csv_of_rows
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

    from tippers_dagster.automation.mlflow_runs import MlflowLog
    from tippers_dagster.learning.results import ModelResult

EXAMPLE_ROWS = 5


class _Failed(CannotTrain):
    """Ends the MLflow run of a model that failed."""


def log_classifier(
    settings: Settings,
    log: MlflowLog,
    made: Trained,
    catalog: Catalog,
    ref: Ref,
    version: str,
    run_id: str,
    plots: Mapping[str, bytes],
) -> int | None:
    """Log a materialisation, and register the best model; returns its version, None if that failed.

    Parameters
    ----------
    version, run_id
        The asset's version, and the id of the Dagster run.
    plots
        PNG images by name.
    """
    body = catalog.definitions[ref].body
    assert isinstance(body, Classifier)
    log_models(log, made, body, version)
    tags = {"version": version, "dagster_asset": ref.asset_name}
    log_best(log, made, body, tags, plots)
    return register(settings, log, made, ref, body, version, run_id)


def log_models(log: MlflowLog, made: Trained, body: Classifier, version: str) -> None:
    """A run for each model of the bank; FAILED if it could not be trained."""
    for one in model_results(made):
        try:
            with log.child(one.model):
                log.log_more(partial(_log_model_run, one=one, body=body, version=version))
                if one.error is not None:
                    raise _Failed(one.error)
        except _Failed:
            continue


def _log_model_run(mlflow: Any, one: ModelResult, body: Classifier, version: str) -> None:
    settings = {"model": one.model, "folds": body.folds, "seed": body.seed}
    mlflow.log_params({**settings, **arguments_of(one.model)})
    mlflow.log_metrics({**metrics_of(one), "rank": one.rank, "seconds": one.seconds or 0.0})
    error = {} if one.error is None else {"error": one.error[:2000]}
    mlflow.set_tags({"version": version, "status": one.status, **error})


def metrics_of(one: ModelResult) -> dict[str, float]:
    """A model's known metrics: ``held_out_macro_f1`` ..."""
    return {
        f"{judged}_{name}": value
        for judged in EVALUATED_ON
        for name, value in getattr(one, judged).items()
        if value is not None
    }


def log_best(
    log: MlflowLog,
    made: Trained,
    body: Classifier,
    tags: Mapping[str, str],
    plots: Mapping[str, bytes],
) -> None:
    """Log parameters, metrics and files of the best model to the materialisation's run."""
    first = made.first
    assert first.held_out is not None
    labels = made.inputs.labels
    confusion = [["label", *labels, "none"]]
    confusion += [
        [label, *map(str, row)]
        for label, row in zip(labels, first.held_out.confusion.tolist(), strict=True)
    ]
    columns = [["column", "mean", "deviation"]]
    columns += [[i.column, repr(i.mean), repr(i.deviation)] for i in made.importances]
    log.log(
        params={
            "best": first.outcome.model,
            "labels": ",".join(labels),
            "threshold_set": made.chosen.steps[0].threshold,
            "threshold": made.chosen.threshold,
            "columns": len(made.inputs.rows.columns.column_names),
            **body.model_dump(
                mode="json",
                include={
                    "label_model",
                    "threshold_method",
                    "minimum_per_class",
                    "imbalance_cap",
                    "test_share",
                    "folds",
                    "seed",
                    "promotion_metric",
                },
            ),
        },
        metrics=_figures(made),
        tags=tags,
        files={
            "confusion.csv": csv_of_rows(confusion).encode(),
            "importances.csv": csv_of_rows(columns).encode(),
            "threshold_steps.json": json.dumps([vars(s) for s in made.chosen.steps]).encode(),
            **{f"plots/{name}.png": png for name, png in plots.items()},
        },
    )


def _figures(made: Trained) -> dict[str, float]:
    trained = made.chosen.counts(made.chosen.trained)
    base = made.baselines
    compared = {
        "label_model_gold_accuracy": base.label_model_gold.accuracy,
        "label_model_gold_macro_f1": base.label_model_gold.macro_f1,
        "majority_class_held_out_accuracy": base.majority_class.accuracy,
        "majority_class_gold_accuracy": base.majority_class_gold.accuracy,
    }
    return {
        **metrics_of(model_results(made)[0]),
        **{f"trained_{label}": float(count) for label, count in trained.items()},
        **{name: value for name, value in compared.items() if math.isfinite(value)},
    }


def register(
    settings: Settings,
    log: MlflowLog,
    made: Trained,
    ref: Ref,
    body: Classifier,
    version: str,
    run_id: str,
) -> int | None:
    """Register the best model as challenger, unless this asset version has one; returns its number.

    None when the MLflow request failed; ``log.problem`` says why. A version whose file in MLflow
    does not match its record is registered again, under the next number.
    """
    found: list[int] = []

    def write(mlflow: Any) -> None:
        client = mlflow.MlflowClient()
        name = registered_name(ref)
        number = intact_version(settings, client, name, version)
        if number is None:
            tags = {RUN_TAG: run_id, VERSION_TAG: version, METRIC_TAG: body.promotion_metric}
            tags[VALUE_TAG] = repr(_value(made, body))
            uri, content = _log_best_model(made)
            # MLflow writes progress to stderr, whatever its log level.
            with redirect_stderr(io.StringIO()):
                number = int(mlflow.register_model(uri, name, tags=tags).version)
            record_model(settings, name, number, version, "skops", FILE, content)
        # A process may have died between the two steps.
        if str(number) not in map(str, client.get_registered_model(name).aliases.values()):
            client.set_registered_model_alias(name, CHALLENGER, str(number))
        found.append(number)

    log.log_more(write)
    return found[0] if found else None


def _log_best_model(made: Trained) -> tuple[str, bytes]:
    """Log the best model to the active run; returns its location and its file."""
    sides = made.best.sides
    signature = signature_of(list(sides.training.columns), sides.categorical, len(sides.labels))
    example = sides.training.head(EXAMPLE_ROWS)
    return log_model(made.model, signature, example, requirements(made.best.model == "lightgbm"))


def signature_of(
    columns: Sequence[str], categorical: Collection[str], labels: int
) -> ModelSignature:
    """The signature of a model for MLflow."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    inputs: list[ColSpec | TensorSpec] = [
        ColSpec("string" if name in categorical else "double", name, required=False)
        for name in columns
    ]
    outputs = TensorSpec(np.dtype(np.float64), (-1, labels))
    return ModelSignature(Schema(inputs), Schema([outputs]))


def log_model(
    model: Any,
    signature: ModelSignature | None = None,
    example: pd.DataFrame | None = None,
    packages: Sequence[str] = (),
) -> tuple[str, bytes]:
    """Log a trained model to the active run, with MLflow's scikit-learn flavour in skops format.

    Returns
    -------
    tuple
        Its location, and its file's content before it was sent.

    Raises
    ------
    ModelRefused
        When it cannot be read back.
    """
    from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR as PROGRESS
    from mlflow.models import Model

    PROGRESS.set(False)
    flavour = _Flavour()
    info = Model.log(
        artifact_path=None,
        name="model",
        flavor=flavour,
        flavor_name="mlflow.sklearn",
        sk_model=model,
        signature=signature,
        input_example=example,
        pip_requirements=list(packages),
        validate_serving_input=False,  # validation would load it through MLflow
    )
    return info.model_uri, flavour.content


class _Flavour:
    """MLflow's scikit-learn flavour; keeps the file that it wrote before MLflow sends it."""

    content = b""

    def save_model(self, path: str, validate_serving_input: bool, **given: Any) -> None:
        """Same as ``mlflow.sklearn.save_model``."""
        save_model(path, **given)
        self.content = (Path(path) / FILE).read_bytes()
        parse_model(self.content)


def save_model(path: str | Path, **given: Any) -> None:
    """Save a trained model to a folder, as :func:`log_model` logs it.

    Parameters
    ----------
    given
        Arguments of ``mlflow.sklearn.save_model``.
    """
    import mlflow.sklearn

    mlflow.sklearn.save_model(
        path=str(path),
        pyfunc_predict_fn="predict_proba",
        serialization_format="skops",
        skops_trusted_types=TRUSTED_TYPES,
        **given,
    )


def requirements(lightgbm: bool) -> list[str]:
    """A model's requirements: listed here, because MLflow would take a minute to infer them."""
    packages = ["scikit-learn", "pandas", "numpy", "skops", *(["lightgbm"] if lightgbm else [])]
    return [f"{name}=={installed(name)}" for name in packages]


def _value(made: Trained, body: Classifier) -> float:
    assert made.first.held_out is not None
    return float(getattr(made.first.held_out, body.promotion_metric))
