"""The tree of spaces, local time and its chunks and bins, and what is tracked."""
