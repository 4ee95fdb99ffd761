"""What definitions are called on the screen."""

from __future__ import annotations

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
    Kind.CONCEPT: "What is labelled, and its labels, which may refine one another.",
    Kind.INDEX: "The entities to label: a query with one row each, told apart by the key column.",
    Kind.RULE: "Metrics of the entities of an index, at most one row each. It filters nothing: "
    "labelling functions decide.",
    Kind.FEATURE: "Inputs for classifiers, at most one row per entity of an index.",
    Kind.LABELLING_FUNCTION: "Looks at one row of a rule and votes for a label, or abstains.",
    Kind.LABEL_MODEL: "Weighs the votes of three or more labelling functions, for all of an index.",
    Kind.DERIVED_INDEX: "The entities of an index to which a label model gave certain labels.",
    Kind.CLASSIFIER: "Models trained on confident labels and features.",
    Kind.FORECASTER: "Forecasts of the occupancy of spaces, by the best of some models for each.",
    Kind.LABELLED_OCCUPANCY: "Occupancy of every tracked space, split by the labels of devices.",
    Kind.PEOPLE_COUNT: "People instead of devices, by a ratio that is learned from head counts.",
}

Colour = Literal["green", "red", "gray"]

STATES: dict[str, tuple[str, Colour, str]] = {
    "active": (":material/check_circle:", "green", "active"),
    "cannot work": (":material/error:", "red", "cannot work"),
    "retired": (":material/inventory_2:", "gray", "retired"),
    "deleted": (":material/delete:", "gray", "deleted"),
}

STANDINGS = {
    "fresh": ":material/check_circle: up to date",
    "stale": ":material/hourglass_empty: waiting",
    "running": ":material/sync: running",
    "failed": ":material/error: failed",
    "broken": ":material/block: cannot work",
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


def names(refs: tuple[Ref, ...] | list[Ref], most: int = 12) -> str:
    """Names in a row; of many only the first."""
    shown = ", ".join(str(ref) for ref in refs[:most])
    return f"{shown} and {len(refs) - most} more" if len(refs) > most else shown
