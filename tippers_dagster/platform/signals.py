"""Signals that ask a process to stop."""

from __future__ import annotations

import signal
import sys


def obey_signals() -> None:
    """Obey SIGINT and SIGTERM, although the process may have been started with them ignored.

    A script ignores SIGINT for what it starts in the background, and Dagster handles SIGTERM as it
    finds SIGINT handled: nothing but SIGKILL would stop it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def exit_on_signals() -> None:
    """Make SIGTERM and SIGINT exit normally, so that the last process stops the embedded server.

    Call it in the main thread before a web server runs there: the server raises the signal again
    once it has stopped, which would kill the process.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
