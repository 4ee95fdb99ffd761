"""``tippers spaces``: list the space tree, remove spaces from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tippers_dagster.occupancy.removal import RemovalEffects
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
    below: Annotated[
        str | None, typer.Option(help="Only this space and everything below it.")
    ] = None,
) -> None:
    """List the space tree: id, name, room number."""
    if context.invoked_subcommand is not None:
        return
    from tippers_dagster.campus.spaces.tree import load_tree
    from tippers_dagster.platform.text import counted
    from tippers_dagster.settings import get_settings

    tree = load_tree(get_settings())
    first = 0 if below is None else tree.position(below)
    count = len(tree) if below is None else int(tree.size[first])
    for i in range(first, first + count):
        indent = "  " * int(tree.depth[i] - tree.depth[first])
        room = f"  {tree.building_rooms[i]}" if tree.building_rooms[i] else ""
        typer.echo(f"{indent}{tree.ids[i]}  {tree.names[i]}{room}")
    if tree.left_out:
        typer.secho(
            f"{counted(len(tree.left_out), 'space')} of the source left out because of unusable "
            "ids; see `tippers rejects`.",
            fg="yellow",
            err=True,
        )


def remove(
    space: Annotated[str, typer.Argument(help="Id of the space.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    purge: Annotated[
        bool, typer.Option("--purge", help="Delete untracked occupancy from the lake.")
    ] = False,
) -> None:
    """Remove a space and everything below it, after listing what is affected.

    Works for loaded spaces only; remove those of a campus's own database there. A removal is
    recorded like an ingest: `tippers ingest list` shows it, `tippers ingest undo` reverts it.
    """
    from tippers_dagster.occupancy.removal import removal_effects, remove_space
    from tippers_dagster.settings import get_settings

    settings = get_settings()
    effects = removal_effects(settings, space)
    for line in _effects(settings, effects):
        typer.echo(line)
    if not yes:
        typer.confirm("Remove?", abort=True)
    number = remove_space(settings, space, purge=purge)
    except_tracking = ", but not their tracking" if effects.tracked else ""
    typer.echo(f"Removed. `tippers ingest undo {number}` restores the spaces{except_tracking}.")


def _effects(settings: Settings, effects: RemovalEffects) -> list[str]:
    """The effects of a removal, one per line."""
    from tippers_dagster.occupancy.datasets import list_datasets

    inside = set(effects.spaces)
    datasets = [d.name for d in list_datasets(settings) if d.space in inside]
    more = len(effects.spaces) - SHOWN
    lines = [
        f"spaces to remove: {len(effects.spaces):,}: {', '.join(effects.spaces[:SHOWN])}"
        + (f" and {more:,} more" if more > 0 else "")
    ]
    lines += [f"no longer tracked: {t.space}, {t.start} to {t.end}" for t in effects.tracked]
    if effects.partitions:
        lines.append(f"computed partitions to delete: {effects.partitions:,}")
    if effects.sessions:
        lines.append(
            f"sessions in them: {effects.sessions:,}; they stay in the source, are no longer "
            "counted, and are listed by `tippers rejects`"
        )
    if datasets:
        lines.append(f"datasets that can no longer be read: {', '.join(datasets)}")
    return lines
