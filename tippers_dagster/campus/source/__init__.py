"""The source database: its tables, and bulk reads and writes."""
