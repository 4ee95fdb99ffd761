"""Benchmarks: ``python -m benchmarks.engine`` and others."""
