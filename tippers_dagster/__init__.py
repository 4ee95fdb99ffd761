"""tippers: how full every space of a campus is, from its WiFi log, as Dagster assets."""

__version__ = "0.1.0"
