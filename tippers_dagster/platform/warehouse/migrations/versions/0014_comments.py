"""Plainer comments of tables and columns."""

from alembic import op

revision = "0014"
down_revision = "0013"

_SCORES = [
    f"{scored_on}_{metric}"
    for scored_on in ("cross_validated", "held_out", "gold")
    for metric in ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "calibration_error")
]

COMMENTS: dict[str, dict[str | None, str]] = {
    "academic_period": {
        "end_date": "exclusive",
        "space_id": "where an event takes place; empty: the whole campus",
        "version": "increases with every change",
    },
    "asset_state": {
        "asset": "asset key, parts joined by slashes",
        "version": "version of the last computation; null: never computed",
        "failed_version": "version that could not be computed",
        "retry_at": "after a failure of the environment: no attempt before",
        None: "one row per definition asset: its version, or why it failed",
    },
    "attempt": {
        "wanted": "requested fingerprint",
        "held_until": "after a failure of the environment: no attempt before",
        None: "one row per partition that automation has requested and that is not fresh yet",
    },
    "canvas_position": {
        "concept": "concept of the canvas",
        "node": "asset key, parts joined by slashes",
        "x": "pixels to the right, at zoom 1",
        "y": "pixels downwards, at zoom 1",
        None: "one row per node that a user moved on the canvas of a concept",
    },
    "classifier_model_result": {
        "model": "model of the bank",
        "rank": "rank, from 1",
        "seconds": "training time on one thread",
        **dict.fromkeys(_SCORES, "null: nothing to evaluate on"),
    },
    "classifier_result": {
        "version": "version of the classifier's asset",
        "run_id": "Dagster run",
        "best": "model that ranks first",
        "metric": "metric of the ranking",
        "threshold": "confidence threshold in use",
        "trained": "number of entities in the training set",
        "held_out": "number of held-out entities with a confident label",
        "gold": "number of held-out entities with a gold label",
        "details": "steps, counts, confusion matrix ...",
    },
    "definition": {
        "concept": "empty: no concept",
        "namespace": "the concept; without one: the kind and a dot",
        "version": "increases with every change",
        "body": "see catalog/kinds.py",
        "reads": "concept.name of each definition that its SQL reads",
    },
    "definition_version": {
        None: "one row per version of a definition, including deleted definitions",
    },
    "forecast": {
        "q50": "median: the forecast",
        "origin": "end of the history",
        "version": "version of the forecast asset",
        None: "one row per forecaster, space and future bin: the forecast number of devices",
    },
    "forecast_champion": {
        None: "one row per forecaster, backtest and space: the champion",
    },
    "forecast_score": {
        "bins": "number of bins compared with the actual counts",
        "occupied": "number of bins with at least one device",
        "mae_occupied": "mean absolute error over occupied bins",
        "pinball": "mean pinball loss over the five quantiles",
        "score": "pinball loss relative to the seasonal naive forecast; 1: equal",
        "eligible": "may become champion",
        None: "one row per forecaster, backtest, space and model: errors of the backtest",
    },
    "forecast_training": {
        "version": "version of the asset",
        "run_id": "Dagster run",
        "first_day": "first day of the history",
        "last_day": "end of the history, exclusive",
        None: "one row per stored backtest of a forecaster: its inputs",
    },
    "forecast_work_file": {
        "work": "folder of the trained models",
        "file": "name of the file in the folder",
        "sha256": "hash of the content",
        None: "one row per file of a forecaster's trained models, with its digest",
    },
    "gold_label": {
        "entity": "key of the entity, as text",
        None: "one row per entity of a concept with a gold label",
    },
    "grid": {
        None: "the chunk length and time zone of this warehouse",
    },
    "head_count": {
        "time": "time, or start of the bin",
        "interval_seconds": "width of the bin in which people were counted; 0: one moment",
        None: "one row per space and time of a head count",
    },
    "held_lock": {
        "name": "name of the lock; of a run: 'run ' and its id",
        "token": "unique for each time that the lock is taken",
    },
    "ingest_layer": {
        "kind": "kind of table: spaces ...",
        "ingest_id": "0: rows from before the first recorded ingest",
        "rows": "rows with the key; empty: removed",
        None: "One row per key that an ingest wrote; the source table has the newest rows of a "
        "key.",
    },
    "ingested_file": {
        "sha256": "hash of the file's content",
        "name": "path of the file",
        "size": "size of the file in bytes",
        "options": "null: not recorded, by an earlier version",
        "rejected": "rows in the table reject",
        "traced": "rows in the source tables have the number of this ingest",
    },
    "label_model_score": {
        "version": "version of the label model's asset",
        "entities": "number of entities with a gold label",
        "majority_accuracy": "accuracy of the majority vote",
        "details": "confusion matrix, calibration ...",
        None: "one row per materialization of a label model with gold labels",
    },
    "labelled_chunk": {
        "labels_version": "version of the labels",
        "labels_fingerprint": "fingerprint of the entities' labels",
        "input_fingerprint": "fingerprint of labels and presence",
        "rows": "number of occupied bins",
        None: "one row per labelled occupancy and time chunk: what it was computed from",
    },
    "model_decision": {
        "model": "name in MLflow's registry",
        "version": "version that was compared or chosen",
        "champion_before": "null: none",
        "by": "user or Dagster run",
        "applied_at": "null: the alias has not been moved yet",
        "metric": "metric of the comparison",
        "score": "score of the version on the held-out entities",
        "champion_score": "score of the previous champion on the same entities",
        "majority_score": "score of the majority class",
        "entities": "number of held-out entities with a confident label",
        None: "one row per decision about the champion of a model",
    },
    "model_file": {
        "model": "name in MLflow's registry",
        "version": "version in MLflow's registry",
        "asset_version": "version of the model's asset",
        "format": "skops or npz",
        "path": "path of the file within the model in MLflow",
        "sha256": "null: registered by an earlier version, and not used since",
        "bytes": "size of the file; null like sha256",
        None: "one row per registered version of a model: the only file of it that is read",
    },
    "partition_figures": {
        "peak": "largest count in a 15-minute bin",
        None: "one row per computed partition: the record of what is fresh",
    },
    "people_calibration": {
        "name": "name of the people count",
        "version": "version of its asset",
        "run_id": "Dagster run",
        "body": "body of the definition at that time",
        "reason": "why it is not calibrated; null: it is calibrated",
        "evaluation": "errors and coverage on held-out days",
        None: "one row per materialised people count: how devices become people",
    },
    "person_role": {
        "email": "address that the role was assigned to, lower case",
        "issuer": "issuer of the login; null: not logged in yet",
        "subject": "id of the user at the issuer",
        "bound_at": "first login",
        None: "one row per user with a role",
    },
    "prediction_drift": {
        "run_id": "Dagster run that predicted",
        "name": "name of the column; of the label: label",
        "threshold": "drift above this",
        "missing_before": "share of missing values in training",
        None: "one row per column of a prediction: its drift since training",
    },
    "reject": {
        "row_number": "row of the file, from 1, not counting a CSV header",
        "row": "the row as text; long values are cut",
        None: "One row per rejected row of a file, with the reason.",
    },
    "replacing": {
        None: "one row per partition whose files a run is replacing, or was replacing when it "
        "died: its row in partition_figures is void",
    },
    "run_duration": {
        None: "one row per run that computed something: the history for deadlines",
    },
    "sealed_chunk": {
        "fingerprint": "fingerprint of the source when the chunk was computed",
        "rows": "rows in the source when the chunk was computed",
        "late_rows": "additional rows in the source at the last observation",
        None: "one row per time chunk whose sessions and presence were deleted; its counts stay",
    },
    "session_reject": {
        None: "one row per rejected source row of a chunk",
    },
    "session_space": {
        "known": "false: rejected, the space does not exist",
        None: "one row per time chunk and space of its sessions: a fingerprint of their content",
    },
    "source_chunk": {
        None: "one row per time chunk: the last observed fingerprint of the source",
    },
    "source_token": {
        None: "one row per source table that definitions read: the token of its last check",
    },
    "tracking": {
        "space_id": "root space; its subtree is tracked",
        "end_date": "exclusive",
    },
}
"""By table and column; None: the comment of the table."""


def upgrade() -> None:
    for table, comments in COMMENTS.items():
        for column, comment in comments.items():
            if column is None:
                op.create_table_comment(table, comment, schema="tippers")
            else:
                op.alter_column(table, column, comment=comment, schema="tippers")
