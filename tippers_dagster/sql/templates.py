"""What is imported before the processes for SQL are forked."""

from pathlib import Path

from tippers_dagster.platform.forking.forking import Template

_FOLDER = Path(__file__).parent

DBT = Template(_FOLDER / "child.py", ("dbt.cli.main", "dbt.adapters.postgres"))
"""dbt's command line on PostgreSQL."""

SANDBOX = Template(_FOLDER / "duckdb" / "child.py")
"""DuckDB."""

DBT_SANDBOX = Template(_FOLDER / "duckdb" / "child.py", ("dbt.cli.main",))
"""DuckDB, in which dbt runs."""
