"""``tippers models`` and ``tippers predict``: versions of models, and their predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tippers_dagster.access.machine_user import machine_user
from tippers_dagster.platform.text import counted
from tippers_dagster.settings import get_settings

if TYPE_CHECKING:
    from rich.table import Table

    from tippers_dagster.learning.registry import Decision, RegisteredModel

Name = Annotated[str, typer.Argument(metavar="CONCEPT.CLASSIFIER", help="Such as device.kind.")]

_METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss")
"""The metrics shown, on the held-out entities."""


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    models = typer.Typer(
        name="models", no_args_is_help=True, help="Registered models and their versions."
    )
    models.command("list")(list_all)
    models.command("show")(show)
    models.command("promote")(promote)
    models.command("roll-back")(roll_back)
    models.command("export")(export)
    app.add_typer(models)
    app.command("predict")(predict)


def list_all() -> None:
    """List the classifiers with their versions."""
    from rich.table import Table

    from tippers_dagster.catalog.kinds import Kind
    from tippers_dagster.catalog.store import load_catalog
    from tippers_dagster.learning.naming import registered_name
    from tippers_dagster.learning.registry import registered_models
    from tippers_dagster.platform.terminal import table_console

    settings = get_settings()
    catalog = load_catalog(settings)
    refs = [d.ref for d in catalog.of_kind(Kind.CLASSIFIER, broken=True)]
    if not refs:
        typer.echo("There is no classifier yet; add one with `tippers definitions import`.")
        return
    found = {m.name: m for m in registered_models(settings, [registered_name(r) for r in refs])}
    table = Table("classifier", "versions", "champion", "challenger", "trained")
    for ref in refs:
        table.add_row(str(ref), *_row(found.get(registered_name(ref))))
    table_console().print(table)


def show(name: Name) -> None:
    """Show every version of a model, and every decision about it."""
    from tippers_dagster.learning.registry import decisions, registered_model
    from tippers_dagster.platform.terminal import table_console

    settings = get_settings()
    model = registered_model(settings, name)
    table_console().print(_versions(model))
    log = decisions(settings, name)
    if log:
        table_console().print(_decisions(log))
    else:
        typer.echo("No decision about it yet.")


def promote(
    name: Name, version: Annotated[int, typer.Argument(help="The version to make champion.")]
) -> None:
    """Make a version champion; the model's predictions are then computed again."""
    from tippers_dagster.learning.registry import promote as make_champion

    made = make_champion(get_settings(), name, version, machine_user())
    typer.echo(f"Version {made.version} of {name} is champion; previously: {_before(made)}.")


def roll_back(name: Name) -> None:
    """Make the previous champion champion again."""
    from tippers_dagster.learning.registry import roll_back as go_back

    made = go_back(get_settings(), name, machine_user())
    typer.echo(f"Version {made.version} of {name} is champion again; previously: {_before(made)}.")


def export(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Example: device.kind or forecaster.campus.")
    ],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="A folder that does not exist yet.")],
    version: Annotated[
        int | None, typer.Option(help="Default: the champion; for a forecaster the newest.")
    ] = None,
) -> None:
    """Write a checked version of a model to a folder, for serving.

    Its file is compared with the digest recorded at registration. The README in the folder explains
    how to load the model, and how to serve it with MLflow.
    """
    settings = get_settings()
    if name.startswith("forecaster."):
        from tippers_dagster.forecasting.registered import export_forecaster, newest_version

        chosen = newest_version(settings, name) if version is None else version
        export_forecaster(settings, name, chosen, to)
    else:
        from tippers_dagster.learning.export import export_classifier
        from tippers_dagster.learning.registry import champion_of

        chosen = champion_of(settings, name).number if version is None else version
        export_classifier(settings, name, chosen, to)
    typer.echo(f"Version {chosen} of {name} written to {to}; its README.md explains serving.")


def predict(
    classifier: Name,
    entity: Annotated[
        list[str] | None, typer.Option(help="Key of an entity in the index; can be repeated.")
    ] = None,
    in_: Annotated[
        Path | None,
        typer.Option(
            "--in", help="Predict rows of features from a file ending in .csv or .parquet instead."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A file ending in .csv or .parquet; default: the terminal.")
    ] = None,
) -> None:
    """Predict with a classifier's champion and the current features; nothing else is written."""
    from tippers_dagster.catalog.store import load_catalog
    from tippers_dagster.errors import BadInput
    from tippers_dagster.learning.rows import find_classifier, predict_by_champion, read_rows
    from tippers_dagster.platform.table_files import write_table

    if entity and in_ is not None:
        raise BadInput("Give --entity or --in, not both.")
    settings = get_settings()
    catalog = load_catalog(settings)
    ref = find_classifier(catalog, classifier)
    rows = None if in_ is None else read_rows(in_)
    found = predict_by_champion(settings, catalog, ref, rows=rows, entities=entity or ())
    if out is not None:
        write_table(found, out)
        typer.echo(f"{counted(found.num_rows, 'prediction')} written to {out}.")
        return
    _print_csv(found)


def _print_csv(rows: Any) -> None:
    from tippers_dagster.platform.table_files import table_bytes

    typer.echo(table_bytes(rows, "csv").decode(), nl=False)


def _row(model: RegisteredModel | None) -> tuple[str, str, str, str]:
    if model is None or not model.versions:
        return ("none", "-", "-", "-")
    newest = model.versions[0]
    marked = (model.champion, model.challenger)
    champion, challenger = ("-" if version is None else str(version.number) for version in marked)
    created = f"{newest.created_at:%Y-%m-%d %H:%M} UTC"
    return (str(len(model.versions)), champion, challenger, created)


def _versions(model: RegisteredModel) -> Table:
    from rich.table import Table

    titles = [name.replace("_", " ") for name in _METRICS]
    table = Table("version", "aliases", "model", "trained (UTC)", *titles, "Dagster run")
    for version in model.versions:
        figures = [_figure(version.metrics.get(f"held_out_{name}")) for name in _METRICS]
        when = f"{version.created_at:%Y-%m-%d %H:%M}"
        run = version.dagster_run[:8] or "-"
        best = version.params.get("best", "-")
        aliases = ", ".join(version.aliases)
        table.add_row(str(version.number), aliases, best, when, *figures, run)
    return table


def _decisions(log: list[Decision]) -> Table:
    from rich.table import Table

    table = Table("when (UTC)", "version", "decision", "before", "by", "why")
    for made in log:
        when = f"{made.at:%Y-%m-%d %H:%M:%S}"
        words = made.decision.replace("_", " ")
        cells = (when, str(made.version), words, _before(made), made.by, made.reason)
        table.add_row(*cells)
    return table


def _before(made: Decision) -> str:
    return "none" if made.champion_before is None else str(made.champion_before)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
