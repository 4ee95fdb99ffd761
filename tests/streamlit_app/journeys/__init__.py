"""Journeys through the app, on one deployment that ends with the last of them."""
