"""What MLflow keeps beside the champions, and runs to load them."""

from mlflow.models import set_model

from tippers_dagster.forecasts.registered import Champions

set_model(Champions())
