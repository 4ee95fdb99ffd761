"""Metadata, checks and figures of a people count, for Dagster, MLflow and our tables."""

from __future__ import annotations

import json
import math
from typing import Any

import dagster as dg
import numpy as np

from tippers_dagster.automation.specs import check_result
from tippers_dagster.people.counts.calibration import (
    HOUR_GROUP,
    MIN_HEAD_COUNT_DAYS,
    MIN_HEAD_COUNTS,
    Calibration,
)
from tippers_dagster.people.counts.reading import NOT_CALIBRATED
from tippers_dagster.people.counts.work import Calibrated
from tippers_dagster.platform.plots import as_markdown

COVERAGE_TOLERANCE = 0.1
"""How far the coverage on held-out head counts may fall below the nominal confidence."""

PLAUSIBLE = (0.05, 5.0)
"""Plausible people per device: if lower, people do not carry these devices; if higher, few do."""

ENOUGH = "enough_head_counts"
COVERAGE = "coverage_near_nominal"
RATIO = "ratio_plausible"
CHECKS = {
    ENOUGH: f"There are enough head counts for a calibration: at least {MIN_HEAD_COUNTS} on "
    f"{MIN_HEAD_COUNT_DAYS} days, at times with computed occupancy.",
    COVERAGE: "The interval contains about the nominal share of the held-out head counts.",
    RATIO: f"At every hour and level there are {PLAUSIBLE[0]:g} to {PLAUSIBLE[1]:g} people per "
    "device.",
}


def people_checks(asset: dg.AssetKey, calibrated: Calibrated) -> list[dg.AssetCheckResult]:
    """Check results of a people count; coverage and ratio pass if it is not calibrated."""
    coverage = calibrated.evaluation.coverage if calibrated.evaluation else None
    low, high = ratios(calibrated.calibration) if calibrated.calibration else (1.0, 1.0)
    near = coverage is None or coverage >= calibrated.body.confidence - COVERAGE_TOLERANCE
    reason = {"reason": calibrated.reason} if calibrated.reason else {}
    return [
        check_result(
            asset,
            ENOUGH,
            calibrated.reason is None,
            {"head_counts": calibrated.head_counts, "used": len(calibrated.observed), **reason},
        ),
        check_result(
            asset,
            COVERAGE,
            near,
            {
                "nominal": calibrated.body.confidence,
                "coverage": NOT_CALIBRATED if coverage is None else coverage,
            },
        ),
        check_result(
            asset,
            RATIO,
            PLAUSIBLE[0] <= low and high <= PLAUSIBLE[1],
            {"lowest": low, "highest": high},
        ),
    ]


def ratios(calibrated: Calibration) -> tuple[float, float]:
    """The lowest and the highest ratio of people to devices, in any space."""
    parts = [calibrated] if calibrated.above is None else [calibrated, calibrated.above]
    every = [part.ratio * np.outer(part.hours, part.levels) for part in parts]
    return float(min(e.min() for e in every)), float(max(e.max() for e in every))


def people_metadata(
    calibrated: Calibrated, uri: str, plot: bytes | None, mlflow_url: str | None
) -> dict[str, Any]:
    """Metadata of a people count's materialisation; ``uri`` is of head counts with estimates."""
    metadata: dict[str, Any] = {
        "dagster/row_count": len(calibrated.observed),
        "dagster/uri": uri,
        "state": NOT_CALIBRATED if calibrated.calibration is None else "calibrated",
        **({"reason": calibrated.reason} if calibrated.reason else {}),
        "devices_counted": counted_in_words(calibrated),
        "head_counts": calibrated.head_counts,
        "head_counts_without_computed_occupancy": calibrated.uncomputed,
        "head_counts_of_unknown_spaces": calibrated.unknown,
        **{name: _shown(value) for name, value in figures(calibrated).items()},
    }
    if calibrated.calibration is not None:
        metadata["ratios"] = ratio_table(calibrated.calibration)
        if calibrated.calibration.above is not None:
            metadata["ratios_of_spaces_above"] = ratio_table(calibrated.calibration.above)
        metadata["calibration"] = calibrated.calibration.to_json()
    if plot is not None:
        metadata["plot"] = dg.MarkdownMetadataValue(
            as_markdown(plot, "counted and estimated people")
        )
    if mlflow_url is not None:
        metadata["mlflow_run"] = dg.MetadataValue.url(mlflow_url)
    return metadata


def counted_in_words(calibrated: Calibrated) -> str:
    """The devices that are counted, in words."""
    body = calibrated.body
    return "all" if body.by is None else f"{', '.join(body.labels)} of {body.by}"


def figures(calibrated: Calibrated) -> dict[str, float]:
    """Finite figures on the held-out head counts; empty if not calibrated."""
    found = calibrated.evaluation
    if found is None or calibrated.calibration is None:
        return {}
    values = {
        "ratio": calibrated.calibration.ratio,
        "held_out_head_counts": found.rows,
        "held_out_days": found.days,
        "mae": found.calibrated.mae,
        "rmse": found.calibrated.rmse,
        "relative_error": found.calibrated.relative,
        "bias": found.calibrated.bias,
        "uncalibrated_mae": found.uncalibrated.mae,
        "uncalibrated_rmse": found.uncalibrated.rmse,
        "coverage": found.coverage,
        "interval_width": found.width,
    }
    return {n: float(v) for n, v in values.items() if v is not None and math.isfinite(v)}


def ratio_table(calibrated: Calibration) -> dg.TableMetadataValue:
    """People per device, by hour of the day and level of occupancy."""
    bounds = [0.0, *calibrated.edges]
    names = [f"from {bound:g} devices" for bound in bounds]
    hours = HOUR_GROUP // 3600
    records: list[dict[str, str | float]] = [
        {
            "hours": f"{i * hours:02d} to {(i + 1) * hours:02d}",
            **{
                name: round(calibrated.ratio * hour * level, 4)
                for name, level in zip(names, calibrated.levels, strict=True)
            },
        }
        for i, hour in enumerate(calibrated.hours)
    ]
    schema = dg.TableSchema(
        [dg.TableColumn("hours", "string"), *(dg.TableColumn(n, "float") for n in names)]
    )
    return dg.MetadataValue.table([dg.TableRecord(r) for r in records], schema)


def people_details(calibrated: Calibrated, mlflow_run: str | None) -> dict[str, Any]:
    """The recorded details of a people count."""
    return {
        "calibrated": calibrated.calibration is not None,
        "reason": calibrated.reason,
        "head_counts": calibrated.head_counts,
        "used": len(calibrated.observed),
        **figures(calibrated),
        "mlflow_run": mlflow_run,
    }


# --- MLflow -------------------------------------------------------------------------------------
def mlflow_params(calibrated: Calibrated) -> dict[str, Any]:
    """The parameters of a calibration."""
    return {
        "by": calibrated.body.by or "",
        "labels": ",".join(calibrated.body.labels),
        "ratio": calibrated.body.ratio,
        "confidence": calibrated.body.confidence,
        "head_counts": calibrated.head_counts,
        "used": len(calibrated.observed),
        "spaces": len(set(calibrated.observed.space.tolist())),
        "state": NOT_CALIBRATED if calibrated.calibration is None else "calibrated",
    }


def mlflow_files(calibrated: Calibrated, plot: bytes | None) -> dict[str, bytes]:
    """The calibration, and the plot."""
    files = {} if plot is None else {"plots/counted_and_estimated.png": plot}
    if calibrated.calibration is not None:
        files["calibration.json"] = json.dumps(calibrated.calibration.to_json(), indent=1).encode()
    return files


def people_plot(calibrated: Calibrated) -> bytes | None:
    """Plot of counted and estimated people, and the ratio by hour; None if not calibrated."""
    if calibrated.calibration is None:
        return None
    from tippers_dagster.people.counts.plots import calibration_plot

    return calibration_plot(calibrated.calibration, calibrated.observed)


def _shown(value: float) -> float:
    return round(value, 6)
