"""Dagster's home, environment and addresses, and its private names."""
