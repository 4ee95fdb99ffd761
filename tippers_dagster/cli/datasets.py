"""``tippers dataset``: named selections of occupancy."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer

from tippers_dagster.people.account import user_name
from tippers_dagster.settings import get_settings

if TYPE_CHECKING:
    from tippers_dagster.datasets.store import Dataset

Name = Annotated[str, typer.Argument(help="Name of the dataset.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    datasets = typer.Typer(
        name="dataset", no_args_is_help=True, help="Named selections of occupancy."
    )
    datasets.command("create")(create)
    datasets.command("list")(list_all)
    datasets.command("show")(show)
    datasets.command("delete")(delete)
    app.add_typer(datasets)


def create(
    name: Name,
    space: Annotated[str, typer.Option(help="Id of the space; all below it is included.")],
    start: Annotated[dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="First local day.")],
    end: Annotated[dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="The day after the last.")],
    interval: Annotated[int, typer.Option(help="Width of the bins in seconds.")],
    owner: Annotated[str | None, typer.Option(help="Whose it is; you, unless set.")] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Name a part of the occupancy, and track what it needs."""
    from tippers_dagster.datasets import store

    made = store.create(
        get_settings(),
        name,
        space=space,
        start=start.date(),
        end=end.date(),
        interval_seconds=interval,
        owner=user_name() if owner is None else owner,
        description=description,
    )
    typer.echo(f"Dataset {made.name} made; space {made.space} is tracked over its range.")
    typer.echo(f"`tippers dataset show {made.name}` tells how far it is.")


def list_all() -> None:
    """List all datasets."""
    from rich.table import Table

    from tippers_dagster.datasets import store
    from tippers_dagster.terminal import table_console

    table = Table("name", "space", "start", "end (excluded)", "interval", "owner", "description")
    for d in store.list_datasets(get_settings()):
        row = (d.name, d.space, d.start, d.end, f"{d.interval_seconds} s", d.owner, d.description)
        table.add_row(*(str(cell) for cell in row))
    if not table.row_count:
        typer.echo("There are no datasets; `tippers dataset create` makes one.")
        return
    table_console().print(table)


def show(name: Name) -> None:
    """Show a dataset, and how far its partitions are."""
    from tippers_dagster.datasets import store
    from tippers_dagster.datasets.progress import progress
    from tippers_dagster.occupancy.looking import last_looks

    settings = get_settings()
    dataset = store.get(settings, name)
    for label, value in _facts(dataset).items():
        typer.echo(f"{label:<12} {value}")
    found = progress(settings, dataset)
    for level in found.levels:
        typer.echo(f"{level.asset:<18} {level.done:,} of {level.wanted:,} partitions up to date")
    if looks := last_looks(settings):
        typer.echo(f"Source last checked: {looks[1].astimezone():%Y-%m-%d %H:%M}.")
    if not found.tracked:
        typer.echo(
            "Not all of it is tracked any more: "
            f"`tippers track --space {dataset.space} --start {dataset.start} --end {dataset.end}`"
        )


def delete(name: Name) -> None:
    """Forget a dataset's name; what it tracks and what is in the lake stay.

    Other datasets may share them: `tippers untrack` is what stops the keeping.
    """
    from tippers_dagster.datasets import store

    gone = store.delete(get_settings(), name)
    typer.echo(f"Dataset {gone.name} deleted. Its occupancy stays in the lake and tracked, as")
    typer.echo(f"others may share it; `tippers untrack --space {gone.space}` stops the keeping.")


def _facts(dataset: Dataset) -> dict[str, object]:
    return {
        "name": dataset.name,
        "space": dataset.space,
        "start": dataset.start,
        "end": f"{dataset.end} (excluded)",
        "interval": f"{dataset.interval_seconds} s",
        "owner": dataset.owner,
        "description": dataset.description,
        "created": dataset.created_at.isoformat(timespec="seconds"),
    }
