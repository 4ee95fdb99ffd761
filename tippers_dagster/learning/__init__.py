"""Classifiers, their registry and their predictions, as assets."""
