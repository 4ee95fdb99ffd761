"""SQL on the lake: DuckDB, in a process that can reach nothing but what it is given."""
