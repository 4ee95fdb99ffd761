"""What MLflow is told of a classifier: a run for each model below that of the materialisation.

The best model is registered once for each version of the asset, however often it is materialised:
the version of the registered model says of which version of the asset it is.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from contextlib import redirect_stderr
from functools import partial
from importlib.metadata import version as installed
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
from tippers_dagster.learning.tables import JUDGED_ON
from tippers_dagster.learning.work import Trained
from tippers_dagster.small_tables import cells_as_text

if TYPE_CHECKING:
    from tippers_dagster.experiments.runs import MlflowLog
    from tippers_dagster.learning.results import ModelResult

EXAMPLE_ROWS = 5

TRUSTED_TYPES = (
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.tree._tree.Tree",
)
"""What a saved model may be made of, beside what skops knows. No pickle is ever loaded."""


class _Failed(CannotTrain):
    """Ends the MLflow run of a model that failed."""


def log_classifier(
    log: MlflowLog,
    made: Trained,
    catalog: Catalog,
    ref: Ref,
    version: str,
    run_id: str,
    plots: Mapping[str, bytes],
) -> int | None:
    """Log a materialisation, and register the best model; its version, None when MLflow is away.

    Parameters
    ----------
    version, run_id
        Of the asset, and of the Dagster run.
    plots
        PNG images by name.
    """
    body = catalog.definitions[ref].body
    assert isinstance(body, Classifier)
    log_models(log, made, body, version, run_id)
    tags = {"version": version, "dagster_asset": ref.asset_name}
    log_best(log, made, body, tags, plots)
    return register(log, made, ref, body, version, run_id)


def log_models(log: MlflowLog, made: Trained, body: Classifier, version: str, run_id: str) -> None:
    """A run for each model of the bank; FAILED for one that could not be trained."""
    for one in model_results(made):
        try:
            with log.child(one.model):
                log.log_more(partial(_tell, one=one, body=body, version=version, run_id=run_id))
                if one.error is not None:
                    raise _Failed(one.error)
        except _Failed:
            continue


def _tell(mlflow: Any, one: ModelResult, body: Classifier, version: str, run_id: str) -> None:
    asked = {"model": one.model, "folds": body.folds, "seed": body.seed}
    mlflow.log_params({**asked, **arguments_of(one.model)})
    mlflow.log_metrics({**metrics_of(one), "rank": one.rank, "seconds": one.seconds or 0.0})
    error = {} if one.error is None else {"error": one.error[:2000]}
    # Not dagster_run_id: by that tag the run of a materialisation is found again.
    mlflow.set_tags({"version": version, "dagster_run": run_id, "status": one.status, **error})


def metrics_of(one: ModelResult) -> dict[str, float]:
    """A model's metrics, those that are known: ``held_out_macro_f1`` ..."""
    return {
        f"{judged}_{name}": value
        for judged in JUDGED_ON
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
    """Parameters, metrics and files of the best model, to the run of the materialisation."""
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
            "confusion.csv": _csv(confusion),
            "importances.csv": _csv(columns),
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
    log: MlflowLog, made: Trained, ref: Ref, body: Classifier, version: str, run_id: str
) -> int | None:
    """Register the best model as challenger, unless this version of the asset is; its number.

    None when MLflow did not do it; ``log.problem`` says why.
    """
    found: list[int] = []

    def write(mlflow: Any) -> None:
        client = mlflow.MlflowClient()
        name = registered_name(ref)
        number = _registered(client, name, version)
        if number is None:
            tags = {RUN_TAG: run_id, VERSION_TAG: version, METRIC_TAG: body.promotion_metric}
            tags[VALUE_TAG] = repr(_value(made, body))
            uri = _log_model(mlflow, made)
            # It says there what went well, whatever its log level.
            with redirect_stderr(io.StringIO()):
                number = int(mlflow.register_model(uri, name, tags=tags).version)
        # A process may have died between the two.
        if str(number) not in map(str, client.get_registered_model(name).aliases.values()):
            client.set_registered_model_alias(name, CHALLENGER, str(number))
        found.append(number)

    log.log_more(write)
    return found[0] if found else None


def _registered(client: Any, name: str, version: str) -> int | None:
    """The version of a model that a version of the asset was registered as."""
    quoted = name.replace("'", "''")
    numbers = [
        int(one.version)
        for one in client.search_model_versions(f"name = '{quoted}'")
        if one.tags.get(VERSION_TAG) == version
    ]
    return max(numbers, default=None)


def _log_model(mlflow: Any, made: Trained) -> str:
    """Log the best model to the active run; where it is then."""
    import mlflow.sklearn
    from mlflow.environment_variables import MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR as PROGRESS
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    sides = made.best.sides
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec("double" if name in sides.numeric else "string", name, required=False)
        for name in sides.training.columns
    ]
    outputs = TensorSpec(np.dtype(np.float64), (-1, len(sides.labels)))
    PROGRESS.set(False)
    uri: str = mlflow.sklearn.log_model(
        made.model,
        name="model",
        signature=ModelSignature(Schema(inputs), Schema([outputs])),
        input_example=sides.training.head(EXAMPLE_ROWS),
        pyfunc_predict_fn="predict_proba",
        pip_requirements=_requirements(made.best.model),
        serialization_format="skops",
        skops_trusted_types=list(TRUSTED_TYPES),
    ).model_uri
    return uri


def _requirements(model: str) -> list[str]:
    """What the model needs to be loaded: told, because MLflow would find it out in a minute."""
    packages = ["scikit-learn", "pandas", "numpy", "skops"]
    packages += ["lightgbm"] if model == "lightgbm" else []
    return [f"{name}=={installed(name)}" for name in packages]


def _value(made: Trained, body: Classifier) -> float:
    assert made.first.held_out is not None
    return float(getattr(made.first.held_out, body.promotion_metric))


def _csv(rows: list[list[str]]) -> bytes:
    sink = io.StringIO()
    csv.writer(sink).writerows(map(cells_as_text, rows))
    return sink.getvalue().encode()
