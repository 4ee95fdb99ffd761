"""The space tree, local time with its chunks and bins, and tracking."""
