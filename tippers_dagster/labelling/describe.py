"""Describes votes and labels for Dagster, for our own tables and for MLflow."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import numpy as np

from tippers_dagster.automation.specs import check_result
from tippers_dagster.catalog.window import LOG_READ, Read, with_read
from tippers_dagster.labelling.analysis import Analysis
from tippers_dagster.labelling.label_model import LABEL, OUTCOMES
from tippers_dagster.labelling.plots import (
    confidence_histogram,
    function_plot,
    gold_plot,
    outcome_plot,
)
from tippers_dagster.labelling.work import Labelled, Votes
from tippers_dagster.platform.plots import as_markdown

MAX_ABSTENTIONS = 0.5
"""A check warns if a larger share of entities has no vote."""

MIN_GOLD_VOTES = 10
"""A function's accuracy is checked if it has this many votes on entities with a gold label."""

# --- checks -------------------------------------------------------------------------------------
VOTES_AT_ALL = "votes_at_all"
WITHOUT_ERRORS = "without_errors"
VOTE_CHECKS = {
    VOTES_AT_ALL: "The function votes on at least one entity.",
    WITHOUT_ERRORS: "The function could be computed for every row of its rule.",
}

EVERY_LABEL = "every_label_has_votes"
ABSTENTIONS = "few_abstentions"
BETTER = "better_than_random_on_gold"
LABEL_CHECKS = {
    EVERY_LABEL: "Every label has votes; a label without votes is never assigned.",
    ABSTENTIONS: f"At most {MAX_ABSTENTIONS:.0%} of the entities have no vote.",
    BETTER: "No labelling function is worse than chance on the gold labels.",
}


def vote_checks(asset: dg.AssetKey, votes: Votes) -> list[dg.AssetCheckResult]:
    """The results of a labelling function's checks."""
    example = {"example": votes.example} if votes.errors else {}
    return [
        check_result(asset, VOTES_AT_ALL, votes.voted > 0 or not votes.rows, {"rows": votes.rows}),
        check_result(asset, WITHOUT_ERRORS, not votes.errors, {"errors": votes.errors, **example}),
    ]


def label_checks(asset: dg.AssetKey, made: Labelled) -> list[dg.AssetCheckResult]:
    """The results of a label model's checks."""
    analysis = made.analysis
    voted = analysis.votes.sum(axis=0)
    silent = [label for label, votes in zip(analysis.labels, voted, strict=True) if not votes]
    abstained = made.prediction.shares()["abstain"]
    judged_functions = analysis.correct + analysis.incorrect >= MIN_GOLD_VOTES
    chance = 1 / len(analysis.labels)
    worse = {
        function: round(float(accuracy), 4)
        for function, accuracy, enough in zip(
            analysis.functions, analysis.accuracy, judged_functions, strict=True
        )
        if enough and accuracy < chance
    }
    return [
        check_result(asset, EVERY_LABEL, not silent, {"labels_without_votes": silent}),
        check_result(
            asset, ABSTENTIONS, abstained <= MAX_ABSTENTIONS, {"share": round(abstained, 4)}
        ),
        check_result(
            asset,
            BETTER,
            not worse,
            {"chance": chance, "worse": worse, "judged": int(judged_functions.sum())},
        ),
    ]


# --- Dagster's metadata -------------------------------------------------------------------------
def vote_metadata(votes: Votes) -> dict[str, Any]:
    """Metadata of a labelling function's materialisation."""
    return {
        "dagster/row_count": votes.rows,
        "votes": dict(zip(votes.labels, votes.by_label, strict=True)),
        "coverage": round(votes.coverage, 6),
        "abstained_on_nulls": votes.nulls,
        "abstained_on_errors": votes.errors,
        **({"example": votes.example} if votes.example else {}),
    }


def label_plots(made: Labelled) -> dict[str, bytes]:
    """PNG images by name, for Dagster and MLflow."""
    plots = {
        "labels": outcome_plot(made.analysis.labels, made.prediction),
        "functions": function_plot(made.analysis),
    }
    if made.evaluation.entities:
        plots["gold"] = gold_plot(made.evaluation)
    return plots


def label_metadata(
    made: Labelled,
    plots: Mapping[str, bytes],
    uri: str,
    mlflow_url: str | None,
    read: Read | None,
) -> dict[str, Any]:
    """Metadata of a label model's materialisation.

    Parameters
    ----------
    uri
        Where the lake keeps the labels.
    read
        What they are about.
    """
    shares = made.prediction.shares()
    edges, histogram = confidence_histogram(made.prediction)
    metadata: dict[str, Any] = {
        "dagster/row_count": made.rows.num_rows,
        "dagster/column_schema": column_schema(made),
        "dagster/table_name": f"labels.{made.table.model_name}",
        "dagster/uri": uri,
        "classes": label_counts(made),
        "outcomes": {outcome: round(share, 6) for outcome, share in shares.items()},
        "patterns_of_votes": made.patterns,
        "labelling_functions": function_table(made.analysis),
        "confidence_histogram": {
            f"{low:.2f} to {high:.2f}": int(count)
            for low, high, count in zip(edges[:-1], edges[1:], histogram, strict=True)
            if count
        },
        **{
            f"plot_{name}": dg.MarkdownMetadataValue(as_markdown(png, name))
            for name, png in plots.items()
        },
    }
    if read is not None:
        metadata[LOG_READ] = str(read)
    if mlflow_url is not None:
        metadata["mlflow_run"] = dg.MetadataValue.url(mlflow_url)
    if made.evaluation.entities:
        figures = made.evaluation.to_json()
        metadata |= {
            "gold_entities": made.evaluation.entities,
            "gold_accuracy": figures["accuracy"],
            "gold_macro_f1": figures["macro_f1"],
            "gold_majority_vote_accuracy": figures["majority_vote_accuracy"],
            "gold_calibration_error": _number(figures["calibration_error"]),
            "gold": figures,
        }
    return metadata


def label_counts(made: Labelled) -> dict[str, int]:
    """Entities per label, and per outcome without one."""
    prediction, labels = made.prediction, made.analysis.labels
    given = prediction.label[prediction.outcome == LABEL]
    counts = np.bincount(given, minlength=len(labels)).tolist()
    without = np.bincount(prediction.outcome, minlength=len(OUTCOMES)).tolist()[1:]
    return dict(zip((*labels, *OUTCOMES[1:]), (*counts, *without), strict=True))


def column_schema(made: Labelled) -> dg.TableSchema:
    """The columns of the table of labels."""
    meaning = {
        made.table.key: "the entity",
        "label": "null if the functions abstained or tied",
        "outcome": "label, abstain or tie",
        "confidence": "probability of the most likely label",
        "majority_label": "label of the majority vote; null if it abstained or tied",
        "version": "version of the asset",
        "run_id": "id of the Dagster run",
    }
    return dg.TableSchema(
        [
            dg.TableColumn(name, made.table.column_type(name), description=meaning.get(name))
            for name in made.rows.column_names
        ]
    )


def function_records(analysis: Analysis) -> list[dict[str, Any]]:
    """The table of labelling functions as records; None for unknown values."""
    return [
        {
            "labelling function": function,
            "polarity": ", ".join(analysis.polarity_labels(j)),
            "coverage": round(float(analysis.coverage[j]), 6),
            "overlaps": round(float(analysis.overlaps[j]), 6),
            "conflicts": round(float(analysis.conflicts[j]), 6),
            "correct": int(analysis.correct[j]) if analysis.gold_entities else None,
            "incorrect": int(analysis.incorrect[j]) if analysis.gold_entities else None,
            "accuracy on gold": _rounded(analysis.accuracy[j]),
            "learned weight": _rounded(analysis.weight[j]),
        }
        for j, function in enumerate(analysis.functions)
    ]


_COLUMN_TYPES = {
    "labelling function": "string",
    "polarity": "string",
    "correct": "int",
    "incorrect": "int",
}


def function_table(analysis: Analysis) -> dg.TableMetadataValue:
    """The table of labelling functions for Dagster."""
    records = function_records(analysis)
    schema = dg.TableSchema([dg.TableColumn(n, _COLUMN_TYPES.get(n, "float")) for n in records[0]])
    return dg.MetadataValue.table([dg.TableRecord(r) for r in records], schema)


# --- MLflow and asset_state ---------------------------------------------------------------------
def vote_details(votes: Votes) -> dict[str, Any]:
    """The recorded details of a labelling function."""
    return {
        "votes": dict(zip(votes.labels, votes.by_label, strict=True)),
        "coverage": votes.coverage,
        "nulls": votes.nulls,
        "errors": votes.errors,
        "example": votes.example,
    }


def label_details(made: Labelled, mlflow_run: str | None, read: Read | None) -> dict[str, Any]:
    """The recorded details of a label model; ``read``: what its labels are about."""
    details = {
        "classes": label_counts(made),
        "coverage": made.analysis.covered,
        "functions": function_records(made.analysis),
        "gold": made.evaluation.to_json() if made.evaluation.entities else None,
        "mlflow_run": mlflow_run,
    }
    return with_read(details, read)


def mlflow_params(made: Labelled) -> dict[str, Any]:
    """The parameters of a label model's training."""
    training = made.fitted.training
    return {
        "labels": ",".join(made.analysis.labels),
        "labelling_functions": len(made.analysis.functions),
        "epochs": training.epochs,
        "learning_rate": training.learning_rate,
        "l2": training.l2,
        "seed": training.seed,
        "class_balance": ",".join(f"{share:g}" for share in made.fitted.class_balance),
        "entities": made.rows.num_rows,
    }


def mlflow_metrics(made: Labelled) -> dict[str, float]:
    """Finite figures of a label model."""
    shares = made.prediction.shares()
    gold = made.evaluation
    figures = {
        "coverage": made.analysis.covered,
        "patterns_of_votes": made.patterns,
        **{f"share_{outcome}": share for outcome, share in shares.items()},
        **{f"entities_{name}": count for name, count in label_counts(made).items()},
        "mean_confidence": _mean(made.prediction.confidence),
        "gold_entities": gold.entities,
        "gold_accuracy": gold.model.accuracy,
        "gold_macro_f1": gold.model.macro_f1,
        "gold_majority_vote_accuracy": gold.majority_vote.accuracy,
        "gold_majority_class_accuracy": gold.majority_class.accuracy,
        "gold_calibration_error": gold.calibration_error,
        **_by_function("weight", made.analysis.functions, made.analysis.weight),
        **_by_function("coverage", made.analysis.functions, made.analysis.coverage),
    }
    return {name: float(value) for name, value in figures.items() if math.isfinite(value)}


def mlflow_files(made: Labelled, plots: Mapping[str, bytes]) -> dict[str, bytes]:
    """Plots, the table of labelling functions, and everything needed for prediction."""
    return {
        "model/label_model.json": json.dumps(made.fitted.to_json()).encode(),
        "labelling_functions.csv": made.analysis.summary().to_csv(index_label="name").encode(),
        **{f"plots/{name}.png": png for name, png in plots.items()},
    }


def _by_function(what: str, functions: Sequence[str], values: Iterable[float]) -> dict[str, float]:
    return {f"{what}.{name}": float(v) for name, v in zip(functions, values, strict=True)}


def _mean(confidence: np.ndarray) -> float:
    known = confidence[~np.isnan(confidence)]
    return float(known.mean()) if len(known) else float("nan")


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
