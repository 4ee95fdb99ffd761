"""Backup and restore: warehouse, lake, Dagster's and MLflow's stores, and keys, as one folder."""
