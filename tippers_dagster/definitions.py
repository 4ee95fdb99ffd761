"""The code location: merges the definitions of all packages."""

import dagster as dg

from tippers_dagster.graph.definitions import pipeline_definitions
from tippers_dagster.housekeeping.assets import housekeeping_definitions
from tippers_dagster.occupancy.definitions import occupancy_definitions
from tippers_dagster.platform.dagster.run_workers import fork_run_workers
from tippers_dagster.retention.assets import retention_definitions
from tippers_dagster.settings import get_settings


@dg.definitions
def defs() -> dg.Definitions:
    """Everything that Dagster loads."""
    settings = get_settings()
    fork_run_workers(__name__)
    return dg.Definitions.merge(
        occupancy_definitions(settings),
        pipeline_definitions(settings),
        retention_definitions(settings),
        housekeeping_definitions(settings),
    )
