"""MLflow: one run per materialisation, and where it keeps runs and models."""
