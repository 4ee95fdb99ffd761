"""Presence and counts in the lake, as tests look at them and damage them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from tippers_dagster.occupancy import files
from tippers_dagster.occupancy.files import DERIVED_COUNTS, PRESENCE, SOURCE_COUNTS, Dataset, Rows
from tippers_dagster.platform.lake import Lake
from tippers_dagster.platform.lake.keys import encode

COUNTS = (SOURCE_COUNTS, DERIVED_COUNTS)


def rows_of(tables: Mapping[str, pa.Table]) -> Rows:
    """One table per space."""
    lengths = [table.num_rows for table in tables.values()]
    whole = pa.concat_tables(tables.values())
    return Rows(list(tables), np.append(0, np.cumsum(lengths)), whole)


def table_of(lake: Lake, dataset: Dataset, space: str, chunk: str) -> pa.Table | None:
    """What a file has of a space; None if it has not computed it."""
    found = files.read(lake, dataset, {chunk: [space]}).get(chunk)
    return None if found is None or not found.spaces else found.of(0).combine_chunks()


def presence_of(lake: Lake, space: str, chunk: str) -> pa.Table | None:
    return table_of(lake, PRESENCE, space, chunk)


def counts_of(lake: Lake, space: str, chunk: str) -> pa.Table | None:
    """Published counts, of which there are at most one."""
    found = [table_of(lake, dataset, space, chunk) for dataset in COUNTS]
    there = [table for table in found if table is not None]
    assert len(there) < 2
    return there[0] if there else None


def lose_presence(lake: Lake, space: str, chunk: str) -> None:
    assert files.remove(lake, PRESENCE, chunk, [space])


def lose_counts(lake: Lake, space: str, chunk: str) -> None:
    assert sum(files.remove(lake, dataset, chunk, [space]) for dataset in COUNTS)


def put_counts(lake: Lake, space: str, chunk: str, counts: pa.Table) -> None:
    """Replace the counts of a space where it has some, otherwise as those of a leaf."""
    has = [d for d in COUNTS if table_of(lake, d, space, chunk) is not None]
    files.replace(lake, has[0] if has else SOURCE_COUNTS, chunk, rows_of({space: counts}))


# --- the layout of earlier versions ---------------------------------------------------------------
def make_old(lake: Lake) -> int:
    """Rewrite all files as earlier versions had them: one per space and chunk."""
    number = 0
    for dataset in [PRESENCE, *COUNTS]:
        folder = dataset.folder.split("/")[0]
        number += _unpack(lake, dataset, folder)
    names = {key.split("/")[1] for key in lake.list("labelled/")}
    for name in names:
        number += _unpack(lake, files.labelled_counts(name), f"labelled/{name}")
    return number


def _unpack(lake: Lake, dataset: Dataset, folder: str) -> int:
    number = 0
    for chunk in files.chunks(lake, dataset):
        spaces = files.computed_spaces(lake, dataset, chunk)
        rows = files.read(lake, dataset, {chunk: spaces})[chunk]
        for i, space in enumerate(rows.spaces):
            table = rows.of(i)
            if rows.stamps is not None:
                presence, labels = rows.stamps[i].tolist()
                metadata = {
                    "tippers.presence": f"{presence:016x}",
                    "tippers.labels": f"{labels:016x}",
                }
                table = table.replace_schema_metadata(metadata)
            key = f"{folder}/space={encode(space)}/chunk={encode(chunk)}.parquet"
            lake.write_table(key, table)
        lake.delete(dataset.key(chunk))
        number += len(spaces)
    return number
