"""Reads the standing of all definition assets."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, get_args

from tippers_dagster.automation.snapshot import Snapshot
from tippers_dagster.graph.changes import definitions_stamp
from tippers_dagster.graph.load import Pipeline, load_pipeline
from tippers_dagster.graph.status import Standing, pipeline_status
from tippers_dagster.settings import Settings
from tippers_dagster.watching.figures import Definitions, Problem

if TYPE_CHECKING:
    from dagster import DagsterInstance

STANDINGS: tuple[Standing, ...] = get_args(Standing)


class DefinitionFigures:
    """Reads them again and again; the definitions are loaded again only when they have changed."""

    def __init__(self, settings: Settings, instance: DagsterInstance) -> None:
        self._settings, self._instance = settings, instance
        self._pipeline: Pipeline | None = None

    def read(self) -> Definitions:
        """Numbers by standing, of the sources as they were when last checked."""
        pipeline = self._loaded()
        snapshot = Snapshot.look(self._settings, self._instance, pipeline.nodes)
        found = pipeline_status(pipeline, snapshot)
        numbers = Counter(status.standing for status in found)
        return Definitions(
            {standing: numbers[standing] for standing in STANDINGS},
            len(snapshot.asked),
            tuple(
                Problem(status.name.replace("/", "."), status.standing, status.why)
                for status in found
                if status.standing in ("failed", "broken")
            ),
        )

    def _loaded(self) -> Pipeline:
        if self._pipeline is None or self._pipeline.stamp != definitions_stamp(self._settings):
            self._pipeline = load_pipeline(self._settings)
        return self._pipeline
