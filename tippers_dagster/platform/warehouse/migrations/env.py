"""Alembic's entry point: runs on the connection that ``warehouse.migrate`` opened."""

from alembic import context

from tippers_dagster.platform.warehouse.metadata import SCHEMA

context.configure(
    connection=context.config.attributes["connection"],
    version_table_schema=SCHEMA,  # Dagster and MLflow have an alembic_version, too
)
context.run_migrations()
