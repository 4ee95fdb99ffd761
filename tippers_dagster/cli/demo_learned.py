"""The tables of `tippers demo` about classifiers, people and forecasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tippers_dagster.platform.text import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from tippers_dagster.demo.forecasts import ForecastResult
    from tippers_dagster.demo.run import Demonstration
    from tippers_dagster.labelling.evaluate import Scores


def show_learned(console: Console, found: Demonstration) -> None:
    """Print a table for each kind of results."""
    if found.classifiers:
        _show_classifiers(console, found)
    if found.people:
        _show_people(console, found)
    if found.identities:
        _show_identities(console, found)
    if found.forecasts is not None:
        _show_forecasts(console, found.forecasts, found)


def _table(first: str, *others: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _explain(console: Console, text: str) -> None:
    console.print(f"{text}\n", style="dim", highlight=False)


def _show_classifiers(console: Console, found: Demonstration) -> None:
    from rich.text import Text

    console.print("Classifiers and their label models, on held-out entities:", highlight=False)
    table = _table("\nmethod", "\nentities", "accu-\nracy", "macro\nF1")
    for one in found.classifiers:
        table.add_row(Text(one.name, style="bold"), f"{one.entities:,}")
        methods: dict[str, Scores] = {
            f"label model {one.label_model.partition('.')[2]}": one.by_label_model,
            **{
                f"{model} (best)" if model == one.best else model: scores
                for model, scores in one.by_model.items()
            },
            "majority class": one.by_majority_class,
        }
        for method, scores in methods.items():
            table.add_row(f"  {method}", "", f"{scores.accuracy:.3f}", f"{scores.macro_f1:.3f}")
        table.add_section()
    console.print(table)
    _explain(
        console,
        "Compared with the simulated truth. Best: by cross-validation on the label model's "
        "confident labels, without the truth.",
    )


def _show_people(console: Console, found: Demonstration) -> None:
    from rich.text import Text

    console.print("People estimated from devices, in bins of 15 minutes:", highlight=False)
    table = _table(
        *("\nmethod", "people,\nmean", "mean\nerror", "RMS\nerror"),
        *("relative\nerror", "within\ninterval"),
    )
    for level in dict.fromkeys(one.level for one in found.people):
        table.add_row(Text(level, style="bold"))
        for one in found.people:
            if one.level == level:
                table.add_row(
                    f"  {one.way}",
                    f"{one.people:,.1f}",
                    f"{one.errors.mae:.2f}",
                    f"{one.errors.rmse:.2f}",
                    "" if one.errors.relative is None else f"{one.errors.relative:.1%}",
                    "" if one.coverage is None else f"{one.coverage:.1%}",
                )
        table.add_section()
    console.print(table)
    _explain(
        console,
        "Calibrated with head counts in some spaces on every other day, and evaluated on the other "
        "days in all spaces. Errors are in people; the relative error is over occupied bins.",
    )


def _show_identities(console: Console, found: Demonstration) -> None:
    console.print(
        "People by user name, in bins of 15 minutes on the same days (means):", highlight=False
    )
    for one in found.identities:
        errors = {
            "known people + other devices": one.error,
            "all devices": one.devices_error,
            "known people, and others estimated from phones": one.estimate_error,
        }
        console.print(
            f"  {one.space}: {one.people:,.1f} people; {one.known:,.1f} known by user name, and "
            f"{one.others:,.1f} other devices. Error: "
            + ", ".join(f"{e:,.1f} ({way})" for way, e in errors.items() if e is not None),
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    console.print()


def _show_forecasts(console: Console, found: ForecastResult, all_: Demonstration) -> None:
    windows = counted(found.windows, "window")
    console.print(
        f"Backtest of forecasts, {windows} of {counted(found.horizon_days, 'day')}:",
        highlight=False,
    )
    table = _table(
        "\nmodel",
        *("cham-\npion of", "mean\nerror", "RMS\nerror", "error,\noccupied", "pinball\nloss"),
        *("within\n80 %", "within\n95 %", "\nseconds"),
    )
    for one in found.models:
        table.add_row(
            str(one["model"]),
            f"{one['champion of']}",
            *(f"{one[k]:.2f}" for k in ("mae", "rmse", "mae_occupied", "pinball")),
            *(f"{one[k]:.1%}" for k in ("coverage_80", "coverage_95")),
            f"{one['seconds']:.1f}",
        )
    console.print(table)
    tree = all_.tree
    low, middle, high = found.peak
    _explain(
        console,
        f"Forecast peak: {tree.names[tree.index[found.busiest_space]]}, "
        f"{found.busiest:%A %Y-%m-%d, %H:%M}, {middle:,.0f} devices (80 % range: {low:,.0f} to "
        f"{high:,.0f}).",
    )
