"""Finds out which kind of log a file is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from tippers_dagster.campus.log.arrow_types import text_of
from tippers_dagster.campus.log.formats import open_log
from tippers_dagster.campus.log.mapping import (
    AS_FOUND,
    FileLayout,
    LogMapping,
    read_mapping,
)
from tippers_dagster.campus.log.presets import Preset, guess, known_columns, layouts
from tippers_dagster.errors import BadInput

SAMPLE_ROWS = 100
SAMPLE_COLUMNS = 500


@dataclass(frozen=True)
class Look:
    """What a file shows without a mapping."""

    description: str
    """Its format."""
    names: list[str]
    """Its columns."""
    sample: pa.Table
    """Its first rows as text, of the first ``SAMPLE_COLUMNS`` columns."""
    is_sparse: bool
    """Whether it may have more columns: JSON."""

    def example(self, name: str) -> str | None:
        """The first value of a column."""
        if name not in self.sample.column_names:
            return None
        values = self.sample[name].drop_null()
        return values[0].as_py() if len(values) else None


@dataclass(frozen=True)
class Choice:
    """How to read a log."""

    look: Look
    mapping: LogMapping | None = None
    """``None`` when no preset fits."""
    preset: Preset | None = None
    guesses: list[tuple[Preset, str]] = field(default_factory=list)
    """The presets that the log may be, with the reason; the likeliest first."""


def look_at(path: Path, layout: FileLayout = AS_FOUND, mapping: LogMapping | None = None) -> Look:
    """Read the columns and first rows of a log; ``mapping``: what it is expected to have.

    Raises
    ------
    BadInput
        When the file cannot be read.
    """
    with open_log(path, layout, known_columns(mapping)) as file:
        # A column that is there twice cannot be read.
        times = Counter(name.strip().casefold() for name in file.names)
        single = [name for name in file.names if times[name.strip().casefold()] == 1]
        names = single[:SAMPLE_COLUMNS]
        first = next(iter(file.batches(names)), None)
        rows = pa.table({n: [] for n in names}) if first is None else first.columns
        sample = {n: text_of(rows[n].slice(0, SAMPLE_ROWS)) for n in names}
        return Look(file.description, file.names, pa.table(sample), file.is_sparse)


def choose(path: Path, layout: FileLayout = AS_FOUND, preset: Preset | None = None) -> Choice:
    """How to read a log of which no mapping is given.

    Parameters
    ----------
    path
        The log.
    layout
        What is known of how the file is written.
    preset
        The preset to use; ``None``: the one that fits best.

    Raises
    ------
    BadInput
        When the file cannot be read, or lacks columns of the preset.
    """
    given = layout.model_dump(exclude_defaults=True)
    if preset is not None:
        return _chosen(path, preset, layout, given)
    first = look_at(path, layout)
    guesses: list[tuple[Preset, str]] = []
    best = Choice(first)
    for way in layouts():
        if way.header or (way.explode and not first.is_sparse):
            continue
        tried = way.model_copy(update=given)
        look = first if tried == layout else look_at(path, tried)
        found = guess(look.names, look.sample, tried, sparse=look.is_sparse)
        if found and best.preset is None:
            mapping = found[0][0].fitted(look.names, tried, sparse=look.is_sparse)
            best = Choice(look, mapping, found[0][0])
        known = {one.name for one, _ in guesses}
        guesses += [(one, why) for one, why in found if one.name not in known]
    return Choice(best.look, best.mapping, best.preset, guesses)


def _chosen(path: Path, preset: Preset, layout: FileLayout, given: dict[str, object]) -> Choice:
    way = preset.mapping.file.model_copy(update=given)
    look = look_at(path, layout if way.explode or way.records else way)
    if look.is_sparse and way != layout:
        look = look_at(path, way)
    else:
        way = way.model_copy(update={"explode": (), "records": None})
    mapping = preset.fitted(look.names, way, sparse=look.is_sparse)
    if mapping is None:
        needed = [names for role in preset.mapping.needed for names in preset.mapping.mapped[role]]
        raise BadInput(
            f"{path} is no log of the preset {preset.name}: it lacks some of the columns "
            f"{', '.join(needed)}, or one for the place.",
            "`tippers log preview` without --preset shows its columns.",
        )
    return Choice(look, mapping, preset)


def find_mapping(
    path: Path,
    *,
    mapping: LogMapping | None = None,
    preset: Preset | None = None,
    layout: FileLayout = AS_FOUND,
    fields: Mapping[str, object] = MappingProxyType({}),
) -> Choice:
    """How to read a log, by what is said of it.

    Parameters
    ----------
    path
        The log.
    mapping
        What its columns mean.
    preset
        Else, the preset to use. Without either, ``fields`` are the mapping if they name a device;
        else it is that of the preset that fits best.
    layout
        What is known of how the file is written.
    fields
        Fields of a mapping, which count more than what mapping and preset say, as does ``layout``;
        those that are ``None`` are not said.

    Raises
    ------
    BadInput
        When the file cannot be read, lacks columns of the preset, or a field is wrong.
    """
    said = {name: value for name, value in fields.items() if value is not None}
    if mapping is None and preset is None and "device" in said:
        mapping = read_mapping(said)
    if mapping is None:
        choice = choose(path, layout, preset)
    else:
        way = mapping.file.model_copy(update=layout.model_dump(exclude_defaults=True))
        choice = Choice(look_at(path, way, mapping), mapping.model_copy(update={"file": way}))
    if choice.mapping is None or not said:
        return choice
    return replace(choice, mapping=read_mapping({**choice.mapping.as_fields(), **said}))
