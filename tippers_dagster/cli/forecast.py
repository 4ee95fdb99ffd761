"""``tippers forecast``: what is expected of spaces, and how good such forecasts were."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tippers_dagster.settings import get_settings

if TYPE_CHECKING:
    from rich.table import Table

    from tippers_dagster.forecasts.reading import Score

Name = Annotated[str, typer.Argument(metavar="FORECASTER", help="Its name, such as campus.")]

_FIGURES = {
    "mae": "MAE",
    "rmse": "RMSE",
    "mae_occupied": "occupied",
    "pinball": "pinball",
    "coverage_80": "80 %",
    "coverage_95": "95 %",
}
"""The figures of a model, and what stands above them."""


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
    """List the forecasters: what they forecast, and from which history."""
    from rich.table import Table

    from tippers_dagster.forecasts.reading import forecast_spaces, forecaster_names, trainings
    from tippers_dagster.terminal import table_console

    settings = get_settings()
    names = forecaster_names(settings)
    if not names:
        typer.echo("No forecaster is defined; docs/forecasts.md says how.")
        return
    table = Table("forecaster", "backtest", "history", "spaces", "forecasts of")
    for name in names:
        kept = trainings(settings, name)
        made = (
            (
                f"{kept[0].trained_at:%Y-%m-%d %H:%M} UTC",
                f"{kept[0].first_day} to {kept[0].last_day}",
                str(kept[0].details["spaces"]),
            )
            if kept
            else ("none yet", "", "")
        )
        table.add_row(name, *made, str(len(forecast_spaces(settings, name))))
    table_console().print(table)


def show(
    name: Name,
    space: Annotated[str | None, typer.Option(help="Id of a space: its models.")] = None,
) -> None:
    """Show the champion of each space, or all models of one, by the backtest."""
    from tippers_dagster.forecasts.reading import (
        backtest_scores,
        champions,
        find_forecaster,
        last_training,
        what_changed,
    )
    from tippers_dagster.terminal import table_console

    settings = get_settings()
    find_forecaster(settings, name)
    training = last_training(settings, name)
    told = training.details
    typer.echo(
        f"{name}: {told['windows']} x {told['horizon_days']} days forecast from what was known "
        f"before, history {training.first_day} to {training.last_day} (excluded)"
    )
    if space is not None:
        table_console().print(_scores(backtest_scores(settings, name, space), "model"))
        return
    table_console().print(_scores([c.score for c in champions(settings, name)], "space"))
    table_console().print(models_table(told["figures"]))
    for model, why in {**told["left_out"], **told["failed"]}.items():
        typer.secho(f"{model} was not tried everywhere: {why}", fg="yellow", err=True)
    changes = what_changed(settings, name)
    if changes.before is not None:
        typer.echo(
            f"Since the backtest of {changes.before.trained_at:%Y-%m-%d %H:%M} UTC "
            f"{len(changes.champions)} champions changed"
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
    q90, q975. The file appears whole or not at all.
    """
    from tippers_dagster.forecasts.reading import find_forecaster, read_forecast
    from tippers_dagster.occupancy.export import write_export, writer_of

    writer_of(out)
    settings = get_settings()
    found = read_forecast(settings, find_forecaster(settings, name), space)
    write_export(space, found.rows, out)
    typer.echo(f"{found.rows.num_rows:,} rows written to {out}, forecast by {found.model}")


def evaluate(
    folder: Annotated[Path, typer.Argument(help="Of CSV files, one for each space.")],
    model: Annotated[
        list[str] | None, typer.Option(help="A model to try; several times for several.")
    ] = None,
    windows: Annotated[int, typer.Option(min=1, max=26, help="Origins, a horizon apart.")] = 4,
    horizon: Annotated[int, typer.Option(min=1, max=92, help="Days forecast from each.")] = 7,
) -> None:
    """Try the models on files of counts: spaceid, starttime, endtime, occupancy."""
    from tippers_dagster.forecasts.files import evaluate_files
    from tippers_dagster.terminal import table_console

    found = evaluate_files(get_settings(), folder, model or (), windows, horizon)
    typer.echo(
        f"{found.spaces} spaces ({found.empty} in which nobody ever was), {found.first_day} to "
        f"{found.last_day} (excluded), {found.missing:,} bins missing; {found.windows} x "
        f"{horizon} days"
    )
    table_console().print(models_table(found.records))
    for tried, why in found.troubles.items():
        typer.secho(f"{tried} was not tried everywhere: {why}", fg="yellow", err=True)


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
    """The models of a backtest over all its spaces, as rich shows it."""
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
