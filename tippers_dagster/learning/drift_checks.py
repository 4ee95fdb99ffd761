"""The checks of predictions: names, and what each says."""

FEATURES_STAY = "features_as_in_training"
MISSING_STAYS = "missing_values_as_in_training"
LABELS_STAY = "labels_as_in_training"
KNOWN = "training_is_known"
DRIFT_CHECKS = {
    FEATURES_STAY: "No feature's values have drifted since the champion was trained: population "
    "stability index at most 0.25, or what chance gives of so few rows.",
    MISSING_STAYS: "No feature is missing more often, or less, than in training, by over 10 %.",
    LABELS_STAY: "The predicted labels are shared out as when the champion was trained.",
    KNOWN: "It is known what the entities were like when the champion was trained.",
}
