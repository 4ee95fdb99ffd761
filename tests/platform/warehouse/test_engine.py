"""Reading the warehouse as Arrow."""

from tippers_dagster.platform.warehouse.engine import read_arrow
from tippers_dagster.settings import Settings

PID = "SELECT pg_backend_pid() AS pid"


def test_reads_share_a_connection(stack: Settings) -> None:
    assert read_arrow(stack, PID) == read_arrow(stack, PID)
