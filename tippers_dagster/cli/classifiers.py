"""``tippers classifiers``: trained models and their quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tippers_dagster.settings import get_settings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tippers_dagster.learning.results import ClassifierResult, ModelResult

_SHOWN = 10
"""How many columns' importances are shown."""

Name = Annotated[str, typer.Argument(metavar="CONCEPT.CLASSIFIER", help="Such as device.kind.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    classifiers = typer.Typer(
        name="classifiers",
        no_args_is_help=True,
        help="Trained classifiers: ranking and comparison.",
    )
    classifiers.command("list")(list_)
    classifiers.command("show")(show)
    app.add_typer(classifiers)


def list_() -> None:
    """List the classifiers with the best model of each and its quality."""
    from tippers_dagster.catalog.kinds import Kind
    from tippers_dagster.catalog.store import load_catalog
    from tippers_dagster.learning.results import read_results

    settings = get_settings()
    definitions = load_catalog(settings).of_kind(Kind.CLASSIFIER, broken=True)
    table = _table("classifier", "best model", *("acc.", "F1"), "trained on", "at")
    for definition in definitions:
        found = read_results(settings, definition.ref, 1)
        table.add_row(str(definition.ref), *(_line(found[0]) if found else ("not trained",)))
    _console().print(table)


def show(name: Name) -> None:
    """Show a classifier's ranking, and compare its best model with the label model."""
    from tippers_dagster.catalog.store import load_catalog
    from tippers_dagster.learning.results import last_result
    from tippers_dagster.learning.rows import find_classifier

    settings = get_settings()
    ref = find_classifier(load_catalog(settings), name)
    result = last_result(settings, ref)
    console, details = _console(), result.details
    trained_on = {label: details["counts"]["trained"][label] for label in details["labels"]}
    console.print(
        f"{ref}: {result.best} is best, trained on {_counts(trained_on)} at a threshold of "
        f"{result.threshold:g}" + _lowered(details["steps"]),
        highlight=False,
        soft_wrap=True,
    )
    console.print(_ranking(result))
    _print_failures(console, result)
    console.print(_comparison(details["comparison"]))
    console.print(
        "The label model is always right by its own labels; only gold labels compare the two."
        if result.gold
        else "The label model is always right by its own labels: import gold labels "
        f"(`tippers gold import FILE --concept {ref.concept}`) to compare the two.",
        highlight=False,
    )
    console.print(_importances(details["importances"]))


def _line(result: ClassifierResult) -> tuple[str, ...]:
    best = result.models[0].held_out
    return (
        result.best,
        _figure(best["accuracy"]),
        _figure(best["macro_f1"]),
        f"{result.trained:,}",
        f"{result.at:%Y-%m-%d %H:%M}",
    )


def _ranking(result: ClassifierResult) -> Table:
    legend = f"held, gold: {_words(result.metric)} on held-out entities"
    table = _table("", "model", *("acc.", "bal.", "F1", "loss", "cal.", "held", "gold", "s"))
    table.caption = f"Cross-validated; {legend}, by the label model's labels and by gold labels."
    table.caption_justify = "left"
    for one in result.models:
        table.add_row(str(one.rank), *_model_row(one, result.metric))
    return table


def _model_row(one: ModelResult, metric: str) -> list[str]:
    figures = [*one.cross_validated.values(), one.held_out[metric], one.gold[metric]]
    seconds = "-" if one.seconds is None else f"{one.seconds:.1f}"
    return [one.model, *map(_figure, figures), seconds]


def _print_failures(console: Console, result: ClassifierResult) -> None:
    for one in result.models:
        if one.error is not None:
            trained_on = f"{one.model} {one.status}: {one.error}"
            console.print(trained_on, highlight=False, markup=False, soft_wrap=True)


def _comparison(comparison: Mapping[str, Any]) -> Table:
    table = _table("held out, by", "", "entities", *("accuracy", "bal. acc.", "macro F1"))
    for on in ("held_out", "gold"):
        for who in ("best", "label_model", "majority_class"):
            found = comparison[on][who]
            if found["entities"]:
                figures = (found[m] for m in ("accuracy", "balanced_accuracy", "macro_f1"))
                by = "label model" if on == "held_out" else "gold labels"
                table.add_row(by, _words(who), f"{found['entities']:,}", *map(_figure, figures))
        table.add_section()
    return table


def _importances(importances: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("column", "increase of log loss\nwhen shuffled", "+-")
    for one in importances[:_SHOWN]:
        table.add_row(one["column"], _figure(one["mean"]), _figure(one["deviation"]))
    return table


def _lowered(steps: Sequence[Mapping[str, Any]]) -> str:
    return "" if len(steps) == 1 else f", lowered from {steps[0]['threshold']:g}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {label}" for label, count in counts.items())


def _table(*columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in columns:
        text = column in ("", "model", "classifier", "best model", "column", "held out, by", "at")
        table.add_column(column, justify="left" if text else "right", no_wrap=True)
    return table


def _console() -> Console:
    from tippers_dagster.platform.terminal import table_console

    return table_console()


def _words(name: str) -> str:
    return name.replace("_", " ").replace("f1", "F1")


def _figure(value: float | None) -> str:
    """A figure as `.993`, so that tables fit into a terminal."""
    return "-" if value is None else f"{value:.3f}".removeprefix("0")
