"""Previews of classifiers, labelled occupancy, people counts and forecasters: what they use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from streamlit_app.services.app import App
from streamlit_app.services.definitions.edit import Edit
from streamlit_app.services.definitions.preview import (
    NeverComputed,
    current_versions,
    planned,
    version_of,
)
from tippers_dagster.campus.identities import pseudonymise
from tippers_dagster.campus.spaces.tracking import wanted_grid
from tippers_dagster.campus.spaces.tree import SpaceTree
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import (
    Classifier,
    Forecaster,
    Kind,
    LabelledOccupancy,
    PeopleCount,
)
from tippers_dagster.catalog.model import Ref
from tippers_dagster.forecasting.models import MODELS
from tippers_dagster.forecasting.names import ALWAYS
from tippers_dagster.forecasting.series import chosen_spaces, history_days
from tippers_dagster.learning.keys import SCHEMA, labels_path
from tippers_dagster.learning.training_set import Step, make_training_set
from tippers_dagster.platform.warehouse.engine import read_arrow, warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.compose import quoted
from tippers_dagster.sql.names import ref_place

DAY_SECONDS = 86_400


# --- classifiers ---------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class TrainingEntities:
    """The entities that a classifier would learn from.

    Attributes
    ----------
    entities, labelled
        Entities of the index, and those with a label.
    steps
        The thresholds tried; the last is used.
    training, held_out
        Entities per label for training and for scoring.
    """

    labels: tuple[str, ...]
    entities: int
    labelled: int
    steps: tuple[Step, ...]
    training: dict[str, int]
    held_out: dict[str, int]

    @property
    def threshold(self) -> float:
        """The threshold used."""
        return self.steps[-1].threshold

    @property
    def lowered(self) -> bool:
        """Whether it is lower than the one set in the definition."""
        return len(self.steps) > 1


def preview_classifier(app: App, catalog: Catalog, edit: Edit) -> TrainingEntities:
    """How many entities of each label a classifier would learn from.

    The labels are read in one query, cached by version.

    Raises
    ------
    TippersError
        Why there is no preview; also if its index or label model has never been computed, or if
        there are too few labels.
    """
    made, after = planned(catalog, edit)
    body = made.body
    assert isinstance(body, Classifier)
    index = after.resolve(body.index, made.ref.concept).ref
    model = after.resolve(body.label_model, made.ref.concept).ref
    versions = current_versions(app.settings)
    used = (version_of(versions, index), version_of(versions, model))
    labels = after.model_labels(model)
    keys, numbers, probabilities = _labelled_entities(
        app.settings, index, model, after.key_column(index), labels, used
    )
    made_set = make_training_set(
        keys,
        numbers,
        probabilities,
        labels,
        method=body.threshold_method,
        threshold=body.threshold,
        minimum_per_class=body.minimum_per_class,
        imbalance_cap=body.imbalance_cap,
        test_share=body.test_share,
        seed=body.seed,
    )
    return TrainingEntities(
        labels=labels,
        entities=len(numbers),
        labelled=int((numbers >= 0).sum()),
        steps=made_set.steps,
        training=made_set.counts(made_set.trained),
        held_out=made_set.counts(made_set.judged),
    )


@lru_cache(maxsize=8)
def _labelled_entities(
    settings: Settings,
    index: Ref,
    model: Ref,
    key: str,
    labels: tuple[str, ...],
    versions: tuple[str, str],
) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """Keys as in the lake, class numbers (-1 without a label) and probabilities, per entity.

    ``versions`` only separates old results in the cache from new ones.
    """
    entities, answers = ref_place(index), ref_place(model)
    probabilities = ", ".join(f"answer.{quoted(f'p_{label.lower()}')}" for label in labels)
    found = read_arrow(
        settings,
        f"SELECT entity.{quoted(key)}, answer.label, {probabilities} "
        f"FROM {quoted(entities.schema)}.{quoted(entities.table)} AS entity "
        f"LEFT JOIN {quoted(answers.schema)}.{quoted(answers.table)} AS answer "
        f"USING ({quoted(key)})",
    )
    keys = pseudonymise(settings, pa.table({key: found[key]})).column(0)
    numbers = np.full(found.num_rows, -1, np.int8)
    names = np.array(found["label"].to_pylist(), dtype=object)
    for number, name in enumerate(labels):
        numbers[names == name] = number
    columns = [found[f"p_{name.lower()}"].to_numpy().astype(float) for name in labels]
    return keys.combine_chunks(), numbers, np.stack(columns, axis=1)


# --- labelled occupancy and people counts --------------------------------------------------------
@dataclass(frozen=True)
class DeviceLabels:
    """Devices per label of a label model or classifier, the most common label first."""

    source: Ref
    devices: dict[str, int]
    unlabelled: int


def preview_device_labels(app: App, catalog: Catalog, edit: Edit) -> DeviceLabels | None:
    """The devices per label by which occupancy is split or people are counted; None without one.

    Raises
    ------
    TippersError
        Why there is no preview; also if the labels have never been computed.
    """
    made, after = planned(catalog, edit)
    assert isinstance(made.body, LabelledOccupancy | PeopleCount)
    if made.body.by is None:
        return None
    source = after.resolve(made.body.by, "").ref
    if "/".join(labels_path(source)) not in current_versions(app.settings):
        raise NeverComputed(source)
    table = _labels_table(source)
    query = sa.select(table.c.label, sa.func.count()).group_by(table.c.label)
    with warehouse_engine(app.settings).connect() as connection:
        counts: dict[str | None, int] = dict(connection.execute(query).all())
    labelled = [(label, count) for label, count in counts.items() if label is not None]
    most_common_first = dict(sorted(labelled, key=lambda item: -item[1]))
    return DeviceLabels(source, most_common_first, unlabelled=counts.get(None, 0))


def _labels_table(source: Ref) -> sa.TableClause:
    if source.kind == Kind.LABEL_MODEL:
        place = ref_place(source)
        return sa.table(place.table, sa.column("label"), schema=place.schema)
    return sa.table(source.model_name, sa.column("label"), schema=SCHEMA)


# --- forecasters ---------------------------------------------------------------------------------
def forecast_models() -> list[str]:
    """The models that a forecaster can choose. The baselines are always included."""
    return [name for name in MODELS if name not in ALWAYS]


@dataclass(frozen=True)
class ForecastScope:
    """What a forecaster covers.

    Attributes
    ----------
    spaces
        Ids of the spaces to forecast.
    days, wanted_days
        Days of history that exist, and the most that the definition uses.
    bins, horizon_bins
        Bins of history per space, and bins to forecast.
    """

    spaces: tuple[str, ...]
    days: int
    wanted_days: int
    bins: int
    horizon_bins: int


def preview_forecaster(app: App, catalog: Catalog, edit: Edit, tree: SpaceTree) -> ForecastScope:
    """The spaces that a forecaster covers, and the length of their history.

    Raises
    ------
    TippersError
        Why there is no preview, such as a space that is not tracked, or no history.
    """
    made, _ = planned(catalog, edit)
    body = made.body
    assert isinstance(body, Forecaster)
    spaces = chosen_spaces(tree, wanted_grid(app.settings, tree).tracked, body)
    first, end = history_days(app.settings, body)
    days, bins_per_day = (end - first).days, DAY_SECONDS // body.interval_seconds
    return ForecastScope(
        spaces=tuple(spaces),
        days=days,
        wanted_days=body.history_days,
        bins=days * bins_per_day,
        horizon_bins=body.horizon_days * bins_per_day,
    )
