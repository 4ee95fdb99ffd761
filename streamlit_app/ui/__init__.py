"""Widgets, charts and messages that pages share."""
