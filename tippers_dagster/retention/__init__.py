"""Retention: deletes sessions and presence after a set time, so that only counts stay; forgetting."""
