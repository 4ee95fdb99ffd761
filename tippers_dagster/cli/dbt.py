"""`tippers dbt`."""

from __future__ import annotations

import os
import shutil
import subprocess

import typer

from tippers_dagster.settings import get_settings


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        "dbt",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        add_help_option=False,
    )(dbt)


def dbt(context: typer.Context) -> None:
    """Run dbt's command line (``tippers dbt ls --select tag:rule``) on the definitions.

    The project contains the hand-written models and the saved definitions. dbt's output (compiled
    SQL, documentation) goes to ``<home>/dbt/target``. Exits with dbt's status.
    """
    from tippers_dagster.sql.environment import dbt_command

    # A separate process: this one keeps the embedded database running meanwhile.
    done = subprocess.run(
        [*dbt_command(), *context.args], env=_environment(context.args), check=False
    )
    raise typer.Exit(done.returncode)


def _environment(arguments: list[str]) -> dict[str, str]:
    """dbt's environment; its help needs neither a database nor a project."""
    if all(argument.startswith("-") for argument in arguments):
        return dict(os.environ)
    from tippers_dagster.catalog.store import load_catalog
    from tippers_dagster.sql.environment import dbt_environment
    from tippers_dagster.sql.project import rendered_project
    from tippers_dagster.sql.roles import ensure_roles

    settings = get_settings()
    project = rendered_project(settings, load_catalog(settings))
    for ref, reason in sorted(project.broken.items()):
        typer.secho(f"left out: {ref}: {reason}", fg="yellow", err=True)
    target = settings.home_path / "dbt" / "target"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(project.manifest_path.with_name("partial_parse.msgpack"), target)
    ensure_roles(settings)
    return dbt_environment(settings, project.folder, target)
