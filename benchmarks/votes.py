"""Votes of many labelling functions on many entities: ``python -m benchmarks.votes``.

A million entities, four rules with rows in different orders, and twenty labelling functions in both
forms. Measures the time from the rules' tables to the vote matrix, and compares it with Snorkel's
``PandasLFApplier`` on a sample, scaled by the number of rows (it applies the functions row by row).
The votes of the sample must be equal.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tippers_dagster.catalog.kinds import LabellingFunction
from tippers_dagster.labelling.expressions.values import Columns
from tippers_dagster.labelling.program import Program, compile_function
from tippers_dagster.labelling.votes import vote_matrix

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from rich.console import Console

LABELS = ("STATIC", "LAPTOP", "PHONE")
TARGET = 100
RULES = ("usage", "rooms", "days", "pairs")
CONDITIONS = (
    ("usage", "mean_hours >= 15 and dates >= 10 and access_points = 1", "STATIC"),
    ("usage", "sessions >= 50 and access_points = 1", "STATIC"),
    ("usage", "off_hours / sessions >= 0.8 and off_dates >= 3", "STATIC"),
    ("usage", "short_share >= 0.8 and access_points = 1", "STATIC"),
    ("usage", "mean_hours between 1.5 and 5", "LAPTOP"),
    ("rooms", "work_share >= 0.8", "LAPTOP"),
    ("rooms", "common_share >= 0.8 and work_share <= 0.1", "PHONE"),
    ("rooms", "kind in ('office', 'lab')", "LAPTOP"),
    ("rooms", "many_rooms / active_days >= 0.8 and active_days >= 3", "PHONE"),
    ("days", "business_share >= 0.8", "LAPTOP"),
    ("days", "daytime_share is not null and daytime_share >= 0.8", "PHONE"),
    ("days", "short_days * 10 >= 8 * days", "PHONE"),
    ("days", "last_day - first_day <= 21 and days <= 3", "PHONE"),
)
FUNCTIONS = (
    (
        "usage",
        """
    if row["access_points"] == 1 and row["sessions"] >= 30:
        return STATIC
    return PHONE if row["mean_hours"] < 0.5 else ABSTAIN""",
    ),
    (
        "rooms",
        """
    if row["work_share"] is None:
        return ABSTAIN
    if row["work_share"] > 0.6:
        return LAPTOP
    elif row["common_share"] > 0.6:
        return PHONE""",
    ),
    (
        "rooms",
        """
    per_day = row["many_rooms"] / row["active_days"]
    return PHONE if per_day > 0.7 else STATIC if per_day < 0.01 else ABSTAIN""",
    ),
    (
        "days",
        """
    span = row["last_day"] - row["first_day"]
    if span > 0 and row["days"] / span >= 0.9:
        return STATIC
    return ABSTAIN""",
    ),
    (
        "days",
        """
    best = max(row["business_share"], row["daytime_share"])
    return LAPTOP if best > 0.95 else ABSTAIN""",
    ),
    (
        "pairs",
        """
    if row["shared_share"] is None or row["sessions"] < 10:
        return ABSTAIN
    if row["shared_share"] < 0.8:
        return ABSTAIN
    return LAPTOP if row["mean_hours"] > row["partner_hours"] else PHONE""",
    ),
    (
        "pairs",
        """
    if row["shared_share"] is not None and round(row["shared_share"]) == 1:
        return PHONE
    return ABSTAIN""",
    ),
)


@dataclass(frozen=True)
class Result:
    entities: int
    functions: int
    compile_seconds: float
    votes_seconds: float
    matrix_seconds: float
    sample: int
    snorkel_sample_seconds: float
    cpu_seconds: float
    snorkel_sample_cpu_seconds: float
    coverage: float

    @property
    def seconds(self) -> float:
        """From tables to the matrix, including compilation."""
        return self.compile_seconds + self.votes_seconds + self.matrix_seconds

    @property
    def snorkel_seconds(self) -> float:
        """For all entities."""
        return self.snorkel_sample_seconds * self.entities / self.sample

    @property
    def ratio(self) -> float:
        return self.snorkel_seconds / self.seconds

    @property
    def cpu_ratio(self) -> float:
        """Of CPU seconds, which other work on the machine changes less."""
        scaled = self.snorkel_sample_cpu_seconds * self.entities / self.sample
        return scaled / self.cpu_seconds


# --- the data ----------------------------------------------------------------------------------
def rules(entities: int) -> tuple[np.ndarray, dict[str, pa.Table]]:
    """Keys of the index, and a table per rule; some entities have no row, some values are null."""
    rng = np.random.default_rng(20250106)
    keys = rng.choice(np.iinfo(np.int64).max, entities).astype(np.uint64)
    tables = {}
    for name in RULES:
        rows = rng.permutation(entities)[: int(entities * 0.95)]
        columns = _columns(rng, len(rows), name)
        tables[name] = pa.table({"device_id": pa.array(keys[rows]), **columns})
    return keys, tables


def _columns(rng: np.random.Generator, n: int, name: str) -> dict[str, pa.Array]:
    def share() -> pa.Array:
        return pa.array(rng.beta(0.6, 0.6, n), mask=rng.random(n) < 0.03)

    def count(mean: float) -> pa.Array:
        return pa.array(1 + rng.geometric(1 / mean, n))

    first = rng.integers(0, 200, n)
    kinds = np.array(["office", "lab", "classroom", "kitchen"])[rng.integers(0, 4, n)]
    return {
        "usage": {
            "mean_hours": pa.array(rng.gamma(1, 4, n)),
            "dates": count(20),
            "access_points": pa.array(rng.geometric(0.4, n)),
            "sessions": count(60),
            "off_hours": count(20),
            "off_dates": count(4),
            "short_share": share(),
        },
        "rooms": {
            "work_share": share(),
            "common_share": share(),
            "kind": pa.array(kinds, mask=rng.random(n) < 0.02),
            "many_rooms": pa.array(rng.geometric(0.1, n)),
            "active_days": pa.array(rng.geometric(0.05, n) - 1),
        },
        "days": {
            "business_share": share(),
            "daytime_share": share(),
            "short_days": count(20),
            "days": count(30),
            "first_day": pa.array(first),
            "last_day": pa.array(first + rng.integers(0, 160, n)),
        },
        "pairs": {
            "shared_share": share(),
            "sessions": count(60),
            "mean_hours": pa.array(rng.gamma(1, 4, n)),
            "partner_hours": pa.array(rng.gamma(1, 4, n)),
        },
    }[name]


def definitions() -> list[LabellingFunction]:
    """The twenty labelling functions."""
    found = [
        LabellingFunction(rule=rule, labels=LABELS, conditions=({"when": when, "label": label},))
        for rule, when, label in CONDITIONS
    ]
    for rule, text in FUNCTIONS:
        python = f"def labeling_function(row):{text}\n"
        found.append(LabellingFunction(rule=rule, labels=LABELS, python=python))
    return found


# --- ours --------------------------------------------------------------------------------------
def compiled(tables: dict[str, pa.Table]) -> list[tuple[str, Program]]:
    return [
        (
            body.rule,
            compile_function(
                body,
                columns={field.name: field.type for field in tables[body.rule].schema},
                values=LABELS,
            ),
        )
        for body in definitions()
    ]


def ours(keys: np.ndarray, tables: dict[str, pa.Table]) -> tuple[np.ndarray, list[float]]:
    """The vote matrix, and the seconds of compiling, voting and joining."""
    times = [time.perf_counter()]
    programs = compiled(tables)
    times.append(time.perf_counter())
    votes = {}
    for rule, table in tables.items():
        columns = Columns(table)
        of_rule = [(at, program) for at, (r, program) in enumerate(programs) if r == rule]
        votes |= {at: program.vote(columns) for at, program in of_rule}
    times.append(time.perf_counter())
    of_entities = [
        (tables[rule]["device_id"], votes[at].votes) for at, (rule, _) in enumerate(programs)
    ]
    matrix = vote_matrix(keys, of_entities)
    times.append(time.perf_counter())
    return matrix, np.diff(times).tolist()


# --- Snorkel -----------------------------------------------------------------------------------
def by_snorkel(
    tables: dict[str, pa.Table], keys: np.ndarray, sample: int
) -> tuple[np.ndarray, float, float]:
    """Snorkel's votes on a data frame of the first entities; with seconds and CPU seconds."""
    from snorkel.labeling import LabelingFunction, PandasLFApplier

    frame = sample_frame(tables, keys[:sample])
    applier = PandasLFApplier(
        [LabelingFunction(str(at), function) for at, function in enumerate(plain_functions())]
    )
    started, cpu = time.perf_counter(), time.process_time()
    votes = applier.apply(frame, progress_bar=False, fault_tolerant=True)
    return votes, time.perf_counter() - started, time.process_time() - cpu


def sample_frame(tables: dict[str, pa.Table], keys: np.ndarray) -> pd.DataFrame:
    """One row per entity with the columns of all rules; missing values and rows are None."""
    import pandas as pd

    frame = pd.DataFrame(index=keys)
    for rule, table in tables.items():
        rows = table.filter(pa.compute.is_in(table["device_id"], value_set=pa.array(keys)))
        part = rows.to_pandas().set_index("device_id").add_prefix(f"{rule}.")
        frame = frame.join(part.astype(object).where(part.notna(), None))
    return frame.astype(object).where(frame.notna(), None)


def plain_functions() -> list[Callable]:
    """The same functions as an analyst writes them for Snorkel, in Python over a row."""
    found = []
    for body in definitions():
        names = {**{label: at for at, label in enumerate(LABELS)}, "ABSTAIN": -1}
        exec(_plain_text(body), names)
        found.append(names["labeling_function"])
    return found


def _plain_text(body: LabellingFunction) -> str:
    """A function's text (from this file) as Python over the columns of all rules."""
    if body.python is not None:
        text = body.python.replace('row["', f'row["{body.rule}.')
        return f"{text}\n    return ABSTAIN\n"
    tables = {name: table.column_names for name, table in rules(10)[1].items()}
    condition = body.conditions[0]
    when = f" {condition.when} ".replace(" = ", " == ").replace("is not null", "is not None")
    when = when.replace("mean_hours between 1.5 and 5", "1.5 <= mean_hours <= 5")
    words = [
        f'row["{body.rule}.{word}"]' if word in tables[body.rule] else word for word in when.split()
    ]
    test = " ".join(words)
    return f"def labeling_function(row):\n    return {condition.label} if {test} else ABSTAIN\n"


# --- the benchmark -----------------------------------------------------------------------------
def measure(entities: int, sample: int, repeats: int = 3) -> Result:
    """Compute both, compare the sample, and take the median time of tippers."""
    keys, tables = rules(entities)
    expected, snorkel_seconds, snorkel_cpu = by_snorkel(tables, keys, sample)
    times, cpu = [], time.process_time()
    for _ in range(repeats):
        matrix, seconds = ours(keys, tables)
        times.append(seconds)
    cpu = (time.process_time() - cpu) / repeats
    wrong = np.argwhere(matrix[:sample] != expected)
    if len(wrong):
        raise SystemExit(f"votes differ, first at (entity, function) {wrong[0].tolist()}")
    stages = [statistics.median(column) for column in zip(*times, strict=True)]
    return Result(
        entities,
        matrix.shape[1],
        *stages,
        sample,
        snorkel_seconds,
        cpu,
        snorkel_cpu,
        float((matrix >= 0).mean()),
    )


def report(console: Console, result: Result) -> None:
    """Print the figures that have targets."""
    from rich.table import Table

    table = Table(
        "step", "seconds",
        title=f"{result.entities:,} entities x {result.functions} labelling functions",
    )  # fmt: skip
    table.add_row("compile", f"{result.compile_seconds:.3f}")
    table.add_row("votes", f"{result.votes_seconds:.3f}")
    table.add_row("vote matrix", f"{result.matrix_seconds:.3f}")
    table.add_row("all", f"{result.seconds:.3f}")
    sample = f"{result.snorkel_sample_seconds:.2f} s for {result.sample:,}"
    table.add_row(f"PandasLFApplier ({sample}, scaled)", f"{result.snorkel_seconds:,.0f}")
    console.print(table)
    console.print(
        f"Votes of the sample are equal; {result.coverage:.0%} of the matrix are votes.\n"
        f"PandasLFApplier / tippers: {result.ratio:,.0f} x (CPU seconds "
        f"{result.cpu_ratio:,.0f} x); target {TARGET}."
    )


def main() -> None:
    """Run, print, and optionally write the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.votes", description=__doc__)
    parser.add_argument("--entities", type=int, default=1_000_000)
    parser.add_argument("--sample", type=int, default=5_000)
    parser.add_argument("--sessions", type=int, help="for the other benchmarks; not used here")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    from rich.console import Console

    result = measure(options.entities, min(options.sample, options.entities))
    report(Console(), result)
    if options.json:
        figures = {
            **vars(result),
            "seconds": result.seconds,
            "ratio": result.ratio,
            "cpu_ratio": result.cpu_ratio,
        }
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
