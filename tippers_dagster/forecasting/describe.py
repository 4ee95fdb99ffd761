"""Metadata, checks and figures of backtests and forecasts, for Dagster, MLflow and our tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.automation.specs import check_result
from tippers_dagster.catalog.kinds import Forecaster
from tippers_dagster.forecasting.backtest import Ranking
from tippers_dagster.forecasting.metrics import Metrics
from tippers_dagster.forecasting.names import SEASONAL_NAIVE
from tippers_dagster.forecasting.panel import limits
from tippers_dagster.forecasting.reading import QUANTILE_COLUMNS, Score
from tippers_dagster.forecasting.work import Backtest, Forecasts
from tippers_dagster.platform.table_files import csv_of_rows

MAX_NAMED = 20
MIN_COVERAGE = {"coverage_80": 0.7, "coverage_95": 0.88}
"""Below these the coverage check warns. There is no upper bound: mostly zero counts are covered
more often than the nominal share by any interval."""

# --- checks -------------------------------------------------------------------------------------
CHAMPIONS = "every_space_has_a_champion"
BETTER = "champions_are_no_worse_than_naive"
COVERAGE = "intervals_cover_what_came"
WORKED = "every_model_could_be_tried"
BACKTEST_CHECKS = {
    CHAMPIONS: "Every space has enough history for a champion.",
    BETTER: "No champion has a larger pinball loss in the backtest than the seasonal naive model.",
    COVERAGE: "The champions' 80 % and 95 % intervals contain at least 70 % and 88 % of the actual "
    "counts.",
    WORKED: "Every chosen model could be tried on every space.",
}

POSSIBLE = "possible"
COMPLETE = "every_champion_forecasts"
FORECAST_CHECKS = {
    POSSIBLE: "All quantiles are in order, and between 0 and the space's maximum.",
    COMPLETE: "Every space with a champion has a forecast for every bin.",
}


def backtest_checks(
    asset: dg.AssetKey, outcome: Backtest, scores: Sequence[Score]
) -> list[dg.AssetCheckResult]:
    """Check results of a backtest; ``scores`` are those stored in the warehouse."""
    champions = {score.space: score for score in scores if score.champion}
    panel = outcome.history.panel
    missing = [s for s in (*panel.spaces, *outcome.history.without) if s not in champions]
    naive = {score.space: score for score in scores if score.model == SEASONAL_NAIVE}
    worse = [s for s, best in champions.items() if not _no_worse(best, naive[s])]
    covered = {name: champion_mean(champions.values(), name) for name in MIN_COVERAGE}
    enough = all(covered[name] >= least for name, least in MIN_COVERAGE.items())
    troubles = {**outcome.left_out, **outcome.failed}
    return [
        check_result(
            asset, CHAMPIONS, not missing, {"spaces": len(champions), "missing": _some(missing)}
        ),
        check_result(asset, BETTER, not worse, {"worse": _some(worse)}),
        check_result(asset, COVERAGE, enough, {n: round(v, 4) for n, v in covered.items()}),
        check_result(asset, WORKED, not troubles, {"reasons": troubles}),
    ]


def _no_worse(champion: Score, naive: Score) -> bool:
    if champion.pinball is None or naive.pinball is None:
        return False
    return champion.pinball <= naive.pinball


def forecast_checks(
    asset: dg.AssetKey, outcome: Forecasts, rows: pa.Table, champions: Mapping[str, str]
) -> list[dg.AssetCheckResult]:
    """Check results of forecasts, from the rows written."""
    quantiles = np.stack([rows[name].to_numpy() for name in QUANTILE_COLUMNS], axis=1)
    at = pc.index_in(
        rows["space"], value_set=pa.array(outcome.panel.spaces, pa.string())
    ).to_numpy()
    maximum = limits(outcome.panel, outcome.capacity)[at]
    possible = (
        np.isfinite(quantiles).all(axis=1)
        & (np.diff(quantiles, axis=1) >= 0).all(axis=1)
        & (quantiles[:, 0] >= 0)
        & (quantiles[:, -1] <= maximum)
    )
    counted = np.bincount(at, minlength=len(outcome.panel.spaces)).tolist()
    bins = dict(zip(outcome.panel.spaces, counted, strict=True))
    expected = max(counted, default=0)
    missing = [space for space in champions if not expected or bins.get(space) != expected]
    return [
        check_result(
            asset, POSSIBLE, bool(possible.all()), {"impossible_bins": int((~possible).sum())}, True
        ),
        check_result(
            asset, COMPLETE, not missing, {"spaces": len(bins), "missing": _some(missing)}
        ),
    ]


def champion_mean(champions: Any, name: str) -> float:
    """A figure of the champions averaged over all their bins; NaN if there are none."""
    found = [(getattr(c, name), c.bins) for c in champions if getattr(c, name) is not None]
    bins = sum(n for _, n in found)
    return sum(value * n for value, n in found) / bins if bins else float("nan")


def _some(names: Sequence[str]) -> list[str]:
    more = len(names) - MAX_NAMED
    return [*names[:MAX_NAMED], *([f"and {more} more"] if more > 0 else [])]


# --- figures ------------------------------------------------------------------------------------
def model_records(outcome: Backtest) -> list[dict[str, Any]]:
    """The model table of a backtest; see :func:`records_of`."""
    return records_of(outcome.metrics, outcome.ranking, outcome.seconds)


def records_of(
    metrics: Mapping[str, Metrics], ranking: Ranking, seconds: Mapping[str, float]
) -> list[dict[str, Any]]:
    """The model table, the best first: figures over all spaces, and the number of spaces won."""
    won = Counter(ranking.champion[ranking.champion >= 0].tolist())
    records = []
    for i, (model, found) in enumerate(metrics.items()):
        figures = found.together()
        records.append(
            {
                "model": model,
                "champion of": won[i],
                **{k: _rounded(v) for k, v in figures.items()},
                "bins": int(figures["bins"]),
                "occupied": int(figures["occupied"]),
                "seconds": round(seconds[model], 2),
            }
        )
    return sorted(records, key=lambda r: math.inf if r["pinball"] is None else r["pinball"])


def training_details(outcome: Backtest, body: Forecaster, mlflow_run: str | None) -> dict[str, Any]:
    """What is stored of a backtest besides its scores."""
    return {
        "spaces": len(outcome.history.panel.spaces),
        "without_history": list(outcome.history.without),
        "windows": len(outcome.origins),
        "horizon_days": body.horizon_days,
        "interval_seconds": body.interval_seconds,
        "models": list(outcome.metrics),
        "left_out": dict(outcome.left_out),
        "failed": dict(outcome.failed),
        "seconds": dict(outcome.seconds),
        "figures": model_records(outcome),
        "mlflow_run": mlflow_run,
    }


def backtest_metadata(outcome: Backtest, place: str, mlflow_url: str | None) -> dict[str, Any]:
    """Metadata of a backtest's materialisation; ``place`` is its location in the lake."""
    records = model_records(outcome)
    schema = dg.TableSchema(
        [dg.TableColumn(n, "string" if n == "model" else "float") for n in records[0]]
    )
    panel = outcome.history.panel
    link = {} if mlflow_url is None else {"mlflow_run": dg.MetadataValue.url(mlflow_url)}
    return {
        "dagster/row_count": len(panel.spaces) * len(outcome.metrics),
        "dagster/table_name": "tippers.forecast_score",
        "dagster/uri": place,
        "spaces": len(panel.spaces),
        "spaces_without_history": _some(outcome.history.without),
        "history": f"{panel.first} to {panel.origin} (excluded)",
        "origins": [str(panel.until(day, 0).origin) for day in outcome.origins],
        "models": dg.MetadataValue.table([dg.TableRecord(r) for r in records], schema),
        "left_out": dict(outcome.left_out),
        "tasks": outcome.tasks,
        "tasks_done_by_an_earlier_run": outcome.done_before,
        **link,
    }


def forecast_metadata(outcome: Forecasts, rows: pa.Table, place: str) -> dict[str, Any]:
    """Metadata of a forecast materialisation."""
    return {
        "dagster/row_count": rows.num_rows,
        "dagster/table_name": "tippers.forecast",
        "dagster/uri": place,
        "dagster/column_schema": dg.TableSchema(
            [dg.TableColumn(field.name, str(field.type)) for field in rows.schema]
        ),
        "spaces": len(outcome.panel.spaces),
        "origin": str(outcome.panel.origin),
        "champions": dict(Counter(outcome.models)),
    }


# --- MLflow -------------------------------------------------------------------------------------
def mlflow_params(outcome: Backtest, body: Forecaster) -> dict[str, Any]:
    """The parameters of a backtest."""
    panel = outcome.history.panel
    return {
        "spaces": len(panel.spaces),
        "interval_seconds": body.interval_seconds,
        "horizon_days": body.horizon_days,
        "history_days": panel.days,
        "origin": str(panel.origin),
        "windows": len(outcome.origins),
        "models": ",".join(outcome.metrics),
        "seed": body.seed,
    }


def champion_metrics(scores: Sequence[Score]) -> dict[str, float]:
    """Finite figures of all champions together."""
    champions = [score for score in scores if score.champion]
    names = ("mae", "pinball", "coverage_80", "coverage_95", "score")
    found = {f"champion_{name}": champion_mean(champions, name) for name in names}
    found["spaces_with_a_champion"] = float(len(champions))
    return {name: value for name, value in found.items() if math.isfinite(value)}


def model_metrics(outcome: Backtest, model: str) -> dict[str, float]:
    """Finite figures of one model over all spaces."""
    found = {**outcome.metrics[model].together(), "seconds": outcome.seconds[model]}
    at = outcome.ranking.models.index(model)
    found["champion_of"] = float((outcome.ranking.champion == at).sum())
    return {name: value for name, value in found.items() if math.isfinite(value)}


def mlflow_files(outcome: Backtest, scores: Sequence[Score]) -> dict[str, bytes]:
    """The model table and the table of all scores, as CSV."""
    return {
        "models.csv": _csv(model_records(outcome)),
        "scores.csv": _csv([vars(score) for score in scores]),
    }


def _csv(records: Sequence[Mapping[str, Any]]) -> bytes:
    rows = [[record[name] for name in records[0]] for record in records]
    return csv_of_rows([*records[:1], *rows]).encode()


def _rounded(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
