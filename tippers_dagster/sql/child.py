"""dbt as a child process that does not outlive the process that started it.

``main`` runs dbt's command line, in a process that ``forking.py`` starts. Its standard input is a
pipe that the parent holds open. When the pipe closes, however the parent ended, dbt is interrupted
so that it cancels its queries, and is killed if it does not stop. Otherwise it would go on writing
tables that the next run writes too.
"""

import os
import signal
import threading
import time
from collections.abc import Sequence

PATIENCE_SECONDS = 10
"""How long dbt may take to cancel its queries; the server cancels those of a dbt that is gone."""


def main(arguments: Sequence[str]) -> None:
    """Run dbt's command line, watching the parent."""
    threading.Thread(target=_watch, daemon=True).start()
    from dbt.cli.main import cli

    cli(args=list(arguments), prog_name="dbt")


def _watch() -> None:
    # os.read, not sys.stdin: its lock, held by this thread, would keep the process from ending
    # cleanly.
    while os.read(0, 1):
        continue
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(PATIENCE_SECONDS)
    os._exit(1)
