"""The assets of all definitions: loading, saving, reloading, running and their status."""
