"""Names, icons and number formats on the Definitions page."""

from __future__ import annotations

import math
from typing import Literal

from tippers_dagster.catalog.kinds import Kind
from tippers_dagster.catalog.model import Ref

KINDS = {
    Kind.CONCEPT: "Concept",
    Kind.INDEX: "Index",
    Kind.RULE: "Rule",
    Kind.FEATURE: "Feature",
    Kind.LABELLING_FUNCTION: "Labelling function",
    Kind.LABEL_MODEL: "Label model",
    Kind.DERIVED_INDEX: "Derived index",
    Kind.CLASSIFIER: "Classifier",
    Kind.FORECASTER: "Forecaster",
    Kind.LABELLED_OCCUPANCY: "Labelled occupancy",
    Kind.PEOPLE_COUNT: "People count",
    Kind.CONNECTION: "Connection",
    Kind.DATASET: "Dataset",
    Kind.LOG_SOURCE: "Log source",
}

ICONS = {
    Kind.CONCEPT: ":material/category:",
    Kind.INDEX: ":material/table_rows:",
    Kind.RULE: ":material/rule:",
    Kind.FEATURE: ":material/query_stats:",
    Kind.LABELLING_FUNCTION: ":material/how_to_vote:",
    Kind.LABEL_MODEL: ":material/label:",
    Kind.DERIVED_INDEX: ":material/filter_alt:",
    Kind.CLASSIFIER: ":material/model_training:",
    Kind.FORECASTER: ":material/trending_up:",
    Kind.LABELLED_OCCUPANCY: ":material/stacked_bar_chart:",
    Kind.PEOPLE_COUNT: ":material/groups:",
}

ABOUT = {
    Kind.CONCEPT: "What is being labelled, with its labels. A label can refine another one.",
    Kind.INDEX: "The entities to label: a query that returns one row per entity, identified by "
    "its key column.",
    Kind.RULE: "A query that returns metrics for the entities of an index, at most one row per "
    "entity. It does not filter: labelling functions decide.",
    Kind.FEATURE: "Inputs for classifiers, at most one row per entity of an index.",
    Kind.LABELLING_FUNCTION: "Reads one row of a rule and votes for a label, or abstains.",
    Kind.LABEL_MODEL: "Combines the votes of three or more labelling functions into one label "
    "per entity of an index.",
    Kind.DERIVED_INDEX: "The entities of an index that a label model gave certain labels.",
    Kind.CLASSIFIER: "Models trained on confident labels and features. The best one predicts.",
    Kind.FORECASTER: "Forecasts the occupancy of spaces, each with the model that does best there.",
    Kind.LABELLED_OCCUPANCY: "Occupancy of every tracked space, split by the labels of devices.",
    Kind.PEOPLE_COUNT: "Number of people instead of devices, from a ratio learned from head "
    "counts.",
}

Colour = Literal["green", "red", "gray"]

STATES: dict[str, tuple[str, Colour, str]] = {
    "active": (":material/check_circle:", "green", "active"),
    "broken": (":material/error:", "red", "broken"),
    "retired": (":material/inventory_2:", "gray", "retired"),
    "deleted": (":material/delete:", "gray", "deleted"),
}

STANDINGS = {
    "fresh": ":material/check_circle: up to date",
    "waiting": ":material/schedule: waiting for a refresh",
    "stale": ":material/hourglass_empty: out of date",
    "running": ":material/sync: running",
    "failed": ":material/error: failed",
    "broken": ":material/block: broken",
}

ACTIONS = {
    "create": "created",
    "change": "changed",
    "retire": "retired",
    "activate": "activated",
    "delete": "deleted",
    "restore": "restored",
    "rename": "renamed",
}


def names(refs: tuple[Ref, ...] | list[Ref], limit: int = 12) -> str:
    """Names separated by commas; of a long list only the first."""
    shown = ", ".join(str(ref) for ref in refs[:limit])
    return f"{shown} and {len(refs) - limit} more" if len(refs) > limit else shown


def share(part: int, whole: int) -> str:
    """A part as a percentage: ``12 %``. Never rounded to 0 or 100 %."""
    if not whole:
        return "-"
    percent = 100 * part / whole
    if 0 < percent < 1 or 99 < percent < 100:
        return f"{percent:.1f} %"
    return f"{round(percent)} %"


def number(value: float | None) -> str:
    """A number with thousands separators; a dash if it is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:,.3g}" if isinstance(value, float) else f"{value:,}"
