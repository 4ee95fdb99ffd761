"""Giving up who was where: after a set time only counts stay."""
