"""The occupancy assets as sources of definitions that are computed from counts or presence."""

from __future__ import annotations

from tippers_dagster.automation.nodes import Node, Table
from tippers_dagster.occupancy.state import DERIVED, SOURCE
from tippers_dagster.occupancy.tables import partition_figures

_FIGURES = Table(str(partition_figures.schema), partition_figures.name)

OCCUPANCY_SOURCES = (Node((SOURCE,), source=_FIGURES), Node((DERIVED,), source=_FIGURES))
"""For a domain's ``..._nodes``, and their keys for the ``deps`` of what reads occupancy.

Their token differs whenever a figure of a partition was recorded, also the same as before; what
reads them compares fingerprints, and so finds out what it has to do.
"""
