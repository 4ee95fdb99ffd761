"""`tippers retention status | apply`."""

from __future__ import annotations

import logging

import typer

from tippers_dagster.platform.text import counted

NOT_SET = "TIPPERS_PRESENCE_DAYS is not set: sessions and presence are never deleted."


def register(app: typer.Typer) -> None:
    """Add the commands."""
    retention = typer.Typer(
        no_args_is_help=True, help="Delete old sessions and presence; counts stay."
    )
    retention.command("status")(status)
    retention.command("apply")(apply)
    app.add_typer(retention, name="retention")


def status() -> None:
    """Show which chunks are due for deletion, which are held back and why, and which are sealed."""
    from tippers_dagster.retention.work import retention_status
    from tippers_dagster.settings import get_settings

    settings = get_settings()
    found = retention_status(settings)
    if settings.presence_days is None:
        typer.echo(NOT_SET)
    else:
        typer.echo(
            f"Presence is kept for {counted(settings.presence_days, 'day')}: chunks that ended by "
            f"{found.until} are due."
        )
    if found.due:
        typer.echo(f"due for deletion: {', '.join(found.due)}")
    for chunk, why in found.held.items():
        typer.secho(f"held back: {chunk}: {why}", fg="yellow")
    for one in found.sealed:
        rest = "" if one.finished else "; files are still to be deleted"
        late = f"; late rows not counted: {one.late_rows:,}" if one.late_rows else ""
        earlier = "; counted before device addresses were normalised" * one.before_normalising
        typer.echo(f"sealed: {one.chunk}, since {one.sealed_at:%Y-%m-%d}{rest}{late}{earlier}")


def apply() -> None:
    """Delete the sessions and presence of all chunks that are due, as a running deployment does
    every night.
    """
    from tippers_dagster.retention.work import delete_due
    from tippers_dagster.settings import get_settings

    settings = get_settings()
    if settings.presence_days is None:
        typer.echo(NOT_SET)
        return
    outcome = delete_due(settings, logging.getLogger("tippers"))
    typer.echo(
        f"Chunks sealed: {len(outcome.sealed):,}; files deleted: {outcome.files:,}; MAC addresses "
        f"of rejected rows removed: {outcome.blanked:,}; devices whose address was forgotten: "
        f"{outcome.forgotten:,}."
    )
    for chunk, why in outcome.held.items():
        typer.secho(f"held back: {chunk}: {why}", fg="yellow")
    for chunk, rows in outcome.late.items():
        typer.secho(f"late: {chunk}: {counted(rows, 'row')} not counted", fg="yellow")
