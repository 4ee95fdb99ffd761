"""Forecasters, as assets."""
