"""``tippers spaces``: list the space tree, remove spaces from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tippers_dagster.occupancy.removal import Touched
    from tippers_dagster.settings import Settings

SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the commands."""
    spaces = typer.Typer(invoke_without_command=True, help="List the space tree; remove spaces.")
    spaces.callback()(show)
    spaces.command("remove")(remove)
    app.add_typer(spaces, name="spaces")


def show(
    context: typer.Context,
    below: Annotated[str | None, typer.Option(help="Only this space and those below it.")] = None,
) -> None:
    """List the space tree: id, name, room number."""
    if context.invoked_subcommand is not None:
        return
    from tippers_dagster.cli.words import counted
    from tippers_dagster.settings import get_settings
    from tippers_dagster.spaces.tree import load_tree

    tree = load_tree(get_settings())
    first = 0 if below is None else tree.position(below)
    count = len(tree) if below is None else int(tree.size[first])
    for i in range(first, first + count):
        indent = "  " * int(tree.depth[i] - tree.depth[first])
        room = f"  {tree.building_rooms[i]}" if tree.building_rooms[i] else ""
        typer.echo(f"{indent}{tree.ids[i]}  {tree.names[i]}{room}")
    if tree.left_out:
        typer.secho(
            f"{counted(len(tree.left_out), 'space')} of the source left out because ids cannot be "
            "used; see `tippers rejects`.",
            fg="yellow",
            err=True,
        )


def remove(
    space: Annotated[str, typer.Argument(help="Id of the space.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    purge: Annotated[
        bool, typer.Option("--purge", help="Delete from the lake what is no longer tracked.")
    ] = False,
) -> None:
    """Remove a space and all below it, after listing what is affected.

    Only for loaded spaces; in a campus's own database, remove them there. A removal is recorded
    like an ingest: `tippers ingest list` shows it, `tippers ingest undo` reverts it.
    """
    from tippers_dagster.occupancy.removal import remove_space, what_it_touches
    from tippers_dagster.settings import get_settings

    settings = get_settings()
    touched = what_it_touches(settings, space)
    for line in _effects(settings, touched):
        typer.echo(line)
    if not yes:
        typer.confirm("Remove?", abort=True)
    number = remove_space(settings, space, purge=purge)
    back = ", but not their tracking" if touched.tracked else ""
    typer.echo(f"Removed. `tippers ingest undo {number}` brings the spaces back{back}.")


def _effects(settings: Settings, touched: Touched) -> list[str]:
    """What a removal affects, a line each."""
    from tippers_dagster.datasets.store import list_datasets

    inside = set(touched.spaces)
    datasets = [d.name for d in list_datasets(settings) if d.space in inside]
    more = len(touched.spaces) - SHOWN
    lines = [
        f"spaces to remove: {len(touched.spaces):,}: {', '.join(touched.spaces[:SHOWN])}"
        + (f" and {more:,} more" if more > 0 else "")
    ]
    lines += [f"no longer tracked: {t.space}, {t.start} to {t.end}" for t in touched.tracked]
    if touched.partitions:
        lines.append(f"computed partitions to delete: {touched.partitions:,}")
    if touched.sessions:
        lines.append(
            f"sessions in them: {touched.sessions:,}; they stay in the source, are no longer "
            "counted, and are listed by `tippers rejects`"
        )
    if datasets:
        lines.append(f"datasets that can no longer be read: {', '.join(datasets)}")
    return lines
