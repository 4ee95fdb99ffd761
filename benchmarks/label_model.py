"""Label models compared with Snorkel's: ``python -m benchmarks.label_model``.

Uses votes of twenty labelling functions on a million entities. Steps that Snorkel does row by row
in Python are measured on a sample and scaled, as the output notes. ``--wrench FOLDER`` instead
evaluates the label model on a data set in WRENCH's format (train.json, test.json).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tippers_dagster.labelling.analysis import ABSTAIN, analyse, find_patterns
from tippers_dagster.labelling.evaluate import score
from tippers_dagster.labelling.label_model import (
    Training,
    fit_label_model,
    hard_labels,
    majority_vote,
)

if TYPE_CHECKING:
    from rich.table import Table

LABELS = ("STATIC", "LAPTOP", "PHONE")
EPOCHS = 500
SAMPLE = 50_000
"""Number of rows for measuring Snorkel's loops over rows."""


def main() -> None:
    """Measure or evaluate, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.label_model", description=__doc__)
    parser.add_argument("--entities", type=int, default=1_000_000)
    parser.add_argument("--functions", type=int, default=20)
    parser.add_argument("--wrench", type=Path, help="folder with train.json and test.json")
    parser.add_argument("--sessions", type=int, help="for the other benchmarks; not used here")
    arguments = parser.parse_args()
    from rich.console import Console

    if arguments.wrench:
        Console().print(_wrench_table(wrench(arguments.wrench, Training(epochs=EPOCHS))))
    else:
        Console().print(_speed_table(measure(arguments.entities, arguments.functions)))


# --- speed --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Step:
    """A step of both. ``sampled``: Snorkel's seconds are scaled from ``SAMPLE`` rows."""

    name: str
    ours: float
    snorkel: float
    sampled: bool = False


def make_votes(entities: int, functions: int, seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Votes int8 [entities, functions] like those of rules with thresholds, and the true labels.

    Each function votes for one label on a share of the entities, and is mostly right. Functions of
    the same label use the same properties of an entity, so their votes are correlated.
    """
    rng = np.random.default_rng(seed)
    truth = rng.choice(len(LABELS), entities, p=(0.2, 0.3, 0.5))
    matrix = np.full((entities, functions), ABSTAIN, np.int8)
    typical = rng.random((entities, len(LABELS)), dtype=np.float32)
    typical[np.arange(entities), truth] += 0.8
    for j in range(functions):
        label = j % len(LABELS)
        noise = 0.1 * rng.standard_normal(entities, dtype=np.float32)
        matrix[typical[:, label] + noise > rng.uniform(0.9, 1.3), j] = label
    return matrix, truth


def measure(entities: int, functions: int) -> list[Step]:
    """The seconds of each step, after checking that both give the same result."""
    import torch
    from snorkel.labeling import LFAnalysis
    from snorkel.labeling.model import LabelModel, MajorityLabelVoter

    torch.set_num_threads(1)
    matrix, truth = make_votes(entities, functions)
    names = [f"f{j}" for j in range(functions)]
    some = matrix[:SAMPLE].astype(int)
    scale = entities / len(some)
    fit_label_model(matrix[:1000], LABELS, names, Training(epochs=1))  # imports

    patterns, finding = _timed(lambda: find_patterns(matrix))
    print(f"{entities:,} entities x {functions} functions, {len(patterns.counts):,} patterns")
    analysis, ours = _timed(lambda: analyse(patterns, names, LABELS, gold=truth))
    summary, theirs = _timed(lambda: LFAnalysis(matrix).lf_summary(truth))
    assert np.allclose(analysis.coverage, summary["Coverage"])
    assert np.allclose(analysis.conflicts, summary["Conflicts"])
    assert np.array_equal(analysis.correct, summary["Correct"])
    steps = [Step("analysis", finding + ours, theirs)]

    training = Training(epochs=EPOCHS)
    fitted, ours = _timed(lambda: fit_label_model(patterns, LABELS, names, training))
    model = LabelModel(cardinality=len(LABELS), verbose=False)
    _, theirs = _timed(
        lambda: model.fit(matrix, n_epochs=EPOCHS, seed=training.seed, progress_bar=False)
    )
    assert np.array_equal(fitted.conditional, model.get_conditional_probs()[:, 1:].astype("f4"))
    steps.append(Step(f"training, {EPOCHS} epochs", finding + ours, theirs))

    # In tippers, labels, ties, confidences and the majority vote are one step.
    predicted, ours = _timed(lambda: fitted.predict(patterns))
    hard, theirs = _timed(lambda: model.predict(some))
    voter = MajorityLabelVoter(cardinality=len(LABELS))
    majority, voting = _timed(lambda: voter.predict(some))
    voted = (some != ABSTAIN).any(axis=1)
    assert np.array_equal(predicted.label[: len(some)][voted], hard[voted])
    assert np.array_equal(predicted.majority[: len(some)], majority)
    both = (theirs + voting) * scale
    steps.append(Step("prediction and majority vote", finding + ours, both, sampled=scale > 1))
    return steps


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def _speed_table(steps: list[Step]) -> Table:
    from rich.table import Table

    table = Table("step", "seconds", "Snorkel", "times faster", title="same results")
    for step in steps:
        note = f" (from {SAMPLE:,} rows)" if step.sampled else ""
        ratio = f"{step.snorkel / step.ours:,.0f}"
        table.add_row(step.name, f"{step.ours:.2f}", f"{step.snorkel:.1f}{note}", ratio)
    return table


# --- accuracy -----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Figures:
    """Test accuracy of one method.

    ``accuracy``: ties and entities without a vote get one of the tied labels (Snorkel's policy
    "random"); ``accuracy_labelled``: they are left out (its policy "abstain").
    """

    name: str
    accuracy: float
    accuracy_labelled: float


@dataclass(frozen=True)
class Wrench:
    """The results of tippers and Snorkel, and the share of the majority class in the test set."""

    entities: int
    majority_class: float
    ours: tuple[Figures, Figures]
    snorkel: tuple[Figures, Figures]


def read_wrench(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Votes int8 [n, functions] and true classes int64 [n] of a file in WRENCH's format."""
    entries = json.loads(file.read_text()).values()
    votes = np.array([entry["weak_labels"] for entry in entries], np.int8)
    return votes, np.array([entry["label"] for entry in entries])


def wrench(folder: Path, training: Training) -> Wrench:
    """Train on ``train.json`` and evaluate on ``test.json``, with tippers and with Snorkel."""
    from snorkel.labeling.model import LabelModel, MajorityLabelVoter

    train, _ = read_wrench(folder / "train.json")
    test, truth = read_wrench(folder / "test.json")
    classes = int(max(train.max(), test.max(), truth.max())) + 1
    labels = [f"class {number}" for number in range(classes)]
    names = [f"f{j}" for j in range(train.shape[1])]
    fitted = fit_label_model(train, labels, names, training)
    model = LabelModel(cardinality=classes, verbose=False)
    model.fit(train, n_epochs=training.epochs, seed=training.seed, progress_bar=False)
    voter = MajorityLabelVoter(cardinality=classes)
    posterior = fitted.predict(find_patterns(test)).probabilities
    return Wrench(
        entities=len(truth),
        majority_class=float(np.bincount(truth).max() / len(truth)),
        ours=(
            _of_probabilities("majority vote", majority_vote(test, classes), truth),
            _of_probabilities("label model", posterior, truth),
        ),
        snorkel=(
            _of_snorkel("majority vote", voter, test, truth),
            _of_snorkel("label model", model, test, truth),
        ),
    )


def _of_probabilities(name: str, probabilities: np.ndarray, truth: np.ndarray) -> Figures:
    from snorkel.utils import probs_to_preds

    classes = probabilities.shape[1]
    all_labelled = probs_to_preds(probabilities, tie_break_policy="random")
    hard = hard_labels(probabilities).astype(np.int64)
    return Figures(
        name,
        score(truth, all_labelled, classes).accuracy,
        score(truth, hard, classes).accuracy_labelled,
    )


def _of_snorkel(name: str, labeller: Any, votes: np.ndarray, truth: np.ndarray) -> Figures:
    def accuracy(policy: str) -> float:
        return labeller.score(votes, truth, tie_break_policy=policy)["accuracy"]

    return Figures(name, accuracy("random"), accuracy("abstain"))


def _wrench_table(found: Wrench) -> Table:
    from rich.table import Table

    table = Table(
        "",
        "accuracy",
        "of those labelled",
        title=f"{found.entities:,} test entities; majority class {found.majority_class:.4f}",
    )
    for who, figures in (("ours", found.ours), ("Snorkel", found.snorkel)):
        for f in figures:
            table.add_row(f"{f.name}, {who}", f"{f.accuracy:.4f}", f"{f.accuracy_labelled:.4f}")
    return table


if __name__ == "__main__":
    main()
