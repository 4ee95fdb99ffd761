"""What the product is measured by: ``python -m benchmarks.engine`` and the rest."""
