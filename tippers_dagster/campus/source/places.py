"""The spaces of access points."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.log.access_points import normalise_access_points
from tippers_dagster.campus.log.checks import Checks
from tippers_dagster.campus.source.schema import (
    REGION_TO_COVERAGE,
    SPACES,
    SourceTable,
    source_tables,
)
from tippers_dagster.settings import Settings

Query = Callable[..., pa.Table]
"""Runs a query on the source database, with parameters (``$1``, ``$2`` ...) if there are any."""


def access_point_spaces(settings: Settings, query: Query) -> dict[str, str]:
    """The space of each access point: the region covered most, or the space with the same id.

    Only regions that are spaces count, unless no spaces have been ingested yet. A campus's own
    database need not have coverage.
    """
    coverage, space = (source_tables(settings)[k] for k in (REGION_TO_COVERAGE, SPACES))
    # Ids may be numbers.
    space_id, region = f"{space.column('space_id')}::text", f"{coverage.column('region_id')}::text"
    sensor = f"{coverage.column('sensor')}::text"
    share = coverage.column("intersection_percentage")
    found = query(
        f"SELECT {space_id} AS sensor, {space_id} AS space_id FROM {space.sql}"
    ).to_pydict()
    spaces = dict(zip(found["sensor"], found["space_id"], strict=True))
    if not _is_there(coverage, query):
        return spaces
    covered = query(
        f"SELECT DISTINCT ON ({sensor}) {sensor} AS sensor, {region} AS space_id "
        f"FROM {coverage.sql} WHERE {region} IN (SELECT {space_id} FROM {space.sql}) "
        f"OR NOT EXISTS (SELECT FROM {space.sql}) "
        f"ORDER BY {sensor}, {share} DESC NULLS LAST, {region}"
    ).to_pydict()
    return spaces | dict(zip(covered["sensor"], covered["space_id"], strict=True))


def _is_there(table: SourceTable, query: Query) -> bool:
    return bool(query("SELECT to_regclass($1) IS NOT NULL", (table.sql,)).column(0)[0].as_py())


def _regions(settings: Settings, query: Query) -> dict[str, str]:
    """A region of each access point of the coverage."""
    table = source_tables(settings)[REGION_TO_COVERAGE]
    if not _is_there(table, query):
        return {}
    sensor, region = f"{table.column('sensor')}::text", f"{table.column('region_id')}::text"
    found = query(
        f"SELECT {sensor} AS sensor, min({region}) AS region FROM {table.sql} GROUP BY 1"
    ).to_pydict()
    return dict(zip(found["sensor"], found["region"], strict=True))


def _in_any_spelling(by_name: dict[str, str]) -> dict[str, str]:
    names, _ = normalise_access_points(pa.array(by_name, pa.string()))
    return dict(zip(names.to_pylist(), by_name.values(), strict=True)) | by_name


class Places:
    """The spaces of access points, which logs and coverage may spell differently.

    Attributes
    ----------
    unknown
        Rows found so far, by the access point that covers no space.
    """

    def __init__(self, settings: Settings, query: Query) -> None:
        self.unknown: Counter[str] = Counter()
        self._settings, self._query = settings, query
        self._spaces = _in_any_spelling(access_point_spaces(settings, query))

    @cached_property
    def _not_spaces(self) -> dict[str, str]:
        return _in_any_spelling(_regions(self._settings, self._query))

    def _why(self, name: str) -> str:
        if (region := self._not_spaces.get(name)) is not None:
            return f"the region {region} of access point {name} is no space"
        return f"access point {name} covers no space"

    def find(self, rows: pa.Table, checks: Checks) -> pa.Array:
        """The space of each row; rows of access points that cover none are rejected."""
        encoded = rows["access_point"].combine_chunks().dictionary_encode()
        names = encoded.dictionary.to_pylist()
        spaces = pa.array([self._spaces.get(name) for name in names], pa.string())
        found = pc.coalesce(rows["space"].combine_chunks(), spaces.take(encoded.indices))
        missing = np.asarray(found.is_null())
        if missing.any():
            codes = encoded.indices.fill_null(0).to_numpy()
            reasons = [self._why(name) for name in names]
            checks.reject_each(missing, codes, reasons)
            rows_of = np.bincount(codes[missing], minlength=len(names)).tolist()
            self.unknown += Counter(dict(zip(names, rows_of, strict=True)))
        return found
