"""tippers: the occupancy of a campus's spaces from its WiFi log, as Dagster assets."""

__version__ = "0.1.0"
