"""``tippers dataset``: named selections of occupancy."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import typer

from tippers_dagster.access.machine_user import machine_user
from tippers_dagster.settings import get_settings

if TYPE_CHECKING:
    from tippers_dagster.occupancy.datasets import Dataset

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
    space: Annotated[str, typer.Option(help="Id of the space; everything below it is included.")],
    start: Annotated[dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="First local day.")],
    end: Annotated[
        dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="Local day after the last one.")
    ],
    interval: Annotated[int, typer.Option(help="Width of the bins in seconds.")],
    owner: Annotated[str | None, typer.Option(help="Owner; default: your user name.")] = None,
    description: Annotated[str, typer.Option(help="Purpose of the dataset.")] = "",
) -> None:
    """Create a named selection of occupancy, and track its space."""
    from tippers_dagster.occupancy import datasets as store

    created = store.create(
        get_settings(),
        name,
        space=space,
        start=start.date(),
        end=end.date(),
        interval_seconds=interval,
        owner=machine_user() if owner is None else owner,
        description=description,
    )
    typer.echo(f"Dataset {created.name} created; space {created.space} is tracked over its range.")
    typer.echo(f"`tippers dataset show {created.name}` shows its progress.")


def list_all() -> None:
    """List all datasets."""
    from rich.table import Table

    from tippers_dagster.occupancy import datasets as store
    from tippers_dagster.platform.terminal import table_console

    table = Table("name", "space", "start", "end (excluded)", "interval", "owner", "description")
    for d in store.list_datasets(get_settings()):
        row = (d.name, d.space, d.start, d.end, f"{d.interval_seconds} s", d.owner, d.description)
        table.add_row(*(str(cell) for cell in row))
    if not table.row_count:
        typer.echo("There are no datasets; `tippers dataset create` creates one.")
        return
    table_console().print(table)


def show(name: Name) -> None:
    """Show a dataset and the progress of its partitions."""
    from tippers_dagster.occupancy import datasets as store
    from tippers_dagster.occupancy.dataset_progress import progress
    from tippers_dagster.occupancy.source_checks import last_checked

    settings = get_settings()
    dataset = store.get(settings, name)
    for label, value in _facts(dataset).items():
        typer.echo(f"{label:<12} {value}")
    found = progress(settings, dataset)
    for level in found.levels:
        typer.echo(f"{level.asset:<18} {level.done:,} of {level.wanted:,} partitions up to date")
    if looks := last_checked(settings):
        typer.echo(f"Source last checked: {looks[1].astimezone():%Y-%m-%d %H:%M}.")
    if not found.tracked:
        typer.echo(
            "Parts of it are no longer tracked. To track them: "
            f"`tippers track --space {dataset.space} --start {dataset.start} --end {dataset.end}`."
        )


def delete(name: Name) -> None:
    """Delete a dataset; its occupancy stays in the lake and tracked, as others may share it.

    `tippers untrack` stops tracking it.
    """
    from tippers_dagster.occupancy import datasets as store

    deleted = store.delete(get_settings(), name)
    typer.echo(f"Dataset {deleted.name} deleted. Its occupancy stays in the lake and tracked, as")
    typer.echo(f"others may share it; `tippers untrack --space {deleted.space}` stops tracking it.")


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
