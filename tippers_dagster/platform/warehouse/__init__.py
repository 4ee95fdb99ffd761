"""Connections to the warehouse, its MetaData and its migrations."""
