"""`tippers backup` and `tippers restore`."""

from __future__ import annotations

from pathlib import Path

import typer

from tippers_dagster.errors import BadInput
from tippers_dagster.platform.text import counted

PASSPHRASE = typer.Option(
    None, "--passphrase-file", help="File with the passphrase that encrypts the keys."
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("backup")(backup)
    app.command("restore")(restore)


def backup(
    folder: Path = typer.Argument(help="A folder that does not exist yet."),
    passphrase_file: Path | None = PASSPHRASE,
    with_keys: bool = typer.Option(
        False, "--with-keys", help="Include the keys readable: whoever has the backup has them."
    ),
    without_keys: bool = typer.Option(
        False, "--without-keys", help="Leave the keys out: restoring needs them from elsewhere."
    ),
) -> None:
    """Copy warehouse, lake, stores and keys to a new folder, while the deployment runs."""
    from tippers_dagster.backup.keys import read_passphrase
    from tippers_dagster.backup.making import KeysIncluded, make_backup
    from tippers_dagster.settings import get_settings

    if sum((passphrase_file is not None, with_keys, without_keys)) != 1:
        raise BadInput(
            "Say what happens to the keys, without which a backup cannot be used.",
            "Choose one: --passphrase-file FILE (encrypted), --with-keys (readable), or "
            "--without-keys (keep them elsewhere).",
        )
    keys: KeysIncluded = "readable" if with_keys else "none" if without_keys else "encrypted"
    passphrase = None if passphrase_file is None else read_passphrase(passphrase_file)
    made = make_backup(get_settings(), folder, keys, passphrase, typer.echo)
    manifest = made.manifest
    rows = sum(t.rows for copy in manifest.databases.values() for t in copy.tables)
    files = len(manifest.lake) + len(manifest.artifacts or ())
    typer.echo(
        f"{folder}: {counted(rows, 'row')}, {counted(files, 'file')}, {made.bytes / 1e6:,.1f} MB."
    )
    void = manifest.void
    number = len(void.partitions) + len(void.labelled) + len(void.assets)
    if number:
        typer.secho(
            f"Being replaced just now, and computed again after a restore: {number:,}.", fg="yellow"
        )
    if manifest.warehouse.left_out:
        typer.secho(f"Left out: {', '.join(manifest.warehouse.left_out)}", fg="yellow")
    if manifest.mlflow is None:
        typer.secho(
            "MLflow's server is not included: set TIPPERS_MLFLOW_DATABASE_URL and "
            "TIPPERS_MLFLOW_ARTIFACTS_URL.",
            fg="yellow",
        )
    if keys == "none":
        typer.secho(
            "Without the keys. Keep TIPPERS_DEVICE_KEY and TIPPERS_SECRETS_KEYS, or the files "
            "device_key and secrets_keys of the home, elsewhere.",
            fg="yellow",
        )


def restore(
    folder: Path = typer.Argument(help="The folder of a backup."),
    passphrase_file: Path | None = PASSPHRASE,
) -> None:
    """Restore a backup into an empty home, or an empty deployment."""
    from tippers_dagster.backup.keys import read_passphrase
    from tippers_dagster.backup.restoring import restore as run
    from tippers_dagster.settings import get_settings

    passphrase = None if passphrase_file is None else read_passphrase(passphrase_file)
    done = run(get_settings(), folder, passphrase, typer.echo)
    rows = ", ".join(f"{name}: {counted(number, 'row')}" for name, number in done.rows.items())
    files = len(done.manifest.lake) + len(done.manifest.artifacts or ())
    typer.echo(
        f"Restored as of {done.manifest.made_at:%Y-%m-%d %H:%M} UTC. {rows}; "
        f"{counted(files, 'file')}."
    )
    for asset, chunk in [*done.void.partitions, *done.void.labelled]:
        typer.echo(f"computed again: {asset} {chunk}")
    for asset in done.void.assets:
        typer.echo(f"computed again: {asset}")
    for name, value in done.settings.items():
        typer.secho(f"In the backup, {name} was {value!r}.", fg="yellow")
    for note in done.notes:
        typer.secho(note, fg="yellow")
