"""The occupancy assets as sources of definitions computed from counts or presence."""

from __future__ import annotations

from tippers_dagster.automation.nodes import Node, Table
from tippers_dagster.occupancy.state import DERIVED, SOURCE
from tippers_dagster.occupancy.tables import partition_figures

_FIGURES = Table(str(partition_figures.schema), partition_figures.name)

OCCUPANCY_SOURCES = (Node((SOURCE,), source=_FIGURES), Node((DERIVED,), source=_FIGURES))
"""For a domain's ``..._nodes``; their keys are the ``deps`` of assets that read occupancy.

Their token changes whenever a partition's figures are recorded, even unchanged ones; assets that
read them compare fingerprints to find out what to compute.
"""
