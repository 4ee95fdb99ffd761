"""The assets of all definitions, assembled from the catalog."""
