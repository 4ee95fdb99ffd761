"""What a campus records: its tables, and the files they are loaded from."""
