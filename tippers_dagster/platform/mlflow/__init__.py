"""MLflow: a run per materialisation, and the stores of runs and models."""
