"""The former name of ``forecasting``, which models of earlier versions name; see ``registered``."""
