"""`tippers pipeline`: status of definition assets, and computing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tippers_dagster.cli.progress import progress_bars
from tippers_dagster.errors import TippersError
from tippers_dagster.platform.terminal import table_console
from tippers_dagster.platform.text import counted
from tippers_dagster.settings import get_settings

if TYPE_CHECKING:
    from tippers_dagster.graph.launch import Outcome
    from tippers_dagster.graph.status import AssetStatus

_COLOURS = {
    "fresh": "green",
    "waiting": "blue",
    "stale": "yellow",
    "running": "cyan",
    "failed": "red",
}
_MAX_REASON_CHARACTERS = 200


def register(app: typer.Typer) -> None:
    """Add these commands."""
    pipeline = typer.Typer(
        no_args_is_help=True, help="Assets of definitions: status, computing and reloading."
    )
    pipeline.command("status")(status)
    pipeline.command("materialize")(materialize)
    pipeline.command("reload")(reload)
    pipeline.command("retry")(retry)
    app.add_typer(pipeline, name="pipeline")


def status(
    all_: bool = typer.Option(False, "--all", help="Also list assets that are up to date."),
) -> None:
    """List assets that are waiting, stale, running, failed or broken, with reasons."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    found = _status()
    shown = [s for s in found if all_ or s.standing != "fresh"]
    heads = ("asset", "kind", "status", "rows", "seconds", "computed")
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
            console.print(Text(s.name, style="bold"), f": {s.why[:_MAX_REASON_CHARACTERS]}", sep="")
    counts = {s.standing: sum(o.standing == s.standing for o in found) for s in found}
    summary = ", ".join(f"{n:,} {standing}" for standing, n in counts.items())
    typer.echo(f"{counted(len(found), 'asset')}: {summary}" if found else "No assets.")


def materialize(
    selection: str | None = typer.Argument(
        None,
        help="A concept (device), a definition (device.devices; +device.devices+ for everything "
        "upstream and downstream, too), or Dagster's selection syntax. Default: all.",
    ),
    stale_only: bool = typer.Option(True, help="Skip assets that are up to date."),
) -> None:
    """Compute stale assets and their stale inputs now; needs no running deployment."""
    from tippers_dagster.graph.launch import materialize_definitions
    from tippers_dagster.platform.dagster.environment import dagster_instance

    # Bound to this output, as the run's own output is redirected.
    settings, console = get_settings(), table_console()
    with dagster_instance(settings) as instance, progress_bars(console) as show:
        outcomes = materialize_definitions(
            settings, instance, selection, stale_only=stale_only, on_progress=show
        )
    _print_outcomes(outcomes)


def reload() -> None:
    """Make the running deployment reload the definitions, and wait until it has."""
    from tippers_dagster.graph.reload import reload_definitions

    done = reload_definitions(get_settings())
    if done.state == "failed":
        raise TippersError(done.message, "See its logs: <home>/logs, or the container's.")
    typer.echo(done.message)


def retry() -> None:
    """Reset the attempts of failed assets, so that automation retries them."""
    from tippers_dagster.automation.state import forget_failures

    typer.echo(f"{counted(forget_failures(get_settings()), 'asset')} will be retried.")


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


def _print_outcomes(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        name = outcome.name.replace("/", ".")
        if outcome.unchanged:
            typer.echo(f"unchanged {name}")
        elif outcome.state == "computed":
            rows = "" if outcome.rows is None else f", {counted(outcome.rows, 'row')}"
            typer.echo(f"computed  {name}{rows}, {outcome.seconds or 0:.1f} s")
        else:
            colour = "red" if outcome.state == "failed" else "yellow"
            typer.secho(f"{outcome.state:<10}{name}: {outcome.why}", fg=colour)
    if not outcomes:
        typer.echo("All assets are up to date.")
    bad = sum(outcome.state != "computed" for outcome in outcomes)
    if bad:
        raise TippersError(
            f"{bad:,} of {counted(len(outcomes), 'asset')} could not be computed.",
            "Fix the first asset that failed, and run this again for the rest. Assets that "
            "succeeded are kept.",
        )
