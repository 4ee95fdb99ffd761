"""How many people: occupancy by label, and people counts."""
