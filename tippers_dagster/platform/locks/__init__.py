"""Advisory locks of runs, kept through outages, and fenced commits."""
