"""People counts, as assets."""
