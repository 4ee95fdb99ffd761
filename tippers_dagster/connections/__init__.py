"""Other databases whose tables are synced into the warehouse."""
