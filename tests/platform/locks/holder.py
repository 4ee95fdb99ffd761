"""A process that holds locks; it executes the lines of its input, and answers each with a line.

``hold NAME ...``, ``run ID``, ``record TEXT``, ``free``. It ends when its input does.
"""

import logging
import sys
from contextlib import ExitStack

import sqlalchemy as sa

from tippers_dagster.errors import TippersError
from tippers_dagster.platform.locks.locks import advisory_locks, hold_run_lock
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import get_settings

settings = get_settings()
stack = ExitStack()
for line in sys.stdin:
    word, *rest = line.split()
    answer = word
    if word == "hold":
        stack.enter_context(advisory_locks(settings, rest, logging.getLogger()))
    elif word == "run":
        hold_run_lock(settings, rest[0])
    elif word == "record":
        try:
            with warehouse_engine(settings).begin() as connection:
                connection.execute(
                    sa.text("INSERT INTO recorded VALUES (:what)"), {"what": rest[0]}
                )
        except TippersError as error:
            answer = type(error).__name__
    elif word == "free":
        stack.close()
    print(answer, flush=True)
