"""Dagster definitions of the occupancy assets."""

import dagster as dg

from tippers_dagster.occupancy.assets import DEFINED
from tippers_dagster.occupancy.automation import occupancy_sensor
from tippers_dagster.occupancy.executor import in_process_executor
from tippers_dagster.occupancy.observing import observer_sensor
from tippers_dagster.occupancy.state import ASSETS
from tippers_dagster.platform.dagster.internals import without_input_versions
from tippers_dagster.settings import Settings


def occupancy_definitions(settings: Settings) -> dg.Definitions:
    """The assets, and the sensors that keep them up to date."""
    without_input_versions(ASSETS)
    return dg.Definitions(
        assets=DEFINED,
        sensors=[occupancy_sensor(settings), observer_sensor(settings)],
        executor=in_process_executor,
    )
