"""The Dagster definitions of the analysts' definitions."""

import dagster as dg

from tippers_dagster.automation.abandoned_mlflow_runs import MlflowSettler
from tippers_dagster.automation.sensor import definitions_sensor
from tippers_dagster.graph.load import load
from tippers_dagster.graph.reload import Watch
from tippers_dagster.settings import Settings


def pipeline_definitions(settings: Settings) -> dg.Definitions:
    """An asset per definition, and the sensor that keeps them up to date.

    Raises
    ------
    TippersError
        When the warehouse is unavailable.
    """
    loaded = load(settings)
    pipeline = loaded.pipeline
    watch = Watch(settings, pipeline.stamp)
    sensor = definitions_sensor(settings, pipeline.nodes, watch, MlflowSettler())
    return dg.Definitions(assets=loaded.assets, sensors=[sensor])
