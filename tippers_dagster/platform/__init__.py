"""Where things are kept and run: databases, locks, lake, Dagster, MLflow, and this machine."""
