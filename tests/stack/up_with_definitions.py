"""`tippers up` with the definitions of the module in the first argument.

With ``stubs`` in its place, every service is a server that answers and does nothing; with
``stubs:web``, all but that one.

``TEST_MAX_TIMEOUTS``: restarts a service after this many checks without an answer, one per second.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

from tippers_dagster.cli import main
from tippers_dagster.stack import services
from tippers_dagster.stack import supervisor as stack

STUB = Path(__file__).with_name("stub_service.py")


def stub(service):
    name = service.name.replace(" ", "-")
    return replace(
        service,
        command=(sys.executable, "-S", str(STUB), name, str(service.port or 0)),
        ready=lambda started: service.port is None or services.port_taken(service.port),
        trouble=lambda started: None,
    )


def changed(service, what):
    stubs, _, real = what.partition(":")
    if stubs == "stubs":
        return service if service.name == real else stub(service)
    if service.name == "code server":
        return replace(service, command=(*service.command, "--module", what))
    return service


def with_changes(settings):
    stages = services.stack_services(settings)
    return [[changed(service, what) for service in stage] for stage in stages]


what = sys.argv.pop(1)
if timeouts := os.environ.get("TEST_MAX_TIMEOUTS"):
    stack.MAX_TIMEOUTS, stack.CHECK_SECONDS = int(timeouts), 1.0
stack.stack_services = with_changes
main()
