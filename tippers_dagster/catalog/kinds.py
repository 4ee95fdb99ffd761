"""The kinds of definitions, and the body of each.

A body holds what an analyst decides; name, description, owner and history are the same for all
kinds and are in ``Definition``. Bodies are stored as JSON and written as YAML.
"""

from __future__ import annotations

import datetime as dt
import re
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from tippers_dagster.catalog.refresh import parse_refresh
from tippers_dagster.catalog.window import parse_window
from tippers_dagster.errors import BadInput

MAX_NAME_LENGTH = 48
"""Two names and their separator form one PostgreSQL identifier, of 63 bytes at most."""

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LABEL = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


class Kind(StrEnum):
    """What a definition defines."""

    CONCEPT = "concept"
    CONNECTION = "connection"
    LOG_SOURCE = "log_source"
    INDEX = "index"
    DERIVED_INDEX = "derived_index"
    RULE = "rule"
    FEATURE = "feature"
    LABELLING_FUNCTION = "labelling_function"
    LABEL_MODEL = "label_model"
    CLASSIFIER = "classifier"
    FORECASTER = "forecaster"
    LABELLED_OCCUPANCY = "labelled_occupancy"
    PEOPLE_COUNT = "people_count"
    DATASET = "dataset"

    @property
    def in_concept(self) -> bool:
        """Whether a definition of this kind belongs to a concept."""
        return self not in _IN_NONE

    @property
    def in_words(self) -> str:
        """The kind in words."""
        return self.value.replace("_", " ")

    @property
    def with_article(self) -> str:
        """The kind in words, with an article."""
        return f"{'an' if self == Kind.INDEX else 'a'} {self.in_words}"

    @property
    def has_sql(self) -> bool:
        """Whether a definition of this kind becomes a dbt model."""
        return self in (Kind.INDEX, Kind.DERIVED_INDEX, Kind.RULE, Kind.FEATURE)


_IN_NONE = (
    Kind.CONCEPT,
    Kind.CONNECTION,
    Kind.LOG_SOURCE,
    Kind.FORECASTER,
    Kind.LABELLED_OCCUPANCY,
    Kind.PEOPLE_COUNT,
    Kind.DATASET,
)


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME_LENGTH:
        raise ValueError(
            f"{name!r:.60} is not a name: use lower-case words joined by underscores, "
            f"up to {MAX_NAME_LENGTH} characters"
        )
    return name


def _check_reference(text: str) -> str:
    for part in text.split(".", 1):
        _check_name(part)
    return text


def _check_label(label: str) -> str:
    if not _LABEL.fullmatch(label) or len(label) > MAX_NAME_LENGTH or label == "ABSTAIN":
        raise ValueError(
            f"{label!r:.60} is not a label: use upper-case words joined by underscores, not ABSTAIN"
        )
    return label


def _check_refresh(text: str) -> str:
    try:
        return str(parse_refresh(text))
    except BadInput as error:
        raise ValueError(error.message.removesuffix(".")) from None


def _check_window(text: str) -> str:
    try:
        return str(parse_window(text))
    except BadInput as error:
        raise ValueError(error.message.removesuffix(".")) from None


Name = Annotated[str, AfterValidator(_check_name)]
Reference = Annotated[str, AfterValidator(_check_reference)]
"""``name`` in the same concept, or ``concept.name``."""
Label = Annotated[str, AfterValidator(_check_label)]
Share = Annotated[float, Field(ge=0, le=1)]
RefreshPolicy = Annotated[str, AfterValidator(_check_refresh)]
"""A policy as :mod:`~tippers_dagster.catalog.refresh` writes it, such as ``every 2 hours``."""
WindowText = Annotated[str, AfterValidator(_check_window)]
"""A window as :mod:`~tippers_dagster.catalog.window` writes it, such as ``last 8 weeks``."""


class Body(BaseModel):
    """Common to all bodies: unknown fields are errors, and bodies are immutable."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", str_strip_whitespace=True, allow_inf_nan=False
    )


class ConceptValue(Body):
    """One label. ``parent``: the label of the same concept that it refines."""

    name: Label
    description: str = ""
    parent: Label | None = None


class Concept(Body):
    """What is labelled.

    ``refines``: a label of another concept, such as ``people.RESIDENT``. ``refresh``: when its
    assets are computed after their data changed; None: as the deployment's default says.
    ``window``: the part of the log that its SQL reads; None: everything.
    """

    values: tuple[ConceptValue, ...] = ()
    refines: str | None = None
    refresh: RefreshPolicy | None = None
    window: WindowText | None = None


class Index(Body):
    """The entities to label: one row each, identified by the key column.

    ``window``: the part of the log that it reads; None: that of its concept.
    """

    sql: str
    key: Name = "mac_address"
    window: WindowText | None = None


class DerivedIndex(Body):
    """The entities of a parent index to which a label model gave certain labels.

    No labels: all entities. ``minimum_confidence``: of the softmax probability; None: the hard
    label decides. ``include_unlabelled`` adds entities for which the model abstained or tied.
    """

    parent: Reference
    label_model: Reference
    labels: tuple[Label, ...] = ()
    minimum_confidence: Share | None = None
    include_unlabelled: bool = False


class Rule(Body):
    """Metrics for the entities of one index, at most one row each.

    ``window``: the part of the log that it reads; None: that of its index, else of its concept.
    """

    index: Reference
    sql: str
    window: WindowText | None = None


class Feature(Body):
    """Model inputs for the entities of one index, at most one row each.

    ``window``: the part of the log that it reads; None: that of its index, else of its concept.
    """

    index: Reference
    sql: str
    window: WindowText | None = None


class Condition(Body):
    """One branch of a labelling function: an expression over the rule's columns, and its vote."""

    when: str
    label: Label


class LabellingFunction(Body):
    """Votes for one of ``labels`` based on one row of a rule, or abstains.

    Set exactly one of ``conditions`` (the first true one votes), ``python`` (the text of
    ``labeling_function(row)``) and ``function`` (the name of a Snorkel labelling function in git).
    """

    rule: Reference
    labels: tuple[Label, ...] = Field(min_length=1)
    conditions: tuple[Condition, ...] = ()
    python: str | None = None
    function: str | None = None

    @model_validator(mode="after")
    def _one_form(self) -> LabellingFunction:
        if sum((bool(self.conditions), self.python is not None, self.function is not None)) != 1:
            raise ValueError("give one of: conditions, python, function")
        return self


class LabelModel(Body):
    """Snorkel's LabelModel over the votes of labelling functions, for all entities of an index.

    ``labels``: in the order of Snorkel's class numbers; empty: all that its functions may vote for,
    in the concept's order. ``class_balance``: a share per label, or from the gold labels.
    """

    index: Reference
    labelling_functions: tuple[Reference, ...]
    labels: tuple[Label, ...] = ()
    epochs: int = Field(500, ge=1, le=100_000)
    learning_rate: float = Field(0.01, gt=0)
    l2: float = Field(0.0, ge=0)
    seed: int = 123
    class_balance: dict[Label, Share] | Literal["gold"] | None = None


CLASSIFIER_MODELS = (
    "logistic_regression",
    "ridge",
    "sgd",
    "linear_svm",
    "nearest_neighbours",
    "naive_bayes",
    "linear_discriminant",
    "decision_tree",
    "random_forest",
    "extra_trees",
    "gradient_boosting",
    "ada_boost",
    "lightgbm",
)
"""The models that a classifier chooses from; ``learning/bank.py`` creates them."""


class Classifier(Body):
    """Models trained on confident labels and features.

    ``threshold``: of the largest probability, or of one minus the normalised entropy; it is lowered
    step by step until every class has ``minimum_per_class`` entities. No class has more than
    ``imbalance_cap`` times the entities of the smallest. ``models``: empty: all in the bank.
    ``promotion_margin``: by how much a challenger must beat the champion's ``promotion_metric``.
    """

    index: Reference
    label_model: Reference
    features: tuple[Reference, ...] = Field(min_length=1)
    threshold_method: Literal["probability", "entropy"] = "probability"
    threshold: Share = 0.7
    minimum_per_class: int = Field(10, ge=1)
    imbalance_cap: float = Field(3.0, ge=1)
    test_share: float = Field(0.25, gt=0, lt=1)
    folds: int = Field(5, ge=2, le=20)
    seed: int = Field(123, ge=0, lt=2**32)
    models: tuple[Name, ...] = ()
    promotion_metric: Literal["accuracy", "balanced_accuracy", "macro_f1", "log_loss"] = "macro_f1"
    promotion_margin: float = Field(0.0, ge=0)


class LabelledOccupancy(Body):
    """Occupancy of every tracked space, split by device label.

    ``by``: a label model or a classifier of devices.
    """

    by: Reference


class PeopleCount(Body):
    """People instead of devices: devices with some labels, times a ratio learned from head counts.

    ``by`` and ``labels``: which devices are counted, such as ``device.device_type`` and ``PHONE``;
    empty: all. ``ratio``: people per device, learned from head counts if there are any: one for all
    hours and levels, or one that depends on the hour, the level of occupancy, or both.
    ``confidence``: of the interval.
    """

    by: Reference | None = None
    labels: tuple[Label, ...] = ()
    ratio: Literal["constant", "hour", "level", "hour_and_level"] = "hour_and_level"
    confidence: float = Field(0.9, gt=0, lt=1)


ForecastModel = Literal[
    "seasonal_naive",
    "past_weeks",
    "zero",
    "seasonal_smoothing",
    "mstl",
    "lightgbm",
    "prophet",
    "transformer",
]


class Forecaster(Body):
    """Forecasts of some spaces' occupancy, by the best of some models for each space.

    ``counts``: ``devices``; or ``people``: those who are known by their user names, and each device
    of all others.

    ``spaces``: ids; empty: the spaces without a parent, and their children. ``below``: include
    every tracked space below these. ``models``: empty: all; the seasonal naive forecast, past weeks
    and zero are always included. ``windows``: forecast origins of the backtest, ``horizon_days``
    apart; fewer if the history is too short.
    """

    spaces: tuple[str, ...] = ()
    below: bool = False
    counts: Literal["devices", "people"] = "devices"
    interval_seconds: Literal[900, 1800, 3600, 7200, 14400, 28800, 86400] = 1800
    horizon_days: int = Field(7, ge=1, le=92)
    history_days: int = Field(365, ge=21, le=3660)
    windows: int = Field(3, ge=1, le=26)
    models: tuple[ForecastModel, ...] = ()
    seed: int = Field(123, ge=0, lt=2**31)


class ConnectionTable(Body):
    """A table to sync. ``cursor``: a growing column, for incremental syncing; None: full refresh.

    ``lag_seconds``: how far before the last cursor rows are read again, for a cursor that is a
    time: rows may be committed later than their time says.
    """

    name: str
    schema_name: str | None = None
    cursor: str | None = None
    primary_key: tuple[str, ...] = ()
    lag_seconds: int = Field(300, ge=0)


class LogSource(Body):
    """A WiFi log: where its rows are, and what their columns mean.

    ``connection``, ``schema_name`` and ``table``: a table or view of another database; None: files
    that are handed in. ``preset``: the name of a known kind of log; or ``mapping``, by fields
    (docs/log_sources.md).
    """

    connection: Name | None = None
    schema_name: str | None = None
    table: str | None = None
    preset: str | None = None
    mapping: dict[str, Any] = {}

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if (self.connection is None) != (self.table is None):
            raise ValueError(
                "a table and its connection are named together; without, rows are in files"
            )
        if self.schema_name is not None and self.table is None:
            raise ValueError("schema_name is of a table, and none is named")
        if bool(self.mapping) == (self.preset is not None):
            raise ValueError("what do its columns mean? Give either a preset or a mapping")
        return self


class Connection(Body):
    """Another database. ``password``: encrypted with the secrets' key, never in plain text."""

    dialect: Literal["postgresql", "mysql", "sqlite", "mssql"]
    host: str | None = None
    port: int | None = Field(None, ge=1, le=65535)
    database: str
    user: str | None = None
    password: str | None = None
    options: dict[str, str] = {}
    tables: tuple[ConnectionTable, ...] = ()
    sync_seconds: int = Field(3600, ge=1)


class Dataset(Body):
    """Occupancy of a space and all spaces below it, for the local dates [start, end)."""

    space: str
    start: dt.date
    end: dt.date
    interval_seconds: int


BODIES: dict[Kind, type[Body]] = {
    Kind.CONCEPT: Concept,
    Kind.CONNECTION: Connection,
    Kind.LOG_SOURCE: LogSource,
    Kind.INDEX: Index,
    Kind.DERIVED_INDEX: DerivedIndex,
    Kind.RULE: Rule,
    Kind.FEATURE: Feature,
    Kind.LABELLING_FUNCTION: LabellingFunction,
    Kind.LABEL_MODEL: LabelModel,
    Kind.CLASSIFIER: Classifier,
    Kind.FORECASTER: Forecaster,
    Kind.LABELLED_OCCUPANCY: LabelledOccupancy,
    Kind.PEOPLE_COUNT: PeopleCount,
    Kind.DATASET: Dataset,
}
