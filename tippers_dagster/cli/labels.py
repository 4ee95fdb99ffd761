"""``tippers labels``: the labels of label models, and explanations of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tippers_dagster.catalog.window import Read
from tippers_dagster.platform.terminal import table_console
from tippers_dagster.platform.text import counted
from tippers_dagster.settings import get_settings

if TYPE_CHECKING:
    from rich.table import Table

    from tippers_dagster.labelling.explanations import Explanation
    from tippers_dagster.labelling.kept_windows import KeptWindow

_FUNCTION_COLUMNS = (
    "labelling function",
    "polarity",
    "coverage",
    "overlaps",
    "conflicts",
    "correct",
    "incorrect",
    "accuracy on gold",
    "learned weight",
)

LabelModel = Annotated[
    str, typer.Argument(metavar="CONCEPT.LABEL_MODEL", help="Such as device.device_type.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    labels = typer.Typer(
        name="labels",
        no_args_is_help=True,
        help="Results of label models: status, explanation and export.",
    )
    for command in (show, why, export, windows, compute):
        labels.command(command.__name__)(command)
    app.add_typer(labels)


def show(label_model: LabelModel) -> None:
    """Show the number of entities per label, and the votes of each labelling function."""
    from tippers_dagster.automation.state import load_states
    from tippers_dagster.catalog.store import load_catalog
    from tippers_dagster.labelling.explanations import find_label_model
    from tippers_dagster.labelling.labels import NotLabelled

    settings = get_settings()
    catalog = load_catalog(settings)
    ref = find_label_model(catalog, label_model)
    state = load_states(settings).get(ref.asset_name)
    if state is None or state.version is None:
        raise NotLabelled(
            f"{ref} has no labels yet.", f"Compute them with `tippers pipeline materialize {ref}`."
        )
    typer.echo(
        f"{ref}: {counted(state.rows or 0, 'entity', 'entities')}, "
        f"{state.details['coverage']:.1%} with a vote"
    )
    if (read := Read.in_details(state.details)) is not None:
        typer.echo(f"Log of {read}")
    counts = state.details["classes"]
    for name in (*catalog.model_labels(ref), "abstain", "tie"):
        typer.echo(f"{name:<20} {counts[name]:>12,}")
    table_console().print(_table(state.details["functions"]))
    gold = state.details["gold"]
    if gold:
        typer.echo(
            f"Gold labels: {gold['entities']:,}; accuracy {_share(gold['accuracy'])} "
            f"(majority vote {_share(gold['majority_vote_accuracy'])}), "
            f"macro F1 {_share(gold['macro_f1'])}"
        )


def why(
    label_model: LabelModel,
    entity: Annotated[str, typer.Argument(help="The entity's key, such as its MAC address.")],
) -> None:
    """Explain an entity's label: votes, the rows behind them, accuracies, probabilities."""
    from tippers_dagster.catalog.store import load_catalog
    from tippers_dagster.labelling.explanations import explain

    settings = get_settings()
    found = explain(settings, load_catalog(settings), label_model, entity)
    for line in _summary(found):
        typer.echo(line)
    table_console().print(_votes(found))
    for vote in found.votes:
        row = "the rule has no row for this entity" if vote.row is None else _row(vote.row)
        typer.echo(f"{vote.name}: {vote.rule}: {row}")


def export(
    label_model: LabelModel,
    file: Annotated[Path, typer.Argument(help="A file ending in .csv or .parquet.")],
) -> None:
    """Write all labels, with the entities' keys, to a file."""
    from tippers_dagster.catalog.store import load_catalog
    from tippers_dagster.labelling.explanations import find_label_model
    from tippers_dagster.labelling.labels import read_labels
    from tippers_dagster.platform.table_files import write_table

    settings = get_settings()
    ref = find_label_model(load_catalog(settings), label_model)
    rows = read_labels(settings, ref.concept, ref.name)
    write_table(rows, file)
    typer.echo(f"{counted(rows.num_rows, 'label')} written to {file}.")


def windows(label_model: LabelModel) -> None:
    """List the windows of the log whose labels are kept, the latest first."""
    from tippers_dagster.catalog.store import load_catalog
    from tippers_dagster.labelling.explanations import find_label_model
    from tippers_dagster.labelling.kept_windows import kept_windows

    settings = get_settings()
    catalog = load_catalog(settings)
    ref = find_label_model(catalog, label_model)
    kept = kept_windows(settings, ref.concept, ref.name)
    if not kept:
        typer.echo(f"{ref} keeps no windows; its own is: {catalog.window(ref)}.")
    for window in kept:
        typer.echo(_window(window))


def compute(
    label_model: LabelModel,
    window_end: Annotated[
        dt.datetime,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="The date by which the window ends: it ends with the last time chunk that does.",
        ),
    ],
) -> None:
    """Compute the labels of a past window, and keep them; the current labels stay as they are."""
    from tippers_dagster.catalog.store import load_catalog
    from tippers_dagster.labelling.explanations import find_label_model
    from tippers_dagster.labelling.past_windows import label_past_window

    settings = get_settings()
    catalog = load_catalog(settings)
    ref = find_label_model(catalog, label_model)
    typer.echo(_window(label_past_window(settings, catalog, ref, window_end.date())))
    typer.echo("Occupancy by label counts with them when it is next computed.")


def _window(window: KeptWindow) -> str:
    return (
        f"{window.read.start} to {window.read.end - dt.timedelta(days=1)}  "
        f"{window.read.window!s:<16} {counted(window.entities, 'entity', 'entities'):>16}  "
        f"{window.at:%Y-%m-%d %H:%M} UTC"
    )


def _summary(found: Explanation) -> list[str]:
    answer = (
        found.label
        or {"abstain": "no function voted", "tie": "two labels are equally likely"}[found.outcome]
    )
    known = {n: p for n, p in found.probabilities.items() if p is not None}
    lines = [f"{found.entity} is {answer}" if found.label else f"{found.entity}: {answer}"]
    if known:
        lines.append("posterior     " + ", ".join(f"{n} {p:.1%}" for n, p in known.items()))
    before = ", ".join(f"{name} {share:.1%}" for name, share in found.class_balance.items())
    lines.append(f"prior         {before}")
    lines.append(f"majority vote {found.majority_label or 'none'}")
    if found.gold_label is not None:
        lines.append(f"gold label    {found.gold_label}")
    return lines


def _votes(found: Explanation) -> Table:
    from rich.table import Table

    table = Table("labelling function", "vote", "est. accuracy", "odds for its vote")
    for vote in found.votes:
        table.add_row(vote.name, vote.vote or "-", _share(vote.weight), _odds(vote.evidence))
    return table


def _odds(evidence: Mapping[str, float]) -> str:
    """How much more likely the vote makes its label than the next one."""
    ranked = sorted(evidence.items(), key=lambda item: item[1], reverse=True)
    if len(ranked) < 2:
        return "-"
    (first, most), (second, next_) = ranked[:2]
    return f"{first} x {min(exp(min(most - next_, 20.0)), 1e6):,.1f} over {second}"


def _row(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_cell(value)}" for name, value in list(row.items())[1:])


def _cell(value: Any) -> str:
    if value is None:
        return "null"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(records: list[dict[str, Any]]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(*_FUNCTION_COLUMNS, box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in table.columns:
        column.overflow = "fold"
    table.columns[0].min_width = max(len(str(r[_FUNCTION_COLUMNS[0]])) for r in records)
    for record in records:
        cells = (record[column] for column in _FUNCTION_COLUMNS)
        table.add_row(*("-" if cell is None else _cell(cell) for cell in cells))
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
