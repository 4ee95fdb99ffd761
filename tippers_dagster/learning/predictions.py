"""Predictions of a classifier's champion: a label for every entity of its index.

In the warehouse with the entities' keys, in the lake without MAC addresses. The table has the shape
of a label model's: the key column first, ``label``, ``confidence``, and ``p_<label>`` columns in
the order of the labels, so that :func:`tippers_dagster.labelling.labels.labels_of` reads both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

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
    """A classifier without predictions, or an entity that it has none for."""


@dataclass(frozen=True, eq=False)
class Entities:
    """The entities of a classifier's index, with their features.

    Attributes
    ----------
    key, key_type
        The key column, and its type in SQL.
    keys
        As the warehouse has them, [n].
    features
        In the same order.
    """

    key: str
    key_type: str
    keys: pa.Array
    features: FeatureRows

    def __len__(self) -> int:
        return len(self.keys)

    def of(self, wanted: Sequence[str]) -> Entities:
        """Those of some keys, in their order.

        Raises
        ------
        NotPredicted
            When one is no entity of the index.
        """
        texts = self.keys.cast(pa.string())
        places = pc.index_in(pa.array(wanted, pa.string()), value_set=texts)
        if places.null_count:
            unknown = wanted[places.is_null().index(True).as_py()]
            raise NotPredicted(
                f"{unknown} is no entity of the index.", "Keys are compared letter by letter."
            )
        rows = places.to_numpy()
        return Entities(self.key, self.key_type, self.keys.take(places), self.features.take(rows))


# --- predicting -----------------------------------------------------------------------------------
def read_fresh(settings: Settings, catalog: Catalog, ref: Ref) -> Entities:
    """The entities of a classifier's index and their features, as they are now.

    Raises
    ------
    NoLabels
        When the index is empty.
    TippersError
        When the index or a feature was never materialised, or cannot be used; or when the index
        changes just now.
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
            f"{places.null_count:,} entities of {index} are in the warehouse and not in the lake.",
            f"The index is just being computed; else `tippers pipeline materialize {index}`.",
        )
    return Entities(key, key_type, keys, found.take(places.to_numpy()))


def predict(
    model: LoadedModel, entities: Entities, labels: Sequence[str], version: str, run_id: str
) -> pa.Table:
    """The rows of the table of predictions, one per entity.

    Parameters
    ----------
    labels
        Those of the concept, in their order.
    version, run_id
        Of the asset and the run that ask.

    Raises
    ------
    BadInput
        When the model does not fit the features, or the key has the name of a column of ours.
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
            f"The key column {entities.key} has the name of a column of the predictions.",
            "Give the key another name in the index's query.",
        )
    return pa.table({entities.key: entities.keys, **columns})


def predicted_columns(model: LoadedModel, columns: pa.Table, labels: Sequence[str]) -> pa.Table:
    """``label``, ``confidence`` (its probability) and ``p_<label>`` of rows of features.

    Parameters
    ----------
    columns
        As ``FeatureRows`` has them.
    labels
        In whose order the probabilities stand; labels that the model does not give have none.
    """
    chances = model.probabilities(model_frame(columns))
    known = [name for name in labels if name in model.classes]
    order = [*known, *(name for name in model.classes if name not in known)]
    chances = chances[:, [model.classes.index(name) for name in order]]
    best = chances.argmax(axis=1) if len(chances) else np.empty(0, np.int64)
    return pa.table(
        {
            "label": pa.array(order, pa.string()).take(pa.array(best)),
            "confidence": pa.array(chances.max(axis=1) if len(chances) else np.empty(0)),
            **{f"p_{name.lower()}": pa.array(chances[:, i]) for i, name in enumerate(order)},
        }
    )


# --- writing --------------------------------------------------------------------------------------
def write_predictions(settings: Settings, ref: Ref, key_type: str, rows: pa.Table) -> None:
    """Replace a classifier's predictions, in the lake and, in one transaction, in the warehouse.

    Parameters
    ----------
    rows
        As :func:`predict` gives them, the key first.

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
    comment = f"one row per entity: what the champion of {ref} predicts"
    target = Target(SCHEMA, ref.model_name, key, {key: key_type, **types}, comment)
    replace_rows(settings, target, rows)


def _type(column: str) -> str:
    if column == "model_version":
        return "integer"
    numeric = column == "confidence" or column.startswith("p_")
    return "double precision" if numeric else "text"


# --- reading --------------------------------------------------------------------------------------
def predicted_labels(settings: Settings, concept: str, name: str) -> pa.Table:
    """All rows of a classifier's predictions, as they are in the warehouse.

    The shape is that of :func:`~tippers_dagster.labelling.labels.read_labels`, with every label
    given: key first, ``label``, ``confidence``, ``p_<label>`` ..., ``model_version``, ``version``,
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

    As :func:`~tippers_dagster.labelling.labels.label_columns` of a label model, in the schema
    ``predictions``: what reads the one can read the other.

    Raises
    ------
    NotPredicted
        When there are none yet.
    """
    if not has_predictions(settings, concept, name):
        raise NotPredicted(
            f"{concept}.{name} has no predictions yet.",
            "It is a classifier without a champion, or whose predictions were not materialised, or "
            "no classifier at all: `tippers models list` shows which there are.",
        )
    with warehouse_engine(settings).connect() as connection:
        columns = sa.inspect(connection).get_columns(f"{concept}__{name}", SCHEMA)
    return [column["name"] for column in columns]


def has_predictions(settings: Settings, concept: str, name: str) -> bool:
    """Whether there is a table of a classifier's predictions."""
    with warehouse_engine(settings).connect() as connection:
        return sa.inspect(connection).has_table(f"{concept}__{name}", SCHEMA)
