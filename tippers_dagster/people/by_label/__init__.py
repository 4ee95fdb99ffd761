"""Occupancy split by the labels of devices."""
