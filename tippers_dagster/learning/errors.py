"""Reasons why a classifier cannot be trained."""

from __future__ import annotations

from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import TippersError


class CannotTrain(TippersError):
    """A classifier cannot be trained on these labels and features."""


class TooFewLabels(CannotTrain):
    """A label has too few entities, even at the lowest threshold."""


class OneClassOnly(CannotTrain):
    """All labelled entities have the same label."""


class EmptyFeature(CannotTrain):
    """A column is null for every entity in the training set."""


class LeakingFeature(CannotTrain):
    """A column reveals the entity or its label, which would make every model look right."""


class DuplicateColumns(CannotTrain):
    """Two features have a column of the same name."""


class NoModel(CannotTrain):
    """None of the models could be trained."""


class NotTrained(TippersError):
    """A classifier has not been materialised yet."""

    def __init__(self, classifier: Ref) -> None:
        super().__init__(
            f"{classifier} has not been trained yet.",
            f"Train it with `tippers pipeline materialize {classifier}`.",
        )
