"""`tippers retention status | apply`."""

from __future__ import annotations

import logging

import typer

NOT_SET = "TIPPERS_PRESENCE_DAYS is not set: sessions and presence are kept for good."


def register(app: typer.Typer) -> None:
    """Add the commands."""
    retention = typer.Typer(
        no_args_is_help=True, help="Delete old sessions and presence; counts stay."
    )
    retention.command("status")(status)
    retention.command("apply")(apply)
    app.add_typer(retention, name="retention")


def status() -> None:
    """What would be given up now, what is held back and why, what was given up."""
    from tippers_dagster.retention.work import standing
    from tippers_dagster.settings import get_settings

    settings = get_settings()
    found = standing(settings)
    if found.until is None:
        typer.echo(NOT_SET)
    else:
        typer.echo(
            f"Presence is kept for {settings.presence_days:,} days: chunks that ended by "
            f"{found.until} are due."
        )
    if found.due:
        typer.echo(f"to be given up: {', '.join(found.due)}")
    for chunk, why in found.held.items():
        typer.secho(f"held back: {chunk}: {why}", fg="yellow")
    for one in found.sealed:
        rest = "" if one.finished else "; files are still to be deleted"
        late = f"; {one.late_rows:,} late rows are not counted" if one.late_rows else ""
        typer.echo(f"sealed: {one.chunk}, since {one.sealed_at:%Y-%m-%d}{rest}{late}")


def apply() -> None:
    """Delete sessions and presence of all chunks that are due; the running deployment does it
    every night.
    """
    from tippers_dagster.retention.work import give_up
    from tippers_dagster.settings import get_settings

    settings = get_settings()
    if settings.presence_days is None:
        typer.echo(NOT_SET)
        return
    outcome = give_up(settings, logging.getLogger("tippers"))
    typer.echo(
        f"{len(outcome.sealed):,} chunks sealed, {outcome.files:,} files deleted, "
        f"{outcome.blanked:,} MAC addresses of rejected rows blanked."
    )
    for chunk, why in outcome.held.items():
        typer.secho(f"held back: {chunk}: {why}", fg="yellow")
    for chunk, rows in outcome.late.items():
        typer.secho(f"late: {chunk}: {rows:,} rows are not counted", fg="yellow")
