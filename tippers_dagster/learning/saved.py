"""Trained classifiers as bytes: skops files that contain only the nodes and types listed here.

By default skops trusts all of scikit-learn's estimators, numpy's functions and more, and MLflow
lets a model's own ``MLmodel`` name further types. Here the list is fixed: the types that models of
the bank consist of. None of these can execute code from the file.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

from tippers_dagster.platform.mlflow.model_files import ModelRefused

FILE = "model.skops"
"""The file's name in MLflow's scikit-learn flavour."""

_OBJECTS = (
    "lightgbm.basic.Booster",  # its state is LightGBM's own text
    "lightgbm.sklearn.LGBMClassifier",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.MultinomialLogit",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfMultinomialLoss",
    "sklearn.calibration.CalibratedClassifierCV",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.compose._column_transformer.ColumnTransformer",
    "sklearn.discriminant_analysis.LinearDiscriminantAnalysis",
    "sklearn.ensemble._forest.ExtraTreesClassifier",
    "sklearn.ensemble._forest.RandomForestClassifier",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.ensemble._weight_boosting.AdaBoostClassifier",
    "sklearn.impute._base.MissingIndicator",
    "sklearn.impute._base.SimpleImputer",
    "sklearn.linear_model._logistic.LogisticRegression",
    "sklearn.linear_model._ridge.RidgeClassifier",
    "sklearn.linear_model._stochastic_gradient.SGDClassifier",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.naive_bayes.GaussianNB",
    "sklearn.neighbors._classification.KNeighborsClassifier",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.pipeline.Pipeline",
    "sklearn.preprocessing._data.StandardScaler",
    "sklearn.preprocessing._encoders.OneHotEncoder",
    # Stands for "passthrough". A function in it would be a FunctionNode, which is refused.
    "sklearn.preprocessing._function_transformer.FunctionTransformer",
    "sklearn.preprocessing._label.LabelBinarizer",
    "sklearn.preprocessing._label.LabelEncoder",
    "sklearn.svm._classes.LinearSVC",
    "sklearn.tree._classes.DecisionTreeClassifier",
    "sklearn.tree._classes.ExtraTreeClassifier",
)

_SIZES = (8, 16, 32, 64)
_SCALARS = (
    *("numpy.bool", "numpy.bool_", "numpy.float32", "numpy.float64"),
    *(f"numpy.int{bits}" for bits in _SIZES),
    *(f"numpy.uint{bits}" for bits in _SIZES),
)

NODES: dict[str, frozenset[str]] = {
    "DTypeNode": frozenset({"numpy.dtype"}),
    "DefaultDictNode": frozenset({"collections.defaultdict"}),
    "DictNode": frozenset({"builtins.dict", "collections.OrderedDict"}),
    "JsonNode": frozenset({"builtins.str"}),
    "ListNode": frozenset({"builtins.list"}),
    "LossNode": frozenset(
        {
            "sklearn._loss._loss.CyHalfBinomialLoss",
            "sklearn._loss._loss.CyHalfMultinomialLoss",
            "sklearn.linear_model._sgd_fast.Hinge",
        }
    ),
    "NdArrayNode": frozenset({"numpy.ndarray", *_SCALARS}),
    "ObjectNode": frozenset(_OBJECTS),
    "RandomGeneratorNode": frozenset({"numpy.random._generator.Generator"}),
    "SliceNode": frozenset({"builtins.slice"}),
    "TreeNode": frozenset({"sklearn.tree._tree.Tree"}),
    "TupleNode": frozenset({"builtins.tuple"}),
    "TypeNode": frozenset({"builtins.str", "collections.OrderedDict", *_SCALARS}),
}
"""What a model may consist of: skops nodes, and the types of each."""

TRUSTED_TYPES = sorted(set().union(*NODES.values()))
"""All of these types, in the form that skops takes."""

MAX_UNPACKED_BYTES = 8 * 2**30
"""Maximum bytes of an unpacked file."""

_DAMAGED = (zipfile.BadZipFile, KeyError, ValueError, TypeError, RecursionError, AttributeError)
"""Errors that skops raises for a file that is damaged or not a model."""


def parse_model(content: bytes) -> Any:
    """The trained model in a skops file.

    Raises
    ------
    ModelRefused
        When it is not such a file, or contains anything that models of the bank do not.
    """
    import skops.io  # type: ignore[import-untyped]  # has no types
    from sklearn.pipeline import Pipeline  # type: ignore[import-untyped]  # has no types

    try:
        _check(content)
        model = skops.io.loads(content, trusted=TRUSTED_TYPES)
    except _DAMAGED as error:
        first = " ".join(str(error).split())[:200]
        raise ModelRefused(
            f"It is damaged or not a skops model: {type(error).__name__}: {first}"
        ) from None
    if not isinstance(model, Pipeline):
        raise ModelRefused("It is not a classifier.")
    return model


def _check(content: bytes) -> None:
    """Refuse unlisted nodes and types before skops reads them."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        if sum(part.file_size for part in file.infolist()) > MAX_UNPACKED_BYTES:
            raise ModelRefused("It is larger than 8 GiB unpacked.")
        schema = json.loads(file.read("schema.json"))
    unknown = sorted({found for found in _nodes(schema) if not _known(*found)})
    if unknown:
        listed = ", ".join(f"{type_} ({node})" for node, type_ in unknown[:3])
        raise ModelRefused(f"It contains types that are not allowed: {listed}.")


def _known(node: str, type_: str) -> bool:
    return type_ in NODES.get(node, ())


def _nodes(schema: Any) -> Iterator[tuple[str, str]]:
    """The nodes of a schema with their types."""
    left = [schema]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            if "__loader__" in one:
                yield str(one["__loader__"]), f"{one.get('__module__')}.{one.get('__class__')}"
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)
