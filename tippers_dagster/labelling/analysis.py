"""What the labelling functions of a label model do: coverage, overlaps, conflicts, accuracy.

Everything is computed on the distinct rows of the vote matrix, with how often each occurs: a
million entities and twenty functions rarely have more than some thousand patterns of votes. The
figures are those of ``snorkel.labeling.LFAnalysis``.
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
"""The vote of a function that does not vote, and the number of a label that nobody knows."""


@dataclass(frozen=True)
class Patterns:
    """The distinct rows of a vote matrix.

    Parameters
    ----------
    votes
        int8 [patterns, functions]: class numbers, -1 for an abstention.
    counts
        int64 [patterns]: how many rows are the same.
    row
        int64 [rows]: the pattern of each row of the matrix.
    """

    votes: np.ndarray
    counts: np.ndarray
    row: np.ndarray

    @property
    def rows(self) -> int:
        """How many rows the matrix has."""
        return len(self.row)


def find_patterns(matrix: np.ndarray) -> Patterns:
    """The distinct rows of a vote matrix, int8 [n, m] of -1 and class numbers."""
    rows, functions = matrix.shape
    base = int(matrix.max(initial=0)) + 2
    # As many columns at a time as, with the pattern of those before, make one number of 62 bits.
    width = max(1, int((62 - np.log2(rows + 1)) / np.log2(base)))
    row, distinct = np.zeros(rows, np.int64), min(rows, 1)
    for start in range(0, functions, width):
        code = row
        for column in matrix[:, start : start + width].T:
            code = code * base + (column.astype(np.int64) + 1)
        encoded = pa.array(code).dictionary_encode()
        row, distinct = encoded.indices.to_numpy().astype(np.int64), len(encoded.dictionary)
    member = np.empty(distinct, np.int64)
    member[row] = np.arange(rows)  # any of them: all are the same
    return Patterns(
        np.ascontiguousarray(matrix[member], np.int8), np.bincount(row, minlength=distinct), row
    )


@dataclass(frozen=True)
class Analysis:
    """One entry per labelling function, in the order of the matrix's columns.

    Shares are of all entities. ``accuracy`` is of the votes on entities with a gold label, NaN
    where there is none; ``weight`` is the label model's, NaN for a function that never voted.
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
        """The table of ``LFAnalysis.lf_summary``, in its words."""
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
    """The figures of every labelling function.

    Parameters
    ----------
    patterns
        Of the vote matrix.
    functions, labels
        Names of the columns, and of the class numbers.
    gold
        int [rows]: the class number that a person gave to the entity, -1 where none did.
    weights
        float [functions]: as learned by the label model.
    """
    votes, counts = patterns.votes, patterns.counts
    rows = max(patterns.rows, 1)
    voted = votes != ABSTAIN
    several = voted.sum(axis=1) > 1
    highest = votes.max(axis=1, initial=ABSTAIN)
    lowest = np.where(voted, votes, np.int8(127)).min(axis=1, initial=127)
    differing = several & (highest != lowest)
    correct, judged = _against_gold(patterns, len(labels), gold)
    with np.errstate(invalid="ignore"):
        accuracy = correct / np.where(judged, judged, np.nan)
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
        incorrect=judged - correct,
        accuracy=accuracy,
        weight=np.full(len(functions), np.nan) if weights is None else weights,
        covered=float(counts[voted.any(axis=1)].sum() / rows),
    )


def votes_by_label(patterns: Patterns, labels: int) -> np.ndarray:
    """int64 [functions, labels]: how often each function votes for each label."""
    per_label = [patterns.counts @ (patterns.votes == number) for number in range(labels)]
    return np.stack(per_label, axis=1).reshape(patterns.votes.shape[1], labels)


def _against_gold(
    patterns: Patterns, labels: int, gold: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """int64 [functions]: votes that are as the gold label says, and votes where there is one."""
    known = np.zeros((len(patterns.counts), labels), np.int64)
    if gold is not None:
        given = gold != ABSTAIN
        cells = patterns.row[given] * labels + gold[given]
        known = np.bincount(cells, minlength=known.size).reshape(known.shape)
    correct = sum(known[:, number] @ (patterns.votes == number) for number in range(labels))
    judged = known.sum(axis=1) @ (patterns.votes != ABSTAIN)
    return np.asarray(correct, np.int64), judged
