"""Definitions: what they are, who uses whom, their history. Knows nothing of Dagster."""
