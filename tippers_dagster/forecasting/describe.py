"""What Dagster, our own tables and MLflow are told of backtests and forecasts."""

from __future__ import annotations

import csv
import io
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
from tippers_dagster.platform.small_tables import cells_as_text

NAMED_AT_MOST = 20
LEAST_COVERAGE = {"coverage_80": 0.7, "coverage_95": 0.88}
"""Below these the check of coverage warns. Counts that are mostly zero are covered by more than
the nominal share whatever the interval, so there is nothing to say above it."""

# --- checks -------------------------------------------------------------------------------------
CHAMPIONS = "every_space_has_a_champion"
BETTER = "champions_are_no_worse_than_naive"
COVERAGE = "intervals_cover_what_came"
WORKED = "every_model_could_be_tried"
LOGGED = "logged_to_mlflow"
BACKTEST_CHECKS = {
    CHAMPIONS: "Every space has enough history for a champion.",
    BETTER: "No champion has a greater pinball loss in the backtest than the week before has.",
    COVERAGE: "The champions' 80 % and 95 % intervals held at least 70 % and 88 % of what came.",
    WORKED: "Every model that was asked for could be tried on every space.",
    LOGGED: "The materialisation is logged and its models are registered in MLflow.",
}

POSSIBLE = "possible"
COMPLETE = "every_champion_forecasts"
FORECAST_CHECKS = {
    POSSIBLE: "All quantiles are in order, none is below 0 or above what the space can hold.",
    COMPLETE: "Every space with a champion has a forecast of every bin.",
    LOGGED: "The materialisation is logged to MLflow.",
}


def backtest_checks(
    asset: dg.AssetKey, made: Backtest, kept: Sequence[Score], mlflow_problem: str | None
) -> list[dg.AssetCheckResult]:
    """How a backtest's checks came out. ``kept``: the scores as the warehouse has them."""
    champions = {score.space: score for score in kept if score.champion}
    panel = made.history.panel
    lacking = [s for s in (*panel.spaces, *made.history.without) if s not in champions]
    naive = {score.space: score for score in kept if score.model == SEASONAL_NAIVE}
    worse = [s for s, won in champions.items() if not _no_worse(won, naive[s])]
    covered = {name: champion_mean(champions.values(), name) for name in LEAST_COVERAGE}
    enough = all(covered[name] >= least for name, least in LEAST_COVERAGE.items())
    troubles = {**made.left_out, **made.failed}
    reason = {"reason": mlflow_problem} if mlflow_problem else {}
    return [
        check_result(
            asset, CHAMPIONS, not lacking, {"spaces": len(champions), "lacking": _some(lacking)}
        ),
        check_result(asset, BETTER, not worse, {"worse": _some(worse)}),
        check_result(asset, COVERAGE, enough, {n: round(v, 4) for n, v in covered.items()}),
        check_result(asset, WORKED, not troubles, {"reasons": troubles}),
        check_result(asset, LOGGED, mlflow_problem is None, reason, severe=True),
    ]


def _no_worse(won: Score, naive: Score) -> bool:
    if won.pinball is None or naive.pinball is None:
        return False
    return won.pinball <= naive.pinball


def forecast_checks(
    asset: dg.AssetKey,
    made: Forecasts,
    rows: pa.Table,
    champions: Mapping[str, str],
    mlflow_problem: str | None,
) -> list[dg.AssetCheckResult]:
    """How the forecasts' checks came out, from the rows that were written."""
    quantiles = np.stack([rows[name].to_numpy() for name in QUANTILE_COLUMNS], axis=1)
    at = pc.index_in(rows["space"], value_set=pa.array(made.panel.spaces, pa.string())).to_numpy()
    most = limits(made.panel, made.capacity)[at]
    right = (
        np.isfinite(quantiles).all(axis=1)
        & (np.diff(quantiles, axis=1) >= 0).all(axis=1)
        & (quantiles[:, 0] >= 0)
        & (quantiles[:, -1] <= most)
    )
    counted = np.bincount(at, minlength=len(made.panel.spaces)).tolist()
    bins = dict(zip(made.panel.spaces, counted, strict=True))
    expected = max(counted, default=0)
    lacking = [space for space in champions if not expected or bins.get(space) != expected]
    reason = {"reason": mlflow_problem} if mlflow_problem else {}
    return [
        check_result(
            asset, POSSIBLE, bool(right.all()), {"impossible_bins": int((~right).sum())}, True
        ),
        check_result(
            asset, COMPLETE, not lacking, {"spaces": len(bins), "lacking": _some(lacking)}
        ),
        check_result(asset, LOGGED, mlflow_problem is None, reason, severe=True),
    ]


def champion_mean(champions: Any, name: str) -> float:
    """A figure of the champions over all their bins; NaN where there is none."""
    found = [(getattr(c, name), c.bins) for c in champions if getattr(c, name) is not None]
    bins = sum(n for _, n in found)
    return sum(value * n for value, n in found) / bins if bins else float("nan")


def _some(names: Sequence[str]) -> list[str]:
    more = len(names) - NAMED_AT_MOST
    return [*names[:NAMED_AT_MOST], *([f"and {more} more"] if more > 0 else [])]


# --- figures ------------------------------------------------------------------------------------
def model_records(made: Backtest) -> list[dict[str, Any]]:
    """The table of models of a backtest; see :func:`records_of`."""
    return records_of(made.metrics, made.ranking, made.seconds)


def records_of(
    metrics: Mapping[str, Metrics], ranking: Ranking, seconds: Mapping[str, float]
) -> list[dict[str, Any]]:
    """The table of models, the best first: each over all spaces, and how many it won."""
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


def training_details(made: Backtest, body: Forecaster, mlflow_run: str | None) -> dict[str, Any]:
    """What is kept of a backtest beside its scores."""
    return {
        "spaces": len(made.history.panel.spaces),
        "without_history": list(made.history.without),
        "windows": len(made.origins),
        "horizon_days": body.horizon_days,
        "interval_seconds": body.interval_seconds,
        "models": list(made.metrics),
        "left_out": dict(made.left_out),
        "failed": dict(made.failed),
        "seconds": dict(made.seconds),
        "figures": model_records(made),
        "mlflow_run": mlflow_run,
    }


def backtest_metadata(made: Backtest, place: str, mlflow_url: str | None) -> dict[str, Any]:
    """Metadata of a backtest's materialisation; ``place``: where the lake has it."""
    records = model_records(made)
    schema = dg.TableSchema(
        [dg.TableColumn(n, "string" if n == "model" else "float") for n in records[0]]
    )
    panel = made.history.panel
    link = {} if mlflow_url is None else {"mlflow_run": dg.MetadataValue.url(mlflow_url)}
    return {
        "dagster/row_count": len(panel.spaces) * len(made.metrics),
        "dagster/table_name": "tippers.forecast_score",
        "dagster/uri": place,
        "spaces": len(panel.spaces),
        "spaces_without_history": _some(made.history.without),
        "history": f"{panel.first} to {panel.origin} (excluded)",
        "origins": [str(panel.until(day, 0).origin) for day in made.origins],
        "models": dg.MetadataValue.table([dg.TableRecord(r) for r in records], schema),
        "left_out": dict(made.left_out),
        "tasks": made.tasks,
        "tasks_done_by_an_earlier_run": made.done_before,
        **link,
    }


def forecast_metadata(made: Forecasts, rows: pa.Table, place: str) -> dict[str, Any]:
    """Metadata of a materialisation of forecasts."""
    return {
        "dagster/row_count": rows.num_rows,
        "dagster/table_name": "tippers.forecast",
        "dagster/uri": place,
        "dagster/column_schema": dg.TableSchema(
            [dg.TableColumn(field.name, str(field.type)) for field in rows.schema]
        ),
        "spaces": len(made.panel.spaces),
        "origin": str(made.panel.origin),
        "champions": dict(Counter(made.models)),
    }


# --- MLflow -------------------------------------------------------------------------------------
def mlflow_params(made: Backtest, body: Forecaster) -> dict[str, Any]:
    """What decides a backtest."""
    panel = made.history.panel
    return {
        "spaces": len(panel.spaces),
        "interval_seconds": body.interval_seconds,
        "horizon_days": body.horizon_days,
        "history_days": panel.days,
        "origin": str(panel.origin),
        "windows": len(made.origins),
        "models": ",".join(made.metrics),
        "seed": body.seed,
    }


def champion_metrics(kept: Sequence[Score]) -> dict[str, float]:
    """Figures of the champions together, those that are numbers."""
    champions = [score for score in kept if score.champion]
    names = ("mae", "pinball", "coverage_80", "coverage_95", "score")
    found = {f"champion_{name}": champion_mean(champions, name) for name in names}
    found["spaces_with_a_champion"] = float(len(champions))
    return {name: value for name, value in found.items() if math.isfinite(value)}


def model_metrics(made: Backtest, model: str) -> dict[str, float]:
    """Figures of one model over all spaces, those that are numbers."""
    found = {**made.metrics[model].together(), "seconds": made.seconds[model]}
    at = made.ranking.models.index(model)
    found["champion_of"] = float((made.ranking.champion == at).sum())
    return {name: value for name, value in found.items() if math.isfinite(value)}


def mlflow_files(made: Backtest, kept: Sequence[Score]) -> dict[str, bytes]:
    """The table of models, and that of all scores."""
    return {
        "models.csv": _csv(model_records(made)),
        "scores.csv": _csv([vars(score) for score in kept]),
    }


def _csv(records: Sequence[Mapping[str, Any]]) -> bytes:
    buffer = io.StringIO()
    if records:
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(records[0])
        writer.writerows(cells_as_text(record[name] for name in records[0]) for record in records)
    return buffer.getvalue().encode()


def _rounded(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
