"""Sessions of normalised observations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from tippers_dagster.campus.log.sessions import SCHEMA
from tippers_dagster.campus.source.chains import Chains, Observations, Reading, chain

_BETWEEN = "\0"
"""No text has it: rows with it are rejected."""


class Sightings:
    """Normalised observations (``campus.log.sessions.SCHEMA``) in spaces, read part by part."""

    def __init__(self) -> None:
        self._reading = Reading()

    def add(self, rows: pa.Table) -> None:
        """Add a part."""
        # An access point is as many places as rows name spaces for it.
        place = pc.binary_join_element_wise(
            pc.fill_null(rows["access_point"], ""), rows["space"], _BETWEEN
        )
        person = pc.fill_null(rows["person"], 0).to_numpy()
        starts = rows["start"].to_numpy()
        self._reading.add(rows["device"], place, starts, person, rows["kept"])

    def chained(self, gap_seconds: int) -> ChainedSightings:
        """The sessions that they make, see ``campus.source.chains``."""
        observations = self._reading.observations()
        return ChainedSightings(observations, chain(observations, gap_seconds))


@dataclass(frozen=True, eq=False)
class ChainedSightings:
    """Sessions, encoded, and the observations that they were made of."""

    observations: Observations
    chains: Chains

    def __len__(self) -> int:
        return len(self.chains.start)

    def parts(self) -> Iterator[pa.Table]:
        """The sessions as normalised rows, some after the other."""
        both = pc.split_pattern(self.observations.access_point_names, _BETWEEN)
        access_point, space = (pc.list_element(both, at) for at in (0, 1))
        unnamed = pc.equal(access_point, "")
        access_point = pc.if_else(unnamed, pa.scalar(None, pa.string()), access_point)
        kept = self.observations.kept_texts
        kept = pc.if_else(pc.equal(kept, ""), pa.scalar(None, pa.string()), kept)
        for part in self.chains.parts():
            places = pa.array(part.access_points)
            found = {
                "device": self.observations.device_names.take(pa.array(part.devices)),
                "start": pa.array(part.start),
                "end": pa.array(part.end),
                "access_point": access_point.take(places),
                "space": space.take(places),
                "person": pa.array(part.persons, mask=part.persons == 0),
                "kept": kept.take(pa.array(part.kept)),
            }
            nothing = pa.nulls(len(places))
            columns = [found.get(name, nothing) for name in SCHEMA.names]
            yield pa.table(columns, names=SCHEMA.names).cast(SCHEMA)
