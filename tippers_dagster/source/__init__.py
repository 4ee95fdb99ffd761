"""The source: the campus's tables, and loading them from files."""
