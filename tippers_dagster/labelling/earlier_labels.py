"""A label model's earlier labels, kept in the lake for comparison.

Keeps the latest materialisations with different inputs: for each, every entity's label, under its
pseudonym, and the recorded details. The same inputs give the same labels, so a materialisation with
the same inputs replaces the earlier one.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.identities import pseudonymise
from tippers_dagster.errors import LakeFileMissing
from tippers_dagster.labelling.labels import SCHEMA, LabelTable, NotLabelled
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key, encode
from tippers_dagster.settings import Settings

KEPT = 10
ABSENT = "not among them"
"""In place of a label, for entities that a materialisation did not include."""


@dataclass(frozen=True)
class Past:
    """One materialisation.

    Attributes
    ----------
    version
        The asset's version: differs if its inputs do.
    details
        The recorded details of the asset: ``classes``, ``coverage``, ``functions``, ``gold``.
    """

    version: str
    run_id: str
    at: dt.datetime
    entities: int
    details: Mapping[str, Any]


def keep_labels(
    settings: Settings, table: LabelTable, rows: pa.Table, details: Mapping[str, Any]
) -> None:
    """Keep a materialisation, and remove the oldest ones if there are too many.

    Parameters
    ----------
    rows
        The rows of the table of labels.
    details
        The recorded details of the asset, as JSON.
    """
    lake = open_lake(settings)
    version, run_id = rows["version"][0].as_py(), rows["run_id"][0].as_py()
    given = pa.table(
        {
            table.key: rows[table.key],
            "label": pc.coalesce(rows["label"], rows["outcome"]).dictionary_encode(),
        }
    )
    lake.write_table(_key(table, version), pseudonymise(settings, given))
    one = {
        "version": version,
        "run_id": run_id,
        "at": dt.datetime.now(dt.UTC).isoformat(),
        "entities": rows.num_rows,
        "details": dict(details),
    }
    listed = [p for p in _listed(settings, table.concept, table.name) if p["version"] != version]
    kept = [*listed, one][-KEPT:]
    lake.write_bytes(_list_key(table.concept, table.name), json.dumps(kept).encode())
    for old in listed[: len(listed) + 1 - KEPT]:
        lake.delete(_key(table, old["version"]))


def read_earlier_labels(settings: Settings, concept: str, name: str) -> list[Past]:
    """The kept materialisations, newest first."""
    return [
        Past(**{**one, "at": dt.datetime.fromisoformat(one["at"])})
        for one in reversed(_listed(settings, concept, name))
    ]


def moved_labels(
    settings: Settings, concept: str, name: str, before: str, after: str
) -> list[tuple[str, str, int]]:
    """Numbers of entities by their labels in two materialisations, largest first.

    Parameters
    ----------
    before, after
        Versions.

    Raises
    ------
    NotLabelled
        When one of them is no longer kept.
    """
    place = definition_key(SCHEMA, concept, name)
    one, other = (_read(settings, place, version) for version in (before, after))
    key = one.column_names[0]
    if other.column_names[0] != key or one[key].type != other[key].type:
        raise NotLabelled(
            f"{concept}.{name} labelled other entities then: the key column has changed."
        )
    both = one.rename_columns([key, "before"]).join(
        other.rename_columns([key, "after"]), keys=key, join_type="full outer"
    )
    both = (
        both.select(["before", "after"])
        .group_by(["before", "after"])
        .aggregate([([], "count_all")])
    )
    columns = (both["before"], both["after"], both["count_all"])
    moves = zip(*(column.to_pylist() for column in columns), strict=True)
    named = [(a or ABSENT, b or ABSENT, n) for a, b, n in moves]
    return sorted(named, key=lambda move: (-move[2], move[0], move[1]))


def _read(settings: Settings, place: str, version: str) -> pa.Table:
    try:
        found = open_lake(settings).read_table(_version_key(place, version))
    except LakeFileMissing as error:
        raise NotLabelled(
            f"The labels of version {version[:8]} are no longer kept.",
            f"Only the last {KEPT} versions are kept.",
        ) from error
    return found.set_column(1, "label", found["label"].cast(pa.string()))


def _listed(settings: Settings, concept: str, name: str) -> Sequence[dict[str, Any]]:
    """Oldest first; empty if the labels were written before this list existed."""
    lake, key = open_lake(settings), _list_key(concept, name)
    try:
        found: list[dict[str, Any]] = json.loads(lake.read_bytes(key))
    except LakeFileMissing:
        return []
    return found


def _key(table: LabelTable, version: str) -> str:
    return _version_key(definition_key(SCHEMA, table.concept, table.name), version)


def _version_key(place: str, version: str) -> str:
    return place.replace("data.parquet", f"past/{encode(version)}.parquet")


def _list_key(concept: str, name: str) -> str:
    return definition_key(SCHEMA, concept, name).replace("data.parquet", "past.json")
