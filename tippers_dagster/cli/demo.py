"""`tippers demo`: a campus, everything materialized, and the counts judged by the truth."""

from __future__ import annotations

import datetime as dt
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tippers_dagster.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console

    from tippers_dagster.demo.run import Demonstration
    from tippers_dagster.settings import Settings
    from tippers_dagster.simulation import CampusOptions


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    smartspec: Annotated[
        Path | None, typer.Option(help="A SmartSPEC scenario's folder, instead of a simulation.")
    ] = None,
    buildings: Annotated[int | None, typer.Option(help="Buildings; 3 unless given.")] = None,
    people: Annotated[int | None, typer.Option(help="People; 2000 unless given.")] = None,
    weeks: Annotated[int | None, typer.Option(help="Weeks; 8 unless given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Equal seeds give equal campuses.")] = None,
) -> None:
    """Simulate a campus, materialize all of it through Dagster, and compare with the truth.

    Done again on the same home, it finds its campus there and computes only what is stale.
    """
    from tippers_dagster.cli.demo_learned import show_learned
    from tippers_dagster.cli.progress import progress_bars
    from tippers_dagster.demo.run import demonstrate
    from tippers_dagster.platform.terminal import table_console
    from tippers_dagster.settings import get_settings

    # Making its tables, MLflow tells of every step, in the middle of the bars.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # Bound now: while assets are materialised, sys.stdout is another.
    settings, console = get_settings(), table_console()
    sizes = {"buildings": buildings, "people": people, "seed": seed}
    sizes["days"] = None if weeks is None else 7 * weeks
    given = {name: size for name, size in sizes.items() if size is not None}
    if smartspec is not None and given:
        raise BadInput("A scenario has its own size.", "Leave out --buildings, --people and such.")
    data = smartspec or _options(settings, given)
    console.print(f"The demo lives in {settings.home_path}.", highlight=False, markup=False)
    with progress_bars(console) as show:
        found = demonstrate(settings, data, show)
    if not found.fresh_data:
        console.print("The campus was there already, and was used again.")
    _show_campus(console, found)
    _show_buildings(console, found)
    _show_judgement(console, found)
    if found.levels:
        _show_levels(console, found)
        _show_functions(console, found)
    show_learned(console, found)
    _show_missing(console, found)
    _show_timings(console, found)
    _show_next(console, settings, found)


def _options(settings: Settings, sizes: dict[str, Any]) -> CampusOptions:
    from tippers_dagster.simulation import CampusOptions

    return CampusOptions(
        **sizes,
        timezone=settings.timezone,
        open_session_seconds=settings.open_session_seconds,
    )


def _show_campus(console: Console, found: Demonstration) -> None:
    campus, hour = found.campus, dt.timedelta(hours=1)
    console.print(
        f"\n{campus.name}'s busiest hour: {campus.peak_time:%A %Y-%m-%d, %H:%M} to "
        f"{campus.peak_time + hour:%H:%M}, with {campus.peak:,} distinct devices.\n",
        style="bold",
        highlight=False,
        markup=False,
    )


def _show_buildings(console: Console, found: Demonstration) -> None:
    from rich import box
    from rich.table import Table

    span, known = found.span, found.campus.people is not None
    console.print(f"By the hour, {span.first} to {span.last} (excluded):", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("\nbuilding", no_wrap=True)
    for name in ("\nspaces", "devices,\npeak", "\nat", "\nmean"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("people,\npeak", "\nmean", "devices/\nperson") if known else ():
        table.add_column(name, justify="right", no_wrap=True)
    for one in [*found.buildings, found.campus]:
        if one is found.campus:
            table.add_section()
        line = [f"{one.spaces:,}", f"{one.peak:,}", f"{one.peak_time:%d %b %H:%M}"]
        line.append(f"{one.mean:,.1f}")
        if one.people is not None:
            ratio = one.mean / one.people.mean
            line += [f"{one.people.peak:,}", f"{one.people.mean:,.1f}", f"{ratio:.2f}"]
        table.add_row(one.name, *line)
    console.print(table)


def _show_judgement(console: Console, found: Demonstration) -> None:
    if found.against == "truth":
        judged = "the simulated truth"
    else:
        judged = "a plain recount of the ingested sessions"
    console.print(
        f"Measured against {judged}: all {found.equal:,} counts of all {len(found.tree):,} spaces "
        "are equal, and none lacks on either side.\n",
        style="bold green",
        highlight=False,
    )


def _show_levels(console: Console, found: Demonstration) -> None:
    from rich import box
    from rich.table import Table

    console.print("Labels, level by level, beside the truth:", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("\nlabel model", no_wrap=True)
    names = ("\nentities", "stran-\ngers", "cover-\nage", "accu-\nracy", "macro\nF1")
    for name in (*names, "by\nvote", "its\nF1", "one\nclass"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in found.levels:
        e = result.evaluation
        ways = (e.model, e.majority_vote)
        table.add_row(
            result.level.label_model,
            f"{result.entities:,}",
            f"{result.strangers:,}",
            f"{e.model.coverage:.1%}",
            *(f"{share:.3f}" for way in ways for share in (way.accuracy, way.macro_f1)),
            f"{e.majority_class.accuracy:.3f}",
        )
    console.print(table)
    console.print(
        "Vote: the majority vote of the same functions. One class: the commonest label for all. "
        "Strangers are none of the level's labels and came through from above by mistake; the "
        "measures are of the others. An entity without a label counts as wrong.\n",
        style="dim",
        highlight=False,
    )


def _show_missing(console: Console, found: Demonstration) -> None:
    for name, why in found.missing.items():
        console.print(
            f"These data do not suffice for {name.replace('/', '.')}: {why}\n",
            style="bold yellow",
            highlight=False,
            markup=False,
        )


def _show_functions(console: Console, found: Demonstration) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console.print("What each labelling function did:", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("\nlabelling function", "\nvotes for"):
        table.add_column(name, no_wrap=True)
    for name in ("cover-\nage", "over-\nlaps", "con-\nflicts", "\nright", "\nlearned"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in found.levels:
        did = result.functions
        table.add_row(Text(result.level.concept, style="bold"))
        for j, name in enumerate(did.functions):
            table.add_row(
                name.removeprefix(f"{result.level.concept}."),
                ", ".join(did.polarity_labels(j)) or "never",
                *(f"{share[j]:.1%}" for share in (did.coverage, did.overlaps, did.conflicts)),
                *(f"{share[j]:.2f}" for share in (did.accuracy, did.weight)),
            )
        table.add_section()
    console.print(table)


def _show_timings(console: Console, found: Demonstration) -> None:
    from rich import box
    from rich.table import Table

    console.print("How long it took:")
    table = Table("stage", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("seconds", justify="right")
    table.add_column("")
    for timing in found.timings:
        table.add_row(timing.stage, f"{timing.seconds:.1f}", timing.result)
    table.add_section()
    table.add_row("all", f"{sum(t.seconds for t in found.timings):.1f}", "")
    console.print(table)


def _show_next(console: Console, settings: Settings, found: Demonstration) -> None:
    from tippers_dagster.stack.services import app_address

    span = found.span
    console.print(
        "\nWhat next\n"
        f"  make up      the app, with all of this: {app_address(settings)}\n"
        f"               and Dagster: http://127.0.0.1:{settings.web_port}\n"
        f"  .venv/bin/tippers occupancy export --space {shlex.quote(found.tree.roots[0])} "
        f"--start {span.first} --end {span.last} --interval 900 --out campus.csv\n"
        "  .venv/bin/tippers --help",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
