"""Drift of predictions from training: finds and records it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.catalog.model import Ref
from tippers_dagster.learning.challenges import LABEL, read_profile
from tippers_dagster.learning.drift import Drift, compare
from tippers_dagster.learning.registry_tables import prediction_drift
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

What = Literal["feature", "label"]


@dataclass(frozen=True)
class DriftFound:
    """How the rows of a prediction differ from those at training time.

    ``known``: whether a training profile exists; if not, the rest is empty. ``label``: of the
    predicted labels.
    """

    known: bool
    features: tuple[Drift, ...] = ()
    label: tuple[Drift, ...] = ()

    @property
    def drifted(self) -> list[str]:
        """The features whose values have drifted."""
        return [d.name for d in self.features if d.moved]

    @property
    def missing(self) -> list[str]:
        """The features whose share of missing values has drifted."""
        return [d.name for d in self.features if d.missing_moved]


def find_drift(
    settings: Settings, ref: Ref, version: int, columns: pa.Table, predicted: pa.Table
) -> DriftFound:
    """Compare features and predicted labels with those when a version was trained.

    Parameters
    ----------
    version
        The model's version.
    columns, predicted
        The features, as in ``FeatureRows``; rows with the column ``label``.
    """
    before = read_profile(settings, ref, version)
    if before is None:
        return DriftFound(known=False)
    features = compare(before["features"], columns)
    label = compare(before[LABEL], predicted.select([LABEL]))
    return DriftFound(True, tuple(features), tuple(label))


def record_drift(
    settings: Settings, name: str, version: int, run_id: str, found: DriftFound
) -> None:
    """Record the drift of a prediction run, one row per column."""
    now = dt.datetime.now(dt.UTC)
    of: list[tuple[What, Drift]] = [
        *(("feature", d) for d in found.features),
        *(("label", d) for d in found.label),
    ]
    rows = [_row(name, version, run_id, now, what, d) for what, d in of]
    c = prediction_drift.c
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.delete(prediction_drift).where(c.model == name, c.run_id == run_id))
        if rows:
            connection.execute(insert(prediction_drift), rows)


def read_drift(settings: Settings, name: str) -> list[sa.RowMapping]:
    """Every recorded drift of a model, newest run first; columns as in the table."""
    c = prediction_drift.c
    query = (
        sa.select(prediction_drift)
        .where(c.model == name)
        .order_by(c.at.desc(), c.what, c.psi.desc().nulls_last(), c.name)
    )
    with warehouse_engine(settings).connect() as connection:
        return list(connection.execute(query).mappings())


def _row(
    name: str, version: int, run_id: str, now: dt.datetime, what: What, d: Drift
) -> dict[str, Any]:
    return {
        "model": name,
        "run_id": run_id,
        "what": what,
        "name": d.name,
        "model_version": version,
        "at": now,
        "psi": d.psi,
        "threshold": d.threshold,
        "missing_before": d.missing_before,
        "missing_now": d.missing_now,
        "drifted": d.drifted,
        "details": {"bins": d.bins, "before": d.before, "now": d.now},
    }
