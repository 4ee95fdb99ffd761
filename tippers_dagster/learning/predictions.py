"""Predictions of a classifier's champion: a label for every entity of its index.

In the warehouse with the entities' keys, in the lake without MAC addresses. The table has the shape
of a label model's table: the key column first, ``label``, ``confidence``, and ``p_<label>`` columns
in the order of the labels, so :func:`tippers_dagster.labelling.labels.labels_of` reads both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from tippers_dagster.campus.devices import same_form
from tippers_dagster.campus.identities import pseudonymise
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Classifier
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import BadInput, TippersError
from tippers_dagster.labelling.work import read_entities
from tippers_dagster.learning.features import FeatureRows, model_frame, read_features
from tippers_dagster.learning.keys import SCHEMA
from tippers_dagster.learning.models import LoadedModel
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key
from tippers_dagster.platform.warehouse.engine import read_arrow, warehouse_engine
from tippers_dagster.settings import Settings
from tippers_dagster.sql.replacing import Target, check_keys, replace_rows


class NotPredicted(TippersError):
    """A classifier has no predictions, or none for an entity."""


@dataclass(frozen=True, eq=False)
class Entities:
    """The entities of a classifier's index, with their features.

    Attributes
    ----------
    key, key_type
        The key column and its SQL type.
    keys
        The keys in the warehouse, [n].
    features
        The features, in the same order.
    """

    key: str
    key_type: str
    keys: pa.Array
    features: FeatureRows

    def __len__(self) -> int:
        return len(self.keys)

    def of(self, wanted: Sequence[str]) -> Entities:
        """The entities with some keys, in the order of the keys; addresses in any spelling.

        Raises
        ------
        NotPredicted
            When a key is not in the index.
        """
        named = same_form(pa.array(wanted, pa.string()))
        places = pc.index_in(named, value_set=same_form(self.keys))
        if places.null_count:
            unknown = wanted[places.is_null().index(True).as_py()]
            raise NotPredicted(
                f"{unknown} is not an entity of the index.", "Keys are case-sensitive."
            )
        rows = places.to_numpy()
        return Entities(self.key, self.key_type, self.keys.take(places), self.features.take(rows))


# --- predicting -----------------------------------------------------------------------------------
def read_entities_with_features(settings: Settings, catalog: Catalog, ref: Ref) -> Entities:
    """The current entities of a classifier's index, with their features.

    Raises
    ------
    NoLabels
        When the index is empty.
    TippersError
        When the index or a feature was never materialised or is unusable, or the index is being
        computed.
    """
    body = catalog.definitions[ref].body
    assert isinstance(body, Classifier)
    index = catalog.resolve(body.index, ref.concept).ref
    features = [catalog.resolve(name, ref.concept).ref for name in body.features]
    keys, key_type = read_entities(settings, catalog, ref)
    found = read_features(settings, catalog, index, features)
    key = catalog.key_column(index)
    ours = pseudonymise(settings, pa.table({key: keys})).column(0).combine_chunks()
    places = pc.index_in(ours.cast(found.keys.type), value_set=found.keys)
    if places.null_count:
        raise TippersError(
            f"Entities of {index} are in the warehouse but not in the lake: {places.null_count:,}.",
            f"The index is being computed, or needs `tippers pipeline materialize {index}`.",
        )
    return Entities(key, key_type, keys, found.take(places.to_numpy()))


def predict(
    model: LoadedModel, entities: Entities, labels: Sequence[str], version: str, run_id: str
) -> pa.Table:
    """The rows of the table of predictions, one per entity.

    Parameters
    ----------
    labels
        The concept's labels, in order.
    version, run_id
        The version of the asset, and the run.

    Raises
    ------
    BadInput
        When the model does not fit the features, or the key has the name of another column.
    """
    given = predicted_columns(model, entities.features.columns, labels)
    n = len(entities)
    columns = {
        **dict(zip(given.column_names, given.columns, strict=True)),
        "model_version": pa.array(np.full(n, model.version, np.int32)),
        "version": pa.repeat(version, n),
        "run_id": pa.repeat(run_id, n),
    }
    if entities.key in columns:
        raise BadInput(
            f"The key column {entities.key} has the same name as a column of the predictions.",
            "Rename the key in the index's query.",
        )
    return pa.table({entities.key: entities.keys, **columns})


def predicted_columns(model: LoadedModel, columns: pa.Table, labels: Sequence[str]) -> pa.Table:
    """``label``, ``confidence`` (its probability) and ``p_<label>`` for rows of features.

    Parameters
    ----------
    columns
        As in ``FeatureRows``.
    labels
        The order of the probabilities; labels that the model does not know have no column.
    """
    probabilities = model.probabilities(model_frame(columns))
    known = [name for name in labels if name in model.classes]
    order = [*known, *(name for name in model.classes if name not in known)]
    probabilities = probabilities[:, [model.classes.index(name) for name in order]]
    best = probabilities.argmax(axis=1) if len(probabilities) else np.empty(0, np.int64)
    return pa.table(
        {
            "label": pa.array(order, pa.string()).take(pa.array(best)),
            "confidence": pa.array(
                probabilities.max(axis=1) if len(probabilities) else np.empty(0)
            ),
            **{f"p_{name.lower()}": pa.array(probabilities[:, i]) for i, name in enumerate(order)},
        }
    )


# --- writing --------------------------------------------------------------------------------------
def write_predictions(settings: Settings, ref: Ref, key_type: str, rows: pa.Table) -> None:
    """Replace a classifier's predictions, in the lake and, in one transaction, in the warehouse.

    Parameters
    ----------
    rows
        From :func:`predict`, with the key first.

    Raises
    ------
    BadInput
        When a key is missing or occurs twice.
    """
    key = rows.column_names[0]
    check_keys(rows[key], f"index of {ref}")
    place = definition_key(SCHEMA, ref.concept, ref.name)
    open_lake(settings).write_table(place, pseudonymise(settings, rows))
    types = {name: _type(name) for name in rows.column_names[1:]}
    comment = f"one row per entity: predictions of the champion of {ref}"
    target = Target(SCHEMA, ref.model_name, key, {key: key_type, **types}, comment)
    replace_rows(settings, target, rows)


def _type(column: str) -> str:
    if column == "model_version":
        return "integer"
    numeric = column == "confidence" or column.startswith("p_")
    return "double precision" if numeric else "text"


# --- reading --------------------------------------------------------------------------------------
def predicted_labels(settings: Settings, concept: str, name: str) -> pa.Table:
    """All rows of a classifier's predictions in the warehouse.

    Has the shape of :func:`~tippers_dagster.labelling.labels.read_labels`, with a label in every
    row: key first, ``label``, ``confidence``, ``p_<label>`` ..., ``model_version``, ``version``,
    ``run_id``.

    Raises
    ------
    NotPredicted
        When there are none yet.
    """
    prediction_columns(settings, concept, name)
    return read_arrow(settings, f'SELECT * FROM {SCHEMA}."{concept}__{name}"')


def prediction_columns(settings: Settings, concept: str, name: str) -> list[str]:
    """The columns of a classifier's predictions, the key first.

    Like :func:`~tippers_dagster.labelling.labels.label_columns`, in the schema ``predictions``:
    code that reads one can read the other.

    Raises
    ------
    NotPredicted
        When there are none yet.
    """
    if not has_predictions(settings, concept, name):
        raise NotPredicted(
            f"{concept}.{name} has no predictions yet.",
            "Either the classifier has no champion, or its predictions were not materialised, or "
            "it does not exist: `tippers models list` shows all classifiers.",
        )
    with warehouse_engine(settings).connect() as connection:
        columns = sa.inspect(connection).get_columns(f"{concept}__{name}", SCHEMA)
    return [column["name"] for column in columns]


def has_predictions(settings: Settings, concept: str, name: str) -> bool:
    """Whether a classifier's table of predictions exists."""
    with warehouse_engine(settings).connect() as connection:
        return sa.inspect(connection).has_table(f"{concept}__{name}", SCHEMA)
