"""The four levels of labels, compared with the truth of the simulation or the scenario."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tippers_dagster.campus.source.schema import TRUTH_DEVICE, TRUTH_PERSON, source_tables
from tippers_dagster.labelling.analysis import Analysis, analyse, find_patterns
from tippers_dagster.labelling.evaluate import Evaluation, evaluate, numbers
from tippers_dagster.labelling.labels import read_parameters
from tippers_dagster.platform.warehouse.engine import read_arrow
from tippers_dagster.settings import Settings

PERSON_TYPES = {
    "UNDERGRAD": ("UNDERGRAD", "lower-div-ugrad", "upper-div-ugrad"),
    "GRAD": ("GRAD", "masters", "phd"),
    "FACULTY": ("FACULTY", "professor", "lecturer"),
    "STAFF": ("STAFF", "administration", "janitor", "postdoc"),
    "VISITOR": ("VISITOR", "guest"),
}
"""Person types, with their names in the simulation and in SmartSPEC's scenarios."""

_STUDENTS = PERSON_TYPES["UNDERGRAD"] + PERSON_TYPES["GRAD"]
_RESIDENTS = tuple(t for ours, all_ in PERSON_TYPES.items() if ours != "VISITOR" for t in all_)


@dataclass(frozen=True, eq=False)
class Level:
    """A label model, its labels, and the true types that each label stands for."""

    concept: str
    label_model: str
    column: str
    truth: dict[str, tuple[str, ...]]


LEVELS = (
    Level("device", "device_type", "device_type", {t: (t,) for t in ("STATIC", "LAPTOP", "PHONE")}),
    Level(
        "people",
        "visitor_or_resident",
        "person_type",
        {"VISITOR": PERSON_TYPES["VISITOR"], "RESIDENT": _RESIDENTS},
    ),
    Level(
        "resident",
        "role",
        "person_type",
        {
            "STUDENT": _STUDENTS,
            "STAFF": PERSON_TYPES["STAFF"],
            "FACULTY": PERSON_TYPES["FACULTY"],
        },
    ),
    Level(
        "student",
        "degree",
        "person_type",
        {"UNDERGRAD": PERSON_TYPES["UNDERGRAD"], "GRAD": PERSON_TYPES["GRAD"]},
    ),
)


@dataclass(frozen=True)
class LevelResult:
    """Results of a label model.

    ``entities`` is the size of its index; ``strangers`` the number of entities whose true type is
    none of the labels: a higher level let them through by mistake. ``evaluation`` leaves them out.
    ``functions``: analysis of the labelling functions, with their accuracy by the truth.
    """

    level: Level
    entities: int
    strangers: int
    evaluation: Evaluation
    functions: Analysis


def evaluate_level(settings: Settings, level: Level) -> LevelResult:
    """Compare a level's labels with the truth; without a truth, over no entities.

    Raises
    ------
    NotLabelled
        When its label model has no labels yet.
    """
    rows = _labels_and_truth(settings, level)
    fitted = read_parameters(settings, level.concept, level.label_model)
    label_of = {type_: label for label, types in level.truth.items() for type_ in types}
    types = rows["truth"].to_pylist()
    truth = numbers(fitted.labels, [label_of.get(type_) for type_ in types])
    votes = [rows[name].to_numpy() for name in rows.column_names if name.startswith("vote_")]
    return LevelResult(
        level=level,
        entities=rows.num_rows,
        strangers=int((np.equal(truth, -1) & np.array([t is not None for t in types], bool)).sum()),
        evaluation=evaluate(
            fitted.labels,
            truth,
            numbers(fitted.labels, rows["label"].to_pylist()),
            numbers(fitted.labels, rows["majority_label"].to_pylist()),
            rows["confidence"].to_numpy(zero_copy_only=False),
        ),
        functions=analyse(
            find_patterns(np.stack(votes, axis=1).astype(np.int8)),
            fitted.functions,
            fitted.labels,
            gold=truth,
            weights=fitted.weights,
        ),
    )


def _labels_and_truth(settings: Settings, level: Level) -> pa.Table:
    devices, people = (source_tables(settings)[kind].sql for kind in (TRUTH_DEVICE, TRUTH_PERSON))
    return read_arrow(
        settings,
        f"SELECT l.*, t.{level.column} AS truth "
        f"FROM labels.{level.concept}__{level.label_model} l LEFT JOIN ("
        f"SELECT d.mac_address, d.device_type, p.person_type FROM {devices} d "
        f"LEFT JOIN {people} p USING (person_id)) t USING (mac_address)",
    )
