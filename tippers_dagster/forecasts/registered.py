"""The loader of forecasters registered or exported by earlier versions.

MLflow keeps the name of this module in each of their models, and calls ``_load_pyfunc`` of it. It
may go when no such model is left.
"""

from tippers_dagster.forecasting.registered import _load_pyfunc

__all__ = ["_load_pyfunc"]
