"""Occupancy of spaces for the occupancy page: counts of a window, reduced to what a screen shows.

Times of windows are local to the deployment, without a zone. Charts take an instant as milliseconds
of the local wall clock counted as if it were UTC, so that a browser in another zone still shows the
campus's own time.
"""
