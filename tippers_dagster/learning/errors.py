"""Why a classifier cannot be trained."""

from __future__ import annotations

from tippers_dagster.errors import TippersError


class CannotTrain(TippersError):
    """A classifier that cannot be trained on these labels and features."""


class TooFewLabels(CannotTrain):
    """A label that too few entities have, even at the lowest threshold."""


class OneClassOnly(CannotTrain):
    """All labelled entities have the same label."""


class EmptyFeature(CannotTrain):
    """A column that is null for every entity that is trained on."""


class LeakingFeature(CannotTrain):
    """A column that tells the entity or its label, and so would make every model look right."""


class DuplicateColumns(CannotTrain):
    """Two features with a column of the same name."""


class NoModel(CannotTrain):
    """None of the models could be trained."""


class NotTrained(TippersError):
    """A classifier that has not been materialised yet."""
