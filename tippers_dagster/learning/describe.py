"""Describes classifiers for Dagster."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import numpy as np

from tippers_dagster.automation.specs import check_result
from tippers_dagster.learning.plots import confusion_plot, importance_plot
from tippers_dagster.learning.results import LEFT_OUT, TRAINED, ClassifierResult, ModelResult
from tippers_dagster.learning.scores import METRICS
from tippers_dagster.learning.work import Trained
from tippers_dagster.platform.plots import as_markdown

MAX_CALIBRATION_ERROR = 0.1
MIN_GOLD_LABELS = 10
"""A classifier is compared with the label model only with this many held-out gold labels."""

MAX_SHIFT = 0.2
"""Maximum change of a label's share, from all labelled entities to the confident ones."""

WHOLE_BANK = "whole_bank"
AS_SET = "threshold_as_set"
SIMILAR = "confident_are_like_all"
BETTER = "better_than_majority_class"
CALIBRATED = "calibrated"
GOLD = "no_worse_than_label_model_on_gold"
CLASSIFIER_CHECKS = {
    WHOLE_BANK: "Every model in the definition could be trained.",
    AS_SET: "Every label had enough confident entities at the configured threshold.",
    SIMILAR: f"No label's share of the confident entities differs by over {MAX_SHIFT:.0%} from its "
    "share of all labelled entities. Otherwise the label model is more confident about some "
    "labels, and a lower threshold may be better.",
    BETTER: "On held-out entities the best model has a higher balanced accuracy than the majority "
    "class.",
    CALIBRATED: f"On held-out entities the best model's confidence is within "
    f"{MAX_CALIBRATION_ERROR:.0%} of its accuracy, on average.",
    GOLD: "On held-out gold labels the best model is no worse than the label model (accuracy).",
}


def classifier_checks(
    asset: dg.AssetKey, made: Trained, result: ClassifierResult
) -> list[dg.AssetCheckResult]:
    """The results of a classifier's checks."""
    untrained = {one.model: one.error or "" for one in result.models if one.status != TRAINED}
    held, base = made.first.held_out, made.baselines
    assert held is not None
    steps = made.chosen.steps
    return [
        check_result(asset, WHOLE_BANK, not untrained, {"not_trained": untrained}),
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
            held.calibration_error <= MAX_CALIBRATION_ERROR or not held.entities,
            {"entities": held.entities, "calibration_error": _known(held.calibration_error)},
        ),
        _gold_check(asset, made),
    ]


def _alike_check(asset: dg.AssetKey, made: Trained) -> dg.AssetCheckResult:
    labels, given, confident = made.inputs.labels, made.inputs.label, made.chosen.label
    shares = [
        np.bincount(label[label >= 0], minlength=len(labels)) / (label >= 0).sum()
        for label in (given, confident)
    ]
    shift = np.abs(shares[1] - shares[0])
    details = {
        what: dict(zip(labels, np.round(share, 4).tolist(), strict=True))
        for what, share in zip(("labelled", "confident"), shares, strict=True)
    }
    return check_result(asset, SIMILAR, bool(shift.max() <= MAX_SHIFT), details)


def _gold_check(asset: dg.AssetKey, made: Trained) -> dg.AssetCheckResult:
    best, other = made.first.gold, made.baselines.label_model_gold
    assert best is not None
    worse = best.entities >= MIN_GOLD_LABELS and best.accuracy < other.accuracy
    details = {"best": _known(best.accuracy), "label_model": _known(other.accuracy)}
    return check_result(asset, GOLD, not worse, {"entities": best.entities, **details})


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
    """Metadata of a classifier's materialisation; ``uri``: where the held-out entities are."""
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
    """The recorded details of the asset, besides the classifier tables."""
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
    """The models, best first."""
    header = ["", "model", *(_words(metric) for metric in METRICS), "held out", "gold", "seconds"]
    rows = [_ranking_row(one, result.metric) for one in result.models]
    note = (
        f"Cross-validated, ranked by {_words(result.metric)}. Held out: the same metric, compared "
        "with the label model's labels. Gold: compared with gold labels."
    )
    return f"{_markdown(header, rows)}\n\n{note}"


def _ranking_row(one: ModelResult, metric: str) -> list[str]:
    if one.status != TRAINED:
        return [str(one.rank), one.model, f"{one.status}: {one.error}", *[""] * (len(METRICS) + 2)]
    figures = [*(one.cross_validated[m] for m in METRICS), one.held_out[metric], one.gold[metric]]
    return [str(one.rank), one.model, *map(_figure, figures), f"{one.seconds or 0:.1f}"]


def comparison_markdown(result: ClassifierResult) -> str:
    """The best model compared with the label model and the majority class."""
    rows = [
        [_words(on), _words(who), f"{found['entities']:,}", *(_figure(found[m]) for m in METRICS)]
        for on, of in result.details["comparison"].items()
        for who, found in of.items()
        if found["entities"]
    ]
    header = ["on", "", "entities", *(_words(metric) for metric in METRICS)]
    note = (
        "The held-out labels come from the label model, so it is always right on them. Only gold "
        "labels compare the two."
    )
    return f"{_markdown(header, rows)}\n\n{note}"


def steps_markdown(steps: Sequence[Mapping[str, Any]]) -> str:
    """The thresholds that were tried, with the number of confident entities per label."""
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
