"""What Dagster is told of classifiers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import numpy as np

from tippers_dagster.automation.specs import check_result
from tippers_dagster.labelling.plots import as_markdown
from tippers_dagster.learning.plots import confusion_plot, importance_plot
from tippers_dagster.learning.results import LEFT_OUT, TRAINED, ClassifierResult, ModelResult
from tippers_dagster.learning.scores import METRICS
from tippers_dagster.learning.work import Trained

LARGEST_CALIBRATION_ERROR = 0.1
LEAST_GOLD = 10
"""Held-out gold labels from which on a classifier is compared with the label model by them."""

MOST_SHIFTED = 0.2
"""By how much a label's share of the confident entities may differ from that of all labelled."""

WHOLE_BANK = "whole_bank"
AS_SET = "threshold_as_set"
ALIKE = "confident_are_like_all"
BETTER = "better_than_majority_class"
CALIBRATED = "calibrated"
GOLD = "no_worse_than_label_model_on_gold"
LOGGED = "logged_to_mlflow"
CLASSIFIER_CHECKS = {
    WHOLE_BANK: "Every model that the definition asks for could be trained.",
    AS_SET: "Every label had enough confident entities at the threshold that was set.",
    ALIKE: f"No label's share of the confident entities is over {MOST_SHIFTED:.0%} off that of all "
    "labelled ones; else the label model is surer of one label than of another, and a lower "
    "threshold may serve better.",
    BETTER: "On held-out entities the best model finds more of each label than the commonest "
    "label for all does (balanced accuracy).",
    CALIBRATED: f"On held-out entities the best model's confidence is within "
    f"{LARGEST_CALIBRATION_ERROR:.0%} of its accuracy, on average.",
    GOLD: "On held-out gold labels the best model is no worse than the label model (accuracy).",
    LOGGED: "The materialisation is logged to MLflow, and the best model registered.",
}


def classifier_checks(
    asset: dg.AssetKey, made: Trained, result: ClassifierResult, mlflow_problem: str | None
) -> list[dg.AssetCheckResult]:
    """How a classifier's checks came out."""
    lacking = {one.model: one.error or "" for one in result.models if one.status != TRAINED}
    held, base = made.first.held_out, made.baselines
    assert held is not None
    steps = made.chosen.steps
    reason = {"reason": mlflow_problem} if mlflow_problem else {}
    return [
        check_result(asset, WHOLE_BANK, not lacking, {"not_trained": lacking}),
        check_result(
            asset,
            AS_SET,
            len(steps) == 1,
            {"set": steps[0].threshold, "used": steps[-1].threshold},
        ),
        _alike_check(asset, made),
        check_result(
            asset,
            BETTER,
            held.balanced_accuracy > base.majority_class.balanced_accuracy or not held.entities,
            {
                "entities": held.entities,
                "best": _known(held.balanced_accuracy),
                "majority_class": _known(base.majority_class.balanced_accuracy),
            },
        ),
        check_result(
            asset,
            CALIBRATED,
            held.calibration_error <= LARGEST_CALIBRATION_ERROR or not held.entities,
            {"entities": held.entities, "calibration_error": _known(held.calibration_error)},
        ),
        _gold_check(asset, made),
        check_result(asset, LOGGED, mlflow_problem is None, reason, severe=True),
    ]


def _alike_check(asset: dg.AssetKey, made: Trained) -> dg.AssetCheckResult:
    labels, given, confident = made.inputs.labels, made.inputs.label, made.chosen.label
    shares = [
        np.bincount(label[label >= 0], minlength=len(labels)) / (label >= 0).sum()
        for label in (given, confident)
    ]
    off = np.abs(shares[1] - shares[0])
    told = {
        what: dict(zip(labels, np.round(share, 4).tolist(), strict=True))
        for what, share in zip(("labelled", "confident"), shares, strict=True)
    }
    return check_result(asset, ALIKE, bool(off.max() <= MOST_SHIFTED), told)


def _gold_check(asset: dg.AssetKey, made: Trained) -> dg.AssetCheckResult:
    best, other = made.first.gold, made.baselines.label_model_gold
    assert best is not None
    worse = best.entities >= LEAST_GOLD and best.accuracy < other.accuracy
    told = {"best": _known(best.accuracy), "label_model": _known(other.accuracy)}
    return check_result(asset, GOLD, not worse, {"entities": best.entities, **told})


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def classifier_plots(made: Trained) -> dict[str, bytes]:
    """PNG images by name."""
    first, labels = made.first, made.inputs.labels
    assert first.held_out is not None
    assert first.gold is not None
    plots = {}
    if first.held_out.entities:
        plots["held_out"] = confusion_plot(labels, first.held_out)
    if first.gold.entities:
        plots["gold"] = confusion_plot(labels, first.gold)
    if made.importances:
        plots["importances"] = importance_plot(made.importances)
    return plots


def classifier_metadata(
    result: ClassifierResult, plots: Mapping[str, bytes], uri: str, mlflow_url: str | None
) -> dict[str, Any]:
    """Metadata of a classifier's materialisation; ``uri``: where the held-out rows are."""
    details = result.details
    first = result.models[0]
    metadata: dict[str, Any] = {
        "dagster/row_count": len(result.models),
        "dagster/uri": uri,
        "best": result.best,
        "ranking": dg.MetadataValue.md(ranking_markdown(result)),
        "comparison": dg.MetadataValue.md(comparison_markdown(result)),
        "threshold": result.threshold,
        "threshold_steps": dg.MetadataValue.md(steps_markdown(details["steps"])),
        "classes": details["counts"],
        "trained_on": result.trained,
        "held_out": result.held_out,
        "held_out_gold": result.gold,
        **{
            f"held_out_{name}": value for name, value in first.held_out.items() if value is not None
        },
        "importances": {one["column"]: round(one["mean"], 6) for one in details["importances"]},
        "left_out": {m.model: m.error or "" for m in result.models if m.status == LEFT_OUT},
        "warnings": details["warned"],
        **{
            f"plot_{name}": dg.MarkdownMetadataValue(as_markdown(png, name))
            for name, png in plots.items()
        },
    }
    if mlflow_url is not None:
        metadata["mlflow_run"] = dg.MetadataValue.url(mlflow_url)
    if result.registered is not None:
        metadata["registered_version"] = result.registered
    return metadata


def state_details(result: ClassifierResult) -> dict[str, Any]:
    """What is recorded of the asset, beside the tables of classifiers."""
    return {
        "best": result.best,
        "held_out": dict(result.models[0].held_out),
        "classes": result.details["counts"],
        "threshold": result.threshold,
        "mlflow_run": result.mlflow_run,
        "registered": result.registered,
    }


# --- tables -------------------------------------------------------------------------------------
def ranking_markdown(result: ClassifierResult) -> str:
    """The models, the best first."""
    header = ["", "model", *(_words(metric) for metric in METRICS), "held out", "gold", "seconds"]
    rows = [_ranking_row(one, result.metric) for one in result.models]
    note = (
        f"Cross-validated, ranked by {_words(result.metric)}; held out: the same metric by the "
        "label model's labels; gold: the same by gold labels."
    )
    return f"{_markdown(header, rows)}\n\n{note}"


def _ranking_row(one: ModelResult, metric: str) -> list[str]:
    if one.status != TRAINED:
        return [str(one.rank), one.model, f"{one.status}: {one.error}", *[""] * (len(METRICS) + 2)]
    figures = [*(one.cross_validated[m] for m in METRICS), one.held_out[metric], one.gold[metric]]
    return [str(one.rank), one.model, *map(_figure, figures), f"{one.seconds or 0:.1f}"]


def comparison_markdown(result: ClassifierResult) -> str:
    """The best model beside the label model and the commonest label for all."""
    rows = [
        [_words(on), _words(who), f"{found['entities']:,}", *(_figure(found[m]) for m in METRICS)]
        for on, of in result.details["comparison"].items()
        for who, found in of.items()
        if found["entities"]
    ]
    header = ["on", "", "entities", *(_words(metric) for metric in METRICS)]
    note = (
        "Held-out labels are the label model's own: there it cannot but be right. Gold labels "
        "compare the two."
    )
    return f"{_markdown(header, rows)}\n\n{note}"


def steps_markdown(steps: Sequence[Mapping[str, Any]]) -> str:
    """The thresholds that were tried, with the confident entities of each label."""
    labels = list(steps[0]["counts"])
    rows = [
        [f"{s['threshold']:g}", *(f"{s['counts'][label]:,}" for label in labels)] for s in steps
    ]
    return _markdown(["threshold", *labels], rows)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
