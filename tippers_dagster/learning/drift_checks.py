"""The checks of predictions: their names and descriptions."""

FEATURES_STAY = "features_as_in_training"
MISSING_STAYS = "missing_values_as_in_training"
LABELS_STAY = "labels_as_in_training"
KNOWN = "training_is_known"
DRIFT_CHECKS = {
    FEATURES_STAY: "No feature's values have drifted since the champion was trained: the "
    "population stability index is at most 0.25, or explained by chance if there are few rows.",
    MISSING_STAYS: "No feature's share of missing values differs from training by over 10 "
    "percentage points.",
    LABELS_STAY: "The distribution of predicted labels has not drifted since the champion was "
    "trained.",
    KNOWN: "A profile of the entities at training time exists.",
}
