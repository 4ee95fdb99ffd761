"""Named datasets: saved selections of occupancy (space, range and width of the bins)."""
