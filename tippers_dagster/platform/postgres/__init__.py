"""PostgreSQL: where the four databases are, the embedded server, and bulk connections."""
