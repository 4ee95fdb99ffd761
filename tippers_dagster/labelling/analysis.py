"""Figures of a label model's labelling functions: coverage, overlaps, conflicts, accuracy.

Everything is computed on the distinct rows of the vote matrix and their frequencies: a million
entities and twenty functions rarely have more than some thousand patterns of votes. The figures
equal those of ``snorkel.labeling.LFAnalysis``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import pandas as pd

ABSTAIN = -1
"""A function's vote when it abstains, and the class number of an unknown label."""


@dataclass(frozen=True)
class Patterns:
    """The distinct rows of a vote matrix.

    Parameters
    ----------
    votes
        int8 [patterns, functions]: class numbers, -1 for an abstention.
    counts
        int64 [patterns]: the number of rows with the pattern.
    row
        int64 [rows]: the pattern of each row of the matrix.
    """

    votes: np.ndarray
    counts: np.ndarray
    row: np.ndarray

    @property
    def rows(self) -> int:
        """The number of rows of the matrix."""
        return len(self.row)


def find_patterns(matrix: np.ndarray) -> Patterns:
    """The distinct rows of a vote matrix, int8 [n, m] of -1 and class numbers."""
    rows, functions = matrix.shape
    base = int(matrix.max(initial=0)) + 2
    # As many columns at a time as fit, with the pattern of the previous ones, into 62 bits.
    width = max(1, int((62 - np.log2(rows + 1)) / np.log2(base)))
    row, distinct = np.zeros(rows, np.int64), min(rows, 1)
    for start in range(0, functions, width):
        code = row
        for column in matrix[:, start : start + width].T:
            code = code * base + (column.astype(np.int64) + 1)
        encoded = pa.array(code).dictionary_encode()
        row, distinct = encoded.indices.to_numpy().astype(np.int64), len(encoded.dictionary)
    member = np.empty(distinct, np.int64)
    member[row] = np.arange(rows)  # any row of a pattern: all are equal
    return Patterns(
        np.ascontiguousarray(matrix[member], np.int8), np.bincount(row, minlength=distinct), row
    )


@dataclass(frozen=True)
class Analysis:
    """One entry per labelling function, in the order of the matrix's columns.

    Shares refer to all entities. ``accuracy`` covers votes on entities with a gold label, NaN if
    there is none; ``weight`` is the estimated accuracy of the label model, NaN for a function that
    never voted.
    """

    functions: tuple[str, ...]
    labels: tuple[str, ...]
    entities: int
    gold_entities: int
    votes: np.ndarray  # int64 [functions, labels]
    coverage: np.ndarray
    overlaps: np.ndarray
    conflicts: np.ndarray
    correct: np.ndarray  # int64
    incorrect: np.ndarray  # int64
    accuracy: np.ndarray
    weight: np.ndarray
    covered: float
    """Share of entities with a vote."""

    def polarity(self, function: int) -> list[int]:
        """The class numbers that a function votes for."""
        return np.flatnonzero(self.votes[function]).tolist()

    def polarity_labels(self, function: int) -> list[str]:
        """The labels that a function votes for."""
        return [self.labels[number] for number in self.polarity(function)]

    def summary(self) -> pd.DataFrame:
        """The table of ``LFAnalysis.lf_summary``, with the same column names."""
        import pandas as pd

        columns: dict[str, object] = {
            "j": np.arange(len(self.functions)),
            "Polarity": [self.polarity(j) for j in range(len(self.functions))],
            "Coverage": self.coverage,
            "Overlaps": self.overlaps,
            "Conflicts": self.conflicts,
        }
        if self.gold_entities:
            columns |= {
                "Correct": self.correct,
                "Incorrect": self.incorrect,
                "Emp. Acc.": self.accuracy,
            }
        columns["Learned Weight"] = self.weight
        return pd.DataFrame(columns, index=list(self.functions))


def analyse(
    patterns: Patterns,
    functions: Sequence[str],
    labels: Sequence[str],
    *,
    gold: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> Analysis:
    """Compute the figures of every labelling function.

    Parameters
    ----------
    patterns
        The patterns of the vote matrix.
    functions, labels
        Names of the matrix's columns, and of the class numbers.
    gold
        int [rows]: the class number of the entity's gold label, -1 if it has none.
    weights
        float [functions]: the estimated accuracies of the label model.
    """
    votes, counts = patterns.votes, patterns.counts
    rows = max(patterns.rows, 1)
    voted = votes != ABSTAIN
    several = voted.sum(axis=1) > 1
    highest = votes.max(axis=1, initial=ABSTAIN)
    lowest = np.where(voted, votes, np.int8(127)).min(axis=1, initial=127)
    differing = several & (highest != lowest)
    correct, with_gold = _against_gold(patterns, len(labels), gold)
    with np.errstate(invalid="ignore"):
        accuracy = correct / np.where(with_gold, with_gold, np.nan)
    return Analysis(
        functions=tuple(functions),
        labels=tuple(labels),
        entities=patterns.rows,
        gold_entities=0 if gold is None else int((gold != ABSTAIN).sum()),
        votes=votes_by_label(patterns, len(labels)),
        coverage=counts @ voted / rows,
        overlaps=(counts * several) @ voted / rows,
        conflicts=(counts * differing) @ voted / rows,
        correct=correct,
        incorrect=with_gold - correct,
        accuracy=accuracy,
        weight=np.full(len(functions), np.nan) if weights is None else weights,
        covered=float(counts[voted.any(axis=1)].sum() / rows),
    )


def votes_by_label(patterns: Patterns, labels: int) -> np.ndarray:
    """int64 [functions, labels]: how many entities each function votes for each label on."""
    per_label = [patterns.counts @ (patterns.votes == number) for number in range(labels)]
    return np.stack(per_label, axis=1).reshape(patterns.votes.shape[1], labels)


def _against_gold(
    patterns: Patterns, labels: int, gold: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """int64 [functions]: votes that agree with the gold label, and votes on entities with one."""
    known = np.zeros((len(patterns.counts), labels), np.int64)
    if gold is not None:
        given = gold != ABSTAIN
        cells = patterns.row[given] * labels + gold[given]
        known = np.bincount(cells, minlength=known.size).reshape(known.shape)
    correct = sum(known[:, number] @ (patterns.votes == number) for number in range(labels))
    with_gold = known.sum(axis=1) @ (patterns.votes != ABSTAIN)
    return np.asarray(correct, np.int64), with_gold
