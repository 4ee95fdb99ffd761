"""Describes predictions for Dagster and for our own tables."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.automation.specs import check_result
from tippers_dagster.catalog.model import Ref
from tippers_dagster.learning.drift import Drift
from tippers_dagster.learning.drift_checks import (
    FEATURES_STAY,
    KNOWN,
    LABELS_STAY,
    MISSING_STAYS,
)
from tippers_dagster.learning.drift_records import DriftFound
from tippers_dagster.learning.keys import SCHEMA
from tippers_dagster.learning.registry import ModelVersion
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key
from tippers_dagster.settings import Settings

_MEANING = {
    "label": "the most likely label",
    "confidence": "probability of the label",
    "model_version": "version in MLflow's registry",
    "version": "version of the asset",
    "run_id": "id of the Dagster run",
}


def prediction_details(champion: ModelVersion, rows: pa.Table, drift: DriftFound) -> dict[str, Any]:
    """The recorded details of the asset."""
    return {
        "champion": champion.number,
        "classes": label_counts(rows),
        "mean_confidence": pc.mean(rows["confidence"]).as_py(),
        "drifted": drift.drifted,
        "missing": drift.missing,
        "training_known": drift.known,
    }


def prediction_metadata(
    settings: Settings,
    ref: Ref,
    key_type: str,
    champion: ModelVersion,
    rows: pa.Table,
    drift: DriftFound,
) -> dict[str, Any]:
    """Metadata of the materialisation."""
    place = definition_key(SCHEMA, ref.concept, ref.name)
    key = rows.column_names[0]
    columns = [
        dg.TableColumn(f.name, key_type if f.name == key else str(f.type), _MEANING.get(f.name))
        for f in rows.schema
    ]
    metadata: dict[str, Any] = {
        "dagster/row_count": rows.num_rows,
        "dagster/column_schema": dg.TableSchema(columns),
        "dagster/table_name": f"{SCHEMA}.{ref.model_name}",
        "dagster/uri": open_lake(settings).uri(place),
        "model_version": champion.number,
        "labels": label_counts(rows),
        "mean_confidence": round(pc.mean(rows["confidence"]).as_py(), 6),
    }
    if drift.known:
        metadata["drift"] = _table([*drift.features, *drift.label])
    return metadata


def label_counts(rows: pa.Table) -> dict[str, int]:
    """Entities by predicted label, including labels with no entities."""
    counted = pc.value_counts(rows["label"])
    found = dict(
        zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    )
    labels = [name[2:].upper() for name in rows.column_names if name.startswith("p_")]
    return {label: found.get(label, 0) for label in labels}


def drift_checks(asset: dg.AssetKey, drift: DriftFound) -> list[dg.AssetCheckResult]:
    """The results of the checks; they only pass if the training profile is known."""
    label = [d for d in drift.label if d.moved]
    found = {d.name: d.psi for d in drift.features if d.moved and d.psi is not None}
    missing = {
        d.name: f"{d.missing_before:.1%} before, {d.missing_now:.1%} now"
        for d in drift.features
        if d.missing_moved
    }
    return [
        check_result(
            asset,
            FEATURES_STAY,
            drift.known and not found,
            {"drifted": found, "columns": len(drift.features)},
        ),
        check_result(asset, MISSING_STAYS, drift.known and not missing, {"changed": missing}),
        check_result(
            asset,
            LABELS_STAY,
            drift.known and not label,
            {"psi": {d.name: d.psi for d in drift.label if d.psi is not None}},
        ),
        check_result(asset, KNOWN, drift.known, {"known": drift.known}),
    ]


def _table(found: list[Drift]) -> dg.TableMetadataValue:
    names = ("column", "psi", "threshold", "missing before", "missing now", "drifted")
    records = [
        dg.TableRecord(
            {
                "column": d.name,
                "psi": _rounded(d.psi),
                "threshold": _rounded(d.threshold),
                "missing before": round(d.missing_before, 4),
                "missing now": round(d.missing_now, 4),
                "drifted": d.drifted,
            }
        )
        for d in found
    ]
    types = {"column": "string", "drifted": "bool"}
    schema = dg.TableSchema([dg.TableColumn(n, types.get(n, "float")) for n in names])
    return dg.MetadataValue.table(records, schema)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
