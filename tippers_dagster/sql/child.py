"""dbt as a child process that does not outlive the process that started it.

``python -P child.py ARGUMENTS``: dbt's command line. Its standard input is a pipe that its parent
holds open; when that closes, however the parent ended, dbt is interrupted, and cancels its queries,
or is ended when it does not. Else it would go on writing tables that the next run writes too.
"""

import os
import signal
import threading
import time

PATIENCE_SECONDS = 10
"""dbt is given so long to cancel its queries; the server cancels those of one that is gone."""


def main() -> None:
    """Run dbt's command line, watching the parent."""
    threading.Thread(target=_watch, daemon=True).start()
    from dbt.cli.main import cli

    cli(prog_name="dbt")


def _watch() -> None:
    # Past sys.stdin: its lock, held by this thread, would spoil the end of the process.
    while os.read(0, 1):
        continue
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(PATIENCE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
