"""Definitions: their content, dependencies and history. Does not depend on Dagster."""
