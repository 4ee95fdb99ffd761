"""What Dagster sees of the occupancy assets."""

import dagster as dg

from tippers_dagster.occupancy.assets import ASSETS
from tippers_dagster.occupancy.automation import occupancy_sensor
from tippers_dagster.occupancy.observing import observer_sensor
from tippers_dagster.settings import Settings


def occupancy_definitions(settings: Settings) -> dg.Definitions:
    """The assets, and the sensors that keep them up to date."""
    return dg.Definitions(
        assets=ASSETS,
        sensors=[occupancy_sensor(settings), observer_sensor(settings)],
        # A run is one vectorised pass; a process of its own for its only step costs 2 s.
        executor=dg.in_process_executor,
    )
