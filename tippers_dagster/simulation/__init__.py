"""A simulated campus with known truth: people, schedules and devices, and their WiFi log."""

from tippers_dagster.simulation.campus import Batch, Campus, simulate_campus
from tippers_dagster.simulation.options import CampusOptions
from tippers_dagster.simulation.write import SimulationReport, write_campus

__all__ = [
    "Batch",
    "Campus",
    "CampusOptions",
    "SimulationReport",
    "simulate_campus",
    "write_campus",
]
