"""``tippers forecast``: forecasts of spaces, and their errors in backtests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tippers_dagster.settings import get_settings

if TYPE_CHECKING:
    from rich.table import Table

    from tippers_dagster.forecasting.reading import Score

Name = Annotated[
    str, typer.Argument(metavar="FORECASTER", help="Name of the forecaster, such as campus.")
]

_FIGURES = {
    "mae": "MAE",
    "rmse": "RMSE",
    "mae_occupied": "occupied",
    "pinball": "pinball",
    "coverage_80": "80 %",
    "coverage_95": "95 %",
}
"""The figures of a model, and their column headings."""


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    forecast = typer.Typer(
        name="forecast",
        no_args_is_help=True,
        help="Forecasts of occupancy, and their backtests.",
    )
    forecast.command("list")(list_)
    for command in (show, export, evaluate):
        forecast.command(command.__name__)(command)
    app.add_typer(forecast)


def list_() -> None:
    """List the forecasters, with their history and their numbers of spaces and forecasts."""
    from rich.table import Table

    from tippers_dagster.forecasting.reading import forecast_spaces, forecaster_names, trainings
    from tippers_dagster.platform.terminal import table_console

    settings = get_settings()
    names = forecaster_names(settings)
    if not names:
        typer.echo("No forecaster is defined; docs/forecasts.md explains how.")
        return
    table = Table("forecaster", "last backtest", "history", "spaces", "spaces with a forecast")
    for name in names:
        training_runs = trainings(settings, name)
        figures = (
            (
                f"{training_runs[0].trained_at:%Y-%m-%d %H:%M} UTC",
                f"{training_runs[0].first_day} to {training_runs[0].last_day}",
                str(training_runs[0].details["spaces"]),
            )
            if training_runs
            else ("none yet", "", "")
        )
        table.add_row(name, *figures, str(len(forecast_spaces(settings, name))))
    table_console().print(table)


def show(
    name: Name,
    space: Annotated[
        str | None, typer.Option(help="Id of a space: show all its models instead.")
    ] = None,
) -> None:
    """Show the champion of each space with its backtest scores, or all models of one space."""
    from tippers_dagster.forecasting.reading import (
        backtest_scores,
        champions,
        changes_since_last,
        find_forecaster,
        last_training,
    )
    from tippers_dagster.platform.terminal import table_console
    from tippers_dagster.platform.text import counted

    settings = get_settings()
    find_forecaster(settings, name)
    training = last_training(settings, name)
    details = training.details
    typer.echo(
        f"{name}: backtest of {details['windows']} x {details['horizon_days']} days, history "
        f"{training.first_day} to {training.last_day} (excluded)"
    )
    if space is not None:
        table_console().print(_scores(backtest_scores(settings, name, space), "model"))
        return
    table_console().print(_scores([c.score for c in champions(settings, name)], "space"))
    table_console().print(models_table(details["figures"]))
    for model, why in {**details["left_out"], **details["failed"]}.items():
        typer.secho(f"{model} was not tried on every space: {why}", fg="yellow", err=True)
    changes = changes_since_last(settings, name)
    if changes.before is not None:
        typer.echo(
            f"{counted(len(changes.champions), 'champion')} changed since the backtest of "
            f"{changes.before.trained_at:%Y-%m-%d %H:%M} UTC"
        )
        for change in changes.champions[:20]:
            typer.echo(f"  {change.space}: {change.before or 'none'} -> {change.after or 'none'}")


def export(
    name: Name,
    space: Annotated[str, typer.Option(help="Id of the space.")],
    out: Annotated[Path, typer.Option(help="FILE.csv or FILE.parquet; replaced if it exists.")],
) -> None:
    """Write the forecast of a space to a file.

    Columns: space_id, interval_begin_time (with its offset in CSV), q025, q10, q50 (the forecast),
    q90, q975. The file is written completely or not at all.
    """
    from tippers_dagster.forecasting.reading import find_forecaster, read_forecast
    from tippers_dagster.occupancy.export import write_export
    from tippers_dagster.platform.table_files import check_writable

    check_writable(out)
    settings = get_settings()
    found = read_forecast(settings, find_forecaster(settings, name), space)
    write_export(space, found.rows, out)
    typer.echo(f"{found.rows.num_rows:,} rows written to {out}, forecast by {found.model}")


def evaluate(
    folder: Annotated[Path, typer.Argument(help="Folder of CSV files, one per space.")],
    model: Annotated[
        list[str] | None, typer.Option(help="A model to try; repeatable. Default: all.")
    ] = None,
    windows: Annotated[
        int, typer.Option(min=1, max=26, help="Number of backtest windows, a horizon apart.")
    ] = 4,
    horizon: Annotated[int, typer.Option(min=1, max=92, help="Days forecast per window.")] = 7,
) -> None:
    """Backtest the models on files of counts: spaceid, starttime, endtime, occupancy."""
    from tippers_dagster.forecasting.files import evaluate_files
    from tippers_dagster.platform.terminal import table_console

    found = evaluate_files(get_settings(), folder, model or (), windows, horizon)
    typer.echo(
        f"Spaces: {found.spaces}, {found.empty} of them always empty; {found.first_day} to "
        f"{found.last_day} (excluded); missing bins: {found.missing:,}; backtest of "
        f"{found.windows} x {horizon} days"
    )
    table_console().print(models_table(found.records))
    for tried, why in found.troubles.items():
        typer.secho(f"{tried} was not tried on every space: {why}", fg="yellow", err=True)


def _scores(scores: list[Score], first: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    columns = [first, *(["model"] if first == "space" else []), *_FIGURES.values(), "score"]
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in columns:
        table.add_column(heading, no_wrap=True)
    for score in scores:
        names = [score.space, score.model] if first == "space" else [_marked(score)]
        figures = [getattr(score, figure) for figure in (*_FIGURES, "score")]
        table.add_row(*names, *map(_cell, figures))
    return table


def _marked(score: Score) -> str:
    return f"{score.model} *" if score.champion else score.model


def models_table(records: list[dict[str, Any]]) -> Table:
    """A rich table of a backtest's models over all its spaces."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    columns = {"champion of": "wins", **_FIGURES, "seconds": "CPU s"}
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for heading in ("all spaces", *columns.values()):
        table.add_column(heading, no_wrap=True)
    for record in records:
        table.add_row(record["model"], *(_cell(record[column]) for column in columns))
    return table


def _cell(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
