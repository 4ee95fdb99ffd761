"""`tippers demo`: a campus with everything computed, compared with the truth."""

from __future__ import annotations

import datetime as dt
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tippers_dagster.cli.demo_learned import show_learned
from tippers_dagster.cli.progress import progress_bars
from tippers_dagster.errors import BadInput
from tippers_dagster.platform.terminal import table_console

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
        Path | None, typer.Option(help="Folder of a SmartSPEC scenario, instead of a simulation.")
    ] = None,
    buildings: Annotated[int | None, typer.Option(help="Number of buildings. Default: 3.")] = None,
    people: Annotated[int | None, typer.Option(help="Number of people. Default: 2000.")] = None,
    weeks: Annotated[int | None, typer.Option(help="Number of weeks. Default: 8.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same campus.")] = None,
) -> None:
    """Simulate a campus, compute everything with Dagster, and compare it with the truth.

    If repeated in the same home, it reuses the campus and computes only what is stale.
    """
    from tippers_dagster.demo.run import demonstrate
    from tippers_dagster.settings import get_settings

    # MLflow would log every step of creating its tables between the progress bars.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # Bound now, as sys.stdout is redirected while assets are computed.
    settings, console = get_settings(), table_console()
    sizes = {"buildings": buildings, "people": people, "seed": seed}
    sizes["days"] = None if weeks is None else 7 * weeks
    given = {name: size for name, size in sizes.items() if size is not None}
    if smartspec is not None and given:
        raise BadInput(
            "A scenario has a fixed size.", "Leave out --buildings, --people, --weeks and --seed."
        )
    data = smartspec or _options(settings, given)
    console.print(f"Home of the demo: {settings.home_path}", highlight=False, markup=False)
    with progress_bars(console) as show:
        found = demonstrate(settings, data, show)
    if not found.fresh_data:
        console.print("The campus is already there, and was reused.")
    _show_campus(console, found)
    _show_buildings(console, found)
    _show_comparison(console, found)
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
    console.print(
        f"Occupancy per hour, from {span.first} until {span.last} (exclusive):", highlight=False
    )
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


def _show_comparison(console: Console, found: Demonstration) -> None:
    spaces, recounted = f"{len(found.tree):,}", f"{found.recounted_bins:,}"
    lines = [
        f"Compared with a simple recount of the sessions: devices, people and other devices in all "
        f"{recounted} bins of all {spaces} spaces are equal, and none is missing.\n"
    ]
    if found.true_bins is not None:
        lines.insert(
            0,
            f"Compared with the simulated truth: all {found.true_bins:,} counts of all {spaces} "
            "spaces are equal, and none is missing.",
        )
    for line in lines:
        console.print(line, style="bold green", highlight=False)


def _show_levels(console: Console, found: Demonstration) -> None:
    from rich import box
    from rich.table import Table

    console.print("Label models, compared with the truth:", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("\nlabel model", no_wrap=True)
    names = ("\nentities", "stran-\ngers", "cover-\nage", "accu-\nracy", "macro\nF1")
    for name in (*names, "vote\naccuracy", "vote\nF1", "majority\nclass"):
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
        "Vote: majority vote of the same labelling functions. Majority class: accuracy of giving "
        "all entities the most frequent label. Strangers: entities whose true type is none of the "
        "labels, passed on by a higher level by mistake; they are left out of the scores. An "
        "entity without a label counts as wrong.\n",
        style="dim",
        highlight=False,
    )


def _show_missing(console: Console, found: Demonstration) -> None:
    for name, why in found.missing.items():
        console.print(
            f"Too little data for {name.replace('/', '.')}: {why}\n",
            style="bold yellow",
            highlight=False,
            markup=False,
        )


def _show_functions(console: Console, found: Demonstration) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console.print("Labelling functions:", highlight=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("\nlabelling function", "\nvotes for"):
        table.add_column(name, no_wrap=True)
    for name in (
        *("cover-\nage", "over-\nlaps", "con-\nflicts"),
        *("\naccuracy", "estimated\naccuracy"),
    ):
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

    console.print("Durations:")
    table = Table("stage", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("seconds", justify="right")
    table.add_column("")
    for timing in found.timings:
        table.add_row(timing.stage, f"{timing.seconds:.1f}", timing.result)
    table.add_section()
    table.add_row("total", f"{sum(t.seconds for t in found.timings):.1f}", "")
    console.print(table)


def _show_next(console: Console, settings: Settings, found: Demonstration) -> None:
    from tippers_dagster.stack.services import app_address

    span = found.span
    console.print(
        "\nNext steps\n"
        f"  make up      starts the app: {app_address(settings)}\n"
        f"               and Dagster: http://127.0.0.1:{settings.web_port}\n"
        f"  .venv/bin/tippers occupancy export --space {shlex.quote(found.tree.roots[0])} "
        f"--start {span.first} --end {span.last} --interval 900 --out campus.csv\n"
        "  .venv/bin/tippers --help",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
