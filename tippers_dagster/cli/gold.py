"""``tippers gold``: known labels, and the scores of label models on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tippers_dagster.access.machine_user import machine_user
from tippers_dagster.platform.text import counted
from tippers_dagster.settings import get_settings


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    gold = typer.Typer(
        name="gold",
        no_args_is_help=True,
        help="Gold labels, and the accuracy of label models on them.",
    )
    for command in (delete, export, scores):
        gold.command(command.__name__)(command)
    gold.command("import")(import_)
    gold.command("list")(list_all)
    app.add_typer(gold)


def import_(
    file: Annotated[
        Path, typer.Argument(help="CSV or Parquet with key, label and optionally concept.")
    ],
    concept: Annotated[
        str | None, typer.Option(help="Concept of all labels; default: the file's column concept.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="Author of the labels; default: you.")] = None,
) -> None:
    """Import gold labels from a file, and score the current label models with them."""
    from tippers_dagster.catalog.kinds import Kind
    from tippers_dagster.catalog.store import load_catalog
    from tippers_dagster.labelling.gold import import_gold, rescore

    settings = get_settings()
    catalog = load_catalog(settings)
    labels = {d.ref.name: catalog.labels(d.ref.name) for d in catalog.of_kind(Kind.CONCEPT)}
    who = machine_user() if by is None else by
    for done in import_gold(settings, file, labels, by=who, concept=concept):
        typer.echo(
            f"{done.concept}: {counted(done.rows, 'gold label')}, {done.new:,} new, "
            f"{done.changed:,} changed."
        )
        models = [d.ref for d in catalog.of_kind(Kind.LABEL_MODEL)]
        names = [ref.name for ref in models if ref.concept == done.concept]
        for name, accuracy in rescore(settings, done.concept, names).items():
            typer.echo(f"{done.concept}.{name}: accuracy {accuracy:.3f} on all gold labels")


def list_all() -> None:
    """Count the gold labels of every concept."""
    from tippers_dagster.labelling.gold import count_gold

    counts = count_gold(get_settings())
    for concept, label, count in counts:
        typer.echo(f"{concept:<20} {label:<20} {count:>10,}")
    if not counts:
        typer.echo("There are no gold labels yet; add some with `tippers gold import`.")


def delete(
    concept: Annotated[str, typer.Argument(help="Concept of the gold labels.")],
    entity: Annotated[
        list[str] | None, typer.Option(help="Only this entity; can be repeated.")
    ] = None,
) -> None:
    """Remove gold labels of a concept."""
    from tippers_dagster.labelling.gold import delete_gold

    gone = delete_gold(get_settings(), concept, entity)
    typer.echo(f"{counted(gone, 'gold label')} of {concept} removed.")


def export(
    concept: Annotated[str, typer.Argument(help="Concept of the gold labels.")],
    file: Annotated[Path, typer.Argument(help="A file ending in .csv or .parquet.")],
) -> None:
    """Write the gold labels of a concept to a file, in the format of `tippers gold import`."""
    from tippers_dagster.labelling.gold import read_gold
    from tippers_dagster.platform.table_files import write_table

    gold = read_gold(get_settings(), concept)
    rows = gold.rename_columns(["key", *gold.column_names[1:]])
    write_table(rows, file)
    typer.echo(f"{counted(rows.num_rows, 'gold label')} written to {file}.")


def scores(
    label_model: Annotated[
        str, typer.Argument(metavar="CONCEPT.LABEL_MODEL", help="Such as device.device_type.")
    ],
) -> None:
    """Show a label model's scores on the gold labels over time, newest first."""
    from rich.table import Table

    from tippers_dagster.catalog.store import load_catalog
    from tippers_dagster.labelling.explanations import find_label_model
    from tippers_dagster.labelling.gold import scores as read_scores
    from tippers_dagster.platform.terminal import table_console

    settings = get_settings()
    ref = find_label_model(load_catalog(settings), label_model)
    found = read_scores(settings, ref.concept, ref.name)
    if not found:
        typer.echo(f"{ref} has no scores: none of its entities has a gold label.")
        return
    table = Table(
        "when", "version", "entities", "accuracy", "majority vote", "macro F1", "calibration error"
    )
    for s in found:
        when = s["scored_at"].isoformat(sep=" ", timespec="seconds")
        numbers = (s[n] for n in ("accuracy", "majority_accuracy", "macro_f1", "calibration_error"))
        entities = f"{s['entities']:,}"
        table.add_row(when, s["version"][:8], entities, *(f"{number:.3f}" for number in numbers))
    table_console().print(table)
    _confusion(found[0]["details"])


def _confusion(details: dict[str, list[object]]) -> None:
    """The newest confusion matrix: a line per true label."""
    from rich.table import Table

    from tippers_dagster.platform.terminal import table_console

    labels, confusion = details["labels"], details["confusion"]
    table = Table("gold label", *(str(label) for label in labels), "none")
    for label, row in zip(labels, confusion, strict=True):
        assert isinstance(row, list)
        table.add_row(str(label), *(f"{count:,}" for count in row))
    table_console().print(table)
