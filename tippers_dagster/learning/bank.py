"""The bank of models: each takes the same rows, and gives a probability for every label.

Each is a scikit-learn pipeline. Missing numbers are imputed with the median, with an indicator
column; numbers are scaled if the model uses distances or weights. Categories are one-hot encoded:
rare ones share a column, unknown ones get none. Models without probabilities, or with poor ones,
are calibrated with Platt's sigmoid (Platt: Probabilistic outputs for support vector machines,
1999).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sklearn.pipeline import Pipeline  # type: ignore[import-untyped]  # has no types

MAX_CATEGORIES = 30
"""Maximum columns for one category column; the rarest values share the last one."""

NUMBERS, CATEGORIES = "numbers", "categories"
"""Names of the parts of a model that take the columns."""

NEIGHBOURS = 15
CALIBRATION_FOLDS = 3

ROWS_PER_TREE = 10_000
"""Maximum rows for one tree of a forest, drawn for each tree: its cost does not grow further."""

Numbers = Literal["scaled", "imputed", "as they are"]
"""How numbers are prepared for a model; LightGBM accepts missing ones."""


@dataclass(frozen=True)
class _Model:
    path: str
    numbers: Numbers
    calibrated: bool = False
    arguments: dict[str, Any] = field(default_factory=dict)


_BANK: dict[str, _Model] = {
    "logistic_regression": _Model(
        "sklearn.linear_model.LogisticRegression", "scaled", arguments={"max_iter": 2000}
    ),
    "ridge": _Model("sklearn.linear_model.RidgeClassifier", "scaled", calibrated=True),
    "sgd": _Model(
        "sklearn.linear_model.SGDClassifier",
        "scaled",
        calibrated=True,
        arguments={"max_iter": 2000, "average": True},
    ),
    "linear_svm": _Model(
        "sklearn.svm.LinearSVC", "scaled", calibrated=True, arguments={"max_iter": 5000}
    ),
    "nearest_neighbours": _Model("sklearn.neighbors.KNeighborsClassifier", "scaled"),
    "naive_bayes": _Model("sklearn.naive_bayes.GaussianNB", "scaled"),
    "linear_discriminant": _Model(
        "sklearn.discriminant_analysis.LinearDiscriminantAnalysis",
        "scaled",
        arguments={"solver": "lsqr", "shrinkage": "auto"},  # columns may be collinear
    ),
    "decision_tree": _Model(
        "sklearn.tree.DecisionTreeClassifier", "imputed", arguments={"min_samples_leaf": 5}
    ),
    "random_forest": _Model(
        "sklearn.ensemble.RandomForestClassifier", "imputed", arguments={"n_estimators": 100}
    ),
    "extra_trees": _Model(
        "sklearn.ensemble.ExtraTreesClassifier", "imputed", arguments={"n_estimators": 100}
    ),
    "gradient_boosting": _Model(
        "sklearn.ensemble.HistGradientBoostingClassifier",
        "imputed",  # it fails if a fold has no value in a column
        arguments={"max_iter": 100, "early_stopping": False, "max_leaf_nodes": 15},
    ),
    "ada_boost": _Model(
        "sklearn.ensemble.AdaBoostClassifier",
        "imputed",
        calibrated=True,  # its own probabilities are all similar
        arguments={"n_estimators": 60},
    ),
    "lightgbm": _Model(
        "lightgbm.LGBMClassifier",
        "as they are",
        arguments={
            "n_estimators": 100,
            "num_leaves": 15,
            "n_jobs": 1,
            "verbosity": -1,
            "deterministic": True,
            "force_row_wise": True,
        },
    ),
}


def left_out(models: Sequence[str]) -> dict[str, str]:
    """The models that cannot be used on this machine, and why.

    LightGBM needs the system's OpenMP library (libgomp), which no wheel includes.
    """
    reasons = {}
    for name in models:
        try:
            importlib.import_module(_BANK[name].path.partition(".")[0])
        except (ImportError, OSError) as error:
            reasons[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return reasons


_SLOWEST_FIRST = (
    *("ada_boost", "random_forest", "extra_trees", "sgd", "linear_svm", "gradient_boosting"),
    *("lightgbm", "logistic_regression", "decision_tree", "nearest_neighbours"),
)
"""Models whose training takes long, on 35,000 rows of 30 columns."""


def slowest_first(models: Sequence[str]) -> list[str]:
    """Models in the order in which to start them.

    A long one that starts last would keep one processor busy while the others have nothing to do.
    """
    place = {name: at for at, name in enumerate(_SLOWEST_FIRST)}
    return sorted(models, key=lambda name: place.get(name, len(place)))


def arguments_of(name: str) -> dict[str, Any]:
    """A model's settings that differ from its library's defaults, and how its rows are prepared."""
    model = _BANK[name]
    return {**model.arguments, "numbers": model.numbers, "calibrated": model.calibrated}


def make_model(
    name: str,
    numeric: Sequence[str],
    categorical: Sequence[str],
    *,
    rows: int,
    least: int,
    seed: int,
) -> Pipeline:
    """An untrained model.

    Parameters
    ----------
    name
        One of ``CLASSIFIER_MODELS``.
    numeric, categorical
        Columns of the frames that it will see.
    rows, least
        The least number of rows that it will be trained on, and of those with the rarest label.
    seed
        Seed of all its randomness.

    Returns
    -------
    Pipeline
        With ``fit``, ``predict_proba`` and, once trained, ``classes_``.
    """
    from sklearn.compose import ColumnTransformer  # type: ignore[import-untyped]  # has no types
    from sklearn.pipeline import Pipeline

    model = _BANK[name]
    columns = [
        (NUMBERS, _numbers(model.numbers), list(numeric)),
        (CATEGORIES, _categories(), list(categorical)),
    ]
    estimator = _estimator(model, rows, seed)
    if model.calibrated:
        estimator = _calibrated(estimator, least, seed)
    transformer = ColumnTransformer([c for c in columns if c[2]], sparse_threshold=0)
    return Pipeline([("columns", transformer), ("model", estimator)])


def _estimator(model: _Model, rows: int, seed: int) -> Any:
    module, _, class_name = model.path.rpartition(".")
    estimator = getattr(importlib.import_module(module), class_name)(**model.arguments)
    known = estimator.get_params()
    if "random_state" in known:
        estimator.set_params(random_state=seed)
    if class_name == "AdaBoostClassifier":
        estimator.set_params(estimator=_boosted_tree(seed))
    if "max_samples" in known and rows > ROWS_PER_TREE:
        estimator.set_params(bootstrap=True, max_samples=ROWS_PER_TREE)
    if "n_neighbors" in known:
        estimator.set_params(n_neighbors=max(1, min(NEIGHBOURS, rows // 2)))
    return estimator


def _boosted_tree(seed: int) -> Any:
    """A tree of AdaBoost: the default stumps hardly separate more than two classes.

    Each split considers some of the columns, as in a forest. With all of them, AdaBoost took more
    time than the rest of the bank together, and was hardly better.
    """
    from sklearn.tree import DecisionTreeClassifier  # type: ignore[import-untyped]  # has no types

    return DecisionTreeClassifier(max_depth=3, max_features="sqrt", random_state=seed)


def _calibrated(estimator: Any, least: int, seed: int) -> Any:
    from sklearn.calibration import (  # type: ignore[import-untyped]  # has no types
        CalibratedClassifierCV,
    )
    from sklearn.model_selection import (  # type: ignore[import-untyped]  # has no types
        StratifiedKFold,
    )

    folds = StratifiedKFold(min(CALIBRATION_FOLDS, least), shuffle=True, random_state=seed)
    return CalibratedClassifierCV(estimator, cv=folds, ensemble=False)


def _numbers(how: Numbers) -> Any:
    from sklearn.impute import SimpleImputer  # type: ignore[import-untyped]  # has no types
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]  # has no types

    if how == "as they are":
        return "passthrough"
    # A fold may have no value in a column that has values elsewhere: keep the column.
    imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    return imputer if how == "imputed" else make_pipeline(imputer, StandardScaler())


def _categories() -> Any:
    from sklearn.preprocessing import OneHotEncoder

    return OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=MAX_CATEGORIES, sparse_output=False
    )
