"""SQL definitions: guarded, rendered as dbt models, materialised as assets."""
