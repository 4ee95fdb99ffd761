"""Finds definition assets that are out of date, and requests runs for them."""
