"""`tippers pipeline`: how the definitions' assets stand, and computing them here and now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tippers_dagster.errors import TippersError
from tippers_dagster.settings import get_settings

if TYPE_CHECKING:
    from tippers_dagster.graph.launch import Outcome
    from tippers_dagster.graph.status import AssetStatus

_COLOURS = {"fresh": "green", "stale": "yellow", "running": "cyan", "failed": "red"}
_LONGEST_WHY = 200


def register(app: typer.Typer) -> None:
    """Add these commands."""
    pipeline = typer.Typer(
        no_args_is_help=True, help="Indexes, rules, features and label models: status, computing."
    )
    pipeline.command("status")(status)
    pipeline.command("materialize")(materialize)
    pipeline.command("reload")(reload)
    pipeline.command("retry")(retry)
    app.add_typer(pipeline, name="pipeline")


def status(
    all_: bool = typer.Option(False, "--all", help="Also what is up to date."),
) -> None:
    """Say what is up to date, stale, under way, failed or broken, and why."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from tippers_dagster.platform.terminal import table_console

    found = _status()
    shown = [s for s in found if all_ or s.standing != "fresh"]
    heads = ("asset", "kind", "standing", "rows", "seconds", "computed")
    table = Table(*heads, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in table.columns:
        column.no_wrap = column.header != "kind"
    for s in shown:
        colour = _COLOURS.get(s.standing, "red")
        table.add_row(
            s.name,
            s.kind.replace("_", " "),
            Text(s.standing, style=colour),
            "" if s.rows is None else f"{s.rows:,}",
            "" if s.seconds is None else f"{s.seconds:.1f}",
            "" if s.materialized_at is None else f"{s.materialized_at:%d %b %H:%M}",
        )
    console = table_console()
    if shown:
        console.print(table)
    for s in shown:
        if s.why:
            console.print(Text(s.name, style="bold"), f": {s.why[:_LONGEST_WHY]}", sep="")
    counts = {s.standing: sum(o.standing == s.standing for o in found) for s in found}
    typer.echo(f"{len(found)} assets: " + ", ".join(f"{n} {what}" for what, n in counts.items()))


def materialize(
    selection: str | None = typer.Argument(
        None,
        help="A concept (device), a definition (device.devices, +device.devices+), or "
        "Dagster's own selection syntax; none: all.",
    ),
    stale_only: bool = typer.Option(True, help="Pass over what is up to date."),
) -> None:
    """Compute here and now what is stale, and what is stale above it, without a daemon."""
    from tippers_dagster.cli.progress import progress_bars
    from tippers_dagster.graph.launch import materialize_definitions
    from tippers_dagster.platform.dagster.environment import dagster_instance
    from tippers_dagster.platform.terminal import table_console

    # This very stream: what the run prints meanwhile goes elsewhere.
    settings, console = get_settings(), table_console()
    with dagster_instance(settings) as instance, progress_bars(console) as show:
        outcomes = materialize_definitions(
            settings, instance, selection, stale_only=stale_only, on_progress=show
        )
    _tell(outcomes)


def reload() -> None:
    """Have the running deployment load the definitions anew, and wait until it has."""
    from tippers_dagster.graph.reload import reload_definitions

    done = reload_definitions(get_settings())
    if done.state == "failed":
        raise TippersError(done.message, "Its logs say more: <home>/logs, or the container's.")
    typer.echo(done.message)


def retry() -> None:
    """Try again what failed as often as allowed: automation starts counting anew."""
    from tippers_dagster.automation.state import forget_failures

    typer.echo(f"{forget_failures(get_settings()):,} assets may be tried again.")


def _status() -> list[AssetStatus]:
    from tippers_dagster.automation.snapshot import Snapshot
    from tippers_dagster.graph.load import load_pipeline
    from tippers_dagster.graph.status import pipeline_status
    from tippers_dagster.platform.dagster.environment import dagster_instance

    settings = get_settings()
    pipeline = load_pipeline(settings)
    with dagster_instance(settings) as instance:
        snapshot = Snapshot.take(settings, instance, pipeline.nodes)
    return pipeline_status(pipeline, snapshot)


def _tell(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        name = outcome.name.replace("/", ".")
        if outcome.state == "computed":
            rows = "" if outcome.rows is None else f", {outcome.rows:,} rows"
            typer.echo(f"computed  {name}{rows}, {outcome.seconds or 0:.1f} s")
        else:
            colour = "red" if outcome.state == "failed" else "yellow"
            typer.secho(f"{outcome.state:<10}{name}: {outcome.why}", fg=colour)
    if not outcomes:
        typer.echo("All of it is up to date.")
    bad = sum(outcome.state != "computed" for outcome in outcomes)
    if bad:
        raise TippersError(
            f"{bad} of {len(outcomes)} assets were not computed.",
            "Mend the first that failed; what succeeded is kept. Run this again for the rest.",
        )
