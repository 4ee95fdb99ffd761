"""What classifiers, counts of people and forecasters would be made of, before they are saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa

from streamlit_app.services import definition_forms as forms
from streamlit_app.services import definition_preview as previews
from streamlit_app.services.app import App
from streamlit_app.services.definition_forms import Work
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import (
    Classifier,
    Forecaster,
    Kind,
    LabelledOccupancy,
    PeopleCount,
)
from tippers_dagster.catalog.model import Ref
from tippers_dagster.platform.warehouse.engine import read_arrow, warehouse_engine
from tippers_dagster.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from tippers_dagster.campus.spaces.tree import SpaceTree
    from tippers_dagster.learning.training_set import Step, TrainingSet

DAY = 86_400


# --- classifiers ---------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Confident:
    """The entities that a classifier would learn from.

    Attributes
    ----------
    entities, labelled
        Of the index, and those of them that have a label.
    steps
        The thresholds that are tried; the last is the one in use.
    trained, judged
        Entities per label that are trained on and held out.
    """

    labels: tuple[str, ...]
    entities: int
    labelled: int
    steps: tuple[Step, ...]
    trained: dict[str, int]
    judged: dict[str, int]

    @property
    def threshold(self) -> float:
        """The threshold in use."""
        return self.steps[-1].threshold

    @property
    def lowered(self) -> bool:
        """Whether it is below the one that was asked for."""
        return len(self.steps) > 1


@dataclass(frozen=True)
class _Ask:
    settings: Settings
    index: Ref
    model: Ref
    key: str
    labels: tuple[str, ...]
    versions: tuple[str, str]


def confident(app: App, catalog: Catalog, work: Work) -> Confident:
    """How many entities of each label a classifier would learn from.

    The labels are read with one query, which later calls remember.

    Raises
    ------
    TippersError
        What stands against it; also when its index or label model was never computed, and when
        the labels are too few.
    """
    body, ask = _ask(app, catalog, work)
    keys, label, probabilities = _labels(ask)
    made = _training_set(body, ask.labels, keys, label, probabilities)
    return Confident(
        labels=ask.labels,
        entities=len(label),
        labelled=int((label >= 0).sum()),
        steps=made.steps,
        trained=made.counts(made.trained),
        judged=made.counts(made.judged),
    )


def _ask(app: App, catalog: Catalog, work: Work) -> tuple[Classifier, _Ask]:
    made = forms.draft(previews.with_a_name(work))
    after = previews.catalog_after(catalog, made)
    assert isinstance(made.body, Classifier)
    index = after.resolve(made.body.index, made.ref.concept).ref
    model = after.resolve(made.body.label_model, made.ref.concept).ref
    versions = previews.versions_now(app.settings)
    for ref, what in ((index, "index"), (model, "label model")):
        if ref.asset_name not in versions:
            raise previews.NotThere(ref, what)
    told = (versions[index.asset_name], versions[model.asset_name])
    key, labels = after.key_column(index), after.model_labels(model)
    return made.body, _Ask(app.settings, index, model, key, labels, told)


@lru_cache(maxsize=8)
def _labels(ask: _Ask) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """Keys as the lake has them, class numbers, and probabilities; one row per entity."""
    import pyarrow as pa

    from tippers_dagster.campus.identities import pseudonymise
    from tippers_dagster.sql.compose import quoted
    from tippers_dagster.sql.names import ref_place

    index, model = ref_place(ask.index), ref_place(ask.model)
    wanted = ", ".join(f"answer.{quoted(f'p_{label.lower()}')}" for label in ask.labels)
    key = quoted(ask.key)
    found = read_arrow(
        ask.settings,
        f"SELECT entity.{key}, answer.label, {wanted} "
        f"FROM {quoted(index.schema)}.{quoted(index.table)} AS entity "
        f"LEFT JOIN {quoted(model.schema)}.{quoted(model.table)} AS answer USING ({key})",
    )
    keys = pseudonymise(ask.settings, pa.table({ask.key: found[ask.key]})).column(0)
    label = np.full(found.num_rows, -1, np.int8)
    names = np.array(found["label"].to_pylist(), dtype=object)
    for number, name in enumerate(ask.labels):
        label[names == name] = number
    columns = [found[f"p_{name.lower()}"].to_numpy().astype(float) for name in ask.labels]
    return keys.combine_chunks(), label, np.stack(columns, axis=1)


def _training_set(
    body: Classifier,
    labels: Sequence[str],
    keys: pa.Array,
    label: np.ndarray,
    probabilities: np.ndarray,
) -> TrainingSet:
    from tippers_dagster.learning.training_set import make_training_set

    return make_training_set(
        keys,
        label,
        probabilities,
        labels,
        method=body.threshold_method,
        threshold=body.threshold,
        minimum_per_class=body.minimum_per_class,
        imbalance_cap=body.imbalance_cap,
        test_share=body.test_share,
        seed=body.seed,
    )


# --- labelled occupancy and people ---------------------------------------------------------------
@dataclass(frozen=True)
class Split:
    """The devices that a label model or classifier gave each label, the most first."""

    by: Ref
    devices: dict[str, int]
    unlabelled: int


def split(app: App, catalog: Catalog, work: Work) -> Split | None:
    """How the devices fall to the labels that occupancy is split or counted by; None: by nothing.

    Raises
    ------
    TippersError
        What stands against it; also when what gives the labels was never computed.
    """
    made = forms.draft(previews.with_a_name(work))
    after = previews.catalog_after(catalog, made)
    assert isinstance(made.body, LabelledOccupancy | PeopleCount)
    if made.body.by is None:
        return None
    giver = after.resolve(made.body.by, "").ref
    if _asset_with_labels(giver) not in previews.versions_now(app.settings):
        raise previews.NotThere(giver, giver.kind.value.replace("_", " "))
    table = _labels_table(giver)
    query = sa.select(table.c.label, sa.func.count()).group_by(table.c.label)
    with warehouse_engine(app.settings).connect() as connection:
        counts: dict[str | None, int] = dict(connection.execute(query).all())
    labelled = [(label, count) for label, count in counts.items() if label is not None]
    most_first = dict(sorted(labelled, key=lambda item: -item[1]))
    return Split(giver, most_first, unlabelled=counts.get(None, 0))


def _asset_with_labels(giver: Ref) -> str:
    """The asset that has a label for each device."""
    from tippers_dagster.learning.keys import predictions_path

    if giver.kind == Kind.LABEL_MODEL:
        return giver.asset_name
    return "/".join(predictions_path(giver))


def _labels_table(giver: Ref) -> sa.TableClause:
    from tippers_dagster.learning.keys import SCHEMA
    from tippers_dagster.sql.names import ref_place

    if giver.kind == Kind.LABEL_MODEL:
        place = ref_place(giver)
        return sa.table(place.table, sa.column("label"), schema=place.schema)
    return sa.table(giver.model_name, sa.column("label"), schema=SCHEMA)


# --- forecasters ---------------------------------------------------------------------------------
def forecast_models() -> list[str]:
    """The models that a forecaster may choose; the plain ones are always among those compared."""
    from tippers_dagster.forecasting.models import MODELS
    from tippers_dagster.forecasting.names import ALWAYS

    return [name for name in MODELS if name not in ALWAYS]


@dataclass(frozen=True)
class Scope:
    """How much a forecaster has to do.

    Attributes
    ----------
    spaces
        Ids of what is forecast.
    days, wanted_days
        Of history: that there are, and that the definition asks for at most.
    bins, horizon_bins
        Of one space's history, and of the days ahead.
    """

    spaces: tuple[str, ...]
    days: int
    wanted_days: int
    bins: int
    horizon_bins: int


def scope(app: App, catalog: Catalog, work: Work, tree: SpaceTree) -> Scope:
    """The spaces that a forecaster covers, and how long their history is.

    Raises
    ------
    TippersError
        What stands against it, such as a space that is not tracked, or no history.
    """
    from tippers_dagster.campus.spaces.tracking import wanted_grid
    from tippers_dagster.forecasting.series import chosen_spaces, history_days

    made = forms.draft(previews.with_a_name(work))
    previews.catalog_after(catalog, made)
    body = made.body
    assert isinstance(body, Forecaster)
    spaces = chosen_spaces(tree, wanted_grid(app.settings, tree).tracked, body)
    first, end = history_days(app.settings, body)
    days, a_day = (end - first).days, DAY // body.interval_seconds
    return Scope(tuple(spaces), days, body.history_days, days * a_day, body.horizon_days * a_day)
