"""`tippers dbt`."""

from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise

import typer

from tippers_dagster.settings import Settings, get_settings

TARGETS = {"duckdb": "lake", "postgres": "warehouse"}
"""dbt's target of each engine."""


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        "dbt",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        add_help_option=False,
    )(dbt)


def dbt(context: typer.Context) -> None:
    """Run dbt's command line (``tippers dbt ls --select tag:rule``) on the definitions.

    The project contains the hand-written models and the saved definitions. It runs on the engine of
    TIPPERS_SQL_ENGINE, or of ``--target`` (lake: DuckDB, warehouse: PostgreSQL); tables that it
    makes go to the warehouse with both. dbt's output (compiled SQL, documentation) goes to
    ``<home>/dbt/target``. Exits with dbt's status.
    """
    from tippers_dagster.sql.environment import dbt_command

    arguments = context.args
    if all(argument.startswith("-") for argument in arguments):  # help needs no project
        raise typer.Exit(subprocess.run([*dbt_command(), *arguments], check=False).returncode)
    settings = _with_target(get_settings(), arguments)
    raise typer.Exit(_run(settings, arguments))


def _with_target(settings: Settings, arguments: list[str]) -> Settings:
    """The settings with the engine that ``--target`` names."""
    pairs = list(pairwise(arguments))
    for engine, target in TARGETS.items():
        if f"--target={target}" in arguments or {("--target", target), ("-t", target)} & set(pairs):
            return settings.model_copy(update={"sql_engine": engine})
    return settings


def _run(settings: Settings, arguments: list[str]) -> int:
    from tippers_dagster.catalog.store import load_catalog
    from tippers_dagster.sql.environment import dbt_environment
    from tippers_dagster.sql.project import rendered_project
    from tippers_dagster.sql.roles import ensure_roles
    from tippers_dagster.sql.running import run_in_warehouse, run_on_lake

    project = rendered_project(settings, load_catalog(settings))
    for ref, reason in sorted(project.broken.items()):
        typer.secho(f"left out: {ref}: {reason}", fg="yellow", err=True)
    target = settings.home_path / "dbt" / "target"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(project.manifest_path.with_name("partial_parse.msgpack"), target)
    ensure_roles(settings)
    environment = dbt_environment(settings, project.folder, target)
    run = run_on_lake if settings.sql_engine == "duckdb" else run_in_warehouse
    return run(settings, project, arguments, environment)
