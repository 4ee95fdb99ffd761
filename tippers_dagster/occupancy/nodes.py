"""The occupancy assets as sources of definitions computed from counts or presence."""

from __future__ import annotations

from tippers_dagster.automation.nodes import Node, Table
from tippers_dagster.occupancy.state import COUNTS, DERIVED, SOURCE
from tippers_dagster.occupancy.tables import partition_figures

_CONTENT = (
    "SELECT concat_ws(' ', count(*), sum(hashtextextended("
    "concat_ws(' ', asset, space, chunk, output_fingerprint), 0)::numeric)) "
    f"FROM {partition_figures} WHERE asset IN ({', '.join(repr(asset) for asset in COUNTS)})"
)
_FIGURES = Table(str(partition_figures.schema), partition_figures.name, _CONTENT)

OCCUPANCY_SOURCES = (Node((SOURCE,), source=_FIGURES), Node((DERIVED,), source=_FIGURES))
"""For a domain's ``..._nodes``; their keys are the ``deps`` of assets that read occupancy.

Their token changes when the recorded content of any partition does; assets that read them compare
fingerprints to find out what to compute.
"""
