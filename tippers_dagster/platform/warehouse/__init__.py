"""The warehouse: connections, table metadata, migrations and locks."""
