"""Mappings of the logs that campuses have, each with its source and what is not known of it.

A preset is a file in the folder ``presets``. Adding one takes nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from importlib.resources import files
from itertools import product
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from tippers_dagster.campus.log.csv_dialect import Names
from tippers_dagster.campus.log.mapping import AS_FOUND, FileLayout, LogMapping, problems
from tippers_dagster.errors import BadInput
from tippers_dagster.platform import yaml_text
from tippers_dagster.platform.text import shown

_BELONGS = {"duration": ("duration_unit",), "user": ("own_realms", "anonymous")}
"""Fields of a mapping that make no sense without another."""


def _as_sets(value: object) -> object:
    """A list of names as a list with that list."""
    is_flat = isinstance(value, list) and value and all(isinstance(name, str) for name in value)
    return [value] if is_flat else value


class Preset(BaseModel):
    """A mapping of a known kind of log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    source: str
    """Where its facts are from."""
    version: str
    not_known: tuple[str, ...]
    recognised_by: Annotated[tuple[tuple[str, ...], ...], BeforeValidator(_as_sets)]
    """Columns that only this kind of log has together; several such sets where it has forms."""
    mapping: LogMapping

    def fitted(
        self, names: Collection[str], layout: FileLayout | None = None, *, sparse: bool = False
    ) -> LogMapping | None:
        """The mapping without the columns that a log lacks; ``None`` if that makes it impossible.

        Parameters
        ----------
        names
            The log's columns.
        layout
            How the log's file is read; default: as the mapping says.
        sparse
            Whether the log may have further columns: then only those that it must have matter.
        """
        folded = {name.strip().casefold() for name in names}
        fields: dict[str, Any] = self.mapping.model_dump(exclude_defaults=True)
        fields["file"] = layout or self.mapping.file
        for role in (*self.mapping.mapped, "keep"):
            found = tuple(c for c in getattr(self.mapping, role) if c.casefold() in folded)
            if not found and role in self.mapping.needed:
                return None
            if not sparse:
                fields[role] = found
        for condition in self.mapping.where:
            if condition.column.casefold() not in folded and condition.equals:
                return None  # no row would count
        if not sparse:
            # A row without a value differs from all values.
            kept = [c for c in self.mapping.where if c.column.casefold() in folded]
            fields["where"] = tuple(kept)
            for role, others in _BELONGS.items():
                if not fields.get(role):
                    fields = {key: value for key, value in fields.items() if key not in others}
        try:
            return LogMapping.model_validate(fields)
        except ValidationError:
            return None

    def lacking(self, names: Collection[str]) -> list[str]:
        """The columns that every log of this kind has, and one with these columns lacks."""
        folded = {name.strip().casefold() for name in names}
        roles = (self.mapping.mapped.get(role, ()) for role in self.mapping.needed)
        conditions = ((c.column,) for c in self.mapping.where if c.equals)
        needed = [*roles, *conditions]
        return [" or ".join(n) for n in needed if folded.isdisjoint(c.casefold() for c in n)]

    def recognises(self, names: Collection[str]) -> tuple[str, ...] | None:
        """The columns by which a log with these columns is recognised, if it is."""
        folded = {name.strip().casefold() for name in names}
        found = (
            columns for columns in self.recognised_by if {c.casefold() for c in columns} <= folded
        )
        return next(found, None)


@cache
def presets() -> dict[str, Preset]:
    """All presets by name.

    Raises
    ------
    BadInput
        Names the file that is not one.
    """
    folder = files("tippers_dagster.campus.log").joinpath("presets")
    found = sorted(file.name for file in folder.iterdir() if file.name.endswith(".yaml"))
    return {
        name.removesuffix(".yaml"): _read(name, folder.joinpath(name).read_text("utf-8"))
        for name in found
    }


def preset(name: str) -> Preset:
    """The preset of a name.

    Raises
    ------
    BadInput
        When there is none.
    """
    found = presets().get(name)
    if found is None:
        raise BadInput(f"There is no preset {shown(name)}.", f"Presets: {', '.join(presets())}.")
    return found


def known_columns(mapping: LogMapping | None = None) -> list[Names]:
    """Columns that are expected together, in small letters: those by which logs are recognised, and
    those that a mapping needs.
    """
    found = [columns for one in presets().values() for columns in one.recognised_by]
    if mapping is not None:
        found += product(*(mapping.mapped[role] for role in mapping.needed))
    return [frozenset(name.strip().casefold() for name in columns) for columns in found]


def layouts() -> list[FileLayout]:
    """The ways of reading files that presets ask for; first that of finding everything."""
    return list(dict.fromkeys([AS_FOUND, *(one.mapping.file for one in presets().values())]))


def guess(
    columns: Sequence[str],
    sample: pa.Table,
    layout: FileLayout = AS_FOUND,
    *,
    sparse: bool = False,
) -> list[tuple[Preset, str]]:
    """The presets that a log may be, with the reason; the likeliest first.

    Parameters
    ----------
    columns
        The log's columns.
    sample
        Some of its rows as text, by the log's names of columns. A preset whose device has no value
        in them is none.
    layout
        How the log's file is read.
    sparse
        Whether the log may have further columns.
    """
    found: list[tuple[int, Preset, str]] = []
    for one in presets().values():
        by = one.recognises(columns)
        mapping = one.fitted(columns, layout, sparse=sparse) if by else None
        if by is None or mapping is None or not _has_values(sample, mapping.device):
            continue
        found.append((len(mapping.columns), one, f"it has the columns {', '.join(by)}"))
    found.sort(key=lambda item: (-item[0], item[1].name))
    return [(one, why) for _, one, why in found]


def _has_values(sample: pa.Table, columns: Sequence[str]) -> bool:
    wanted = {column.casefold() for column in columns}
    theirs = [name for name in sample.column_names if name.strip().casefold() in wanted]
    return not sample.num_rows or any(sample[name].null_count < sample.num_rows for name in theirs)


def _read(name: str, text: str) -> Preset:
    try:
        fields = yaml_text.load(text)
        return Preset.model_validate({"name": name.removesuffix(".yaml"), **fields})
    except ValidationError as error:
        raise BadInput(f"The preset {name}: {' '.join(problems(error))}") from None
    except BadInput as error:
        raise BadInput(f"The preset {name}: {error.message}") from None
