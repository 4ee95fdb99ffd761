"""Trained models of forecasters in the lake, and the warehouse's record of their digests.

A file is recorded after it is written; a file without a record is not used, but recomputed.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tippers_dagster.errors import LakeFileMissing
from tippers_dagster.forecasting.names import work_prefix
from tippers_dagster.forecasting.tables import forecast_work_file as table
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.mlflow.model_files import ModelRefused, digest_of
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings


def write(settings: Settings, forecaster: str, work: str, file: str, content: bytes) -> None:
    """Write a file to a work folder, and record it."""
    open_lake(settings).write_bytes(work_prefix(forecaster, work) + file, content)
    digest = {"sha256": digest_of(content)}
    with warehouse_engine(settings).begin() as connection:
        connection.execute(
            insert(table)
            .values(forecaster=forecaster, work=work, file=file, **digest)
            .on_conflict_do_update(index_elements=["forecaster", "work", "file"], set_=digest)
        )


def read(settings: Settings, forecaster: str, work: str, file: str) -> bytes:
    """An unchanged file of a work folder.

    Raises
    ------
    ModelRefused
        When it is missing or was changed.
    """
    digest = _digests(settings, forecaster, work).get(file)
    content = _as_written(settings, work_prefix(forecaster, work) + file, digest)
    if content is None:
        raise ModelRefused(
            f"The trained models {file} of the forecaster {forecaster!r} cannot be used: their "
            "file in the lake is missing or was changed after it was written.",
            again(forecaster),
        )
    return content


def names(settings: Settings, forecaster: str, work: str) -> list[str]:
    """The recorded files of a work folder, sorted."""
    return sorted(_digests(settings, forecaster, work))


def intact(settings: Settings, forecaster: str, work: str) -> set[str]:
    """The unchanged files of a work folder; the records of others are removed, as they are to be
    recomputed.
    """
    digests, folder = _digests(settings, forecaster, work), work_prefix(forecaster, work)
    found = {
        file
        for file, digest in digests.items()
        if _as_written(settings, folder + file, digest) is not None
    }
    c = table.c
    _forget(settings, c.forecaster == forecaster, c.work == work, c.file.not_in(found))
    return found


def forget_others(settings: Settings, forecaster: str, work: str) -> None:
    """Remove the records of all other work folders."""
    _forget(settings, table.c.forecaster == forecaster, table.c.work != work)


def again(forecaster: str) -> str:
    """Hint on trained models that cannot be used."""
    return (
        f"To train them again: `tippers pipeline materialize forecaster.{forecaster} "
        "--no-stale-only`."
    )


def _forget(settings: Settings, *which: sa.ColumnElement[bool]) -> None:
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.delete(table).where(*which))


def _as_written(settings: Settings, key: str, digest: str | None) -> bytes | None:
    if digest is None:
        return None
    try:
        content = open_lake(settings).read_bytes(key)
    except LakeFileMissing:
        return None
    return content if digest_of(content) == digest else None


def _digests(settings: Settings, forecaster: str, work: str) -> dict[str, str]:
    query = sa.select(table.c.file, table.c.sha256).where(
        table.c.forecaster == forecaster, table.c.work == work
    )
    with warehouse_engine(settings).connect() as connection:
        return {row.file: row.sha256 for row in connection.execute(query)}
