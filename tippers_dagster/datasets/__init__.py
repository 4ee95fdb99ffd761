"""Named datasets: a saved selection of occupancy (space, range, width of the bins)."""
