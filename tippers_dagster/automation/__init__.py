"""When assets are computed: staleness, conditions, sensors, and the liveness of runs."""
