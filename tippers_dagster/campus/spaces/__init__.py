"""The tree of spaces, and which of them are tracked."""
