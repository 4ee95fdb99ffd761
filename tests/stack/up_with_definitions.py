"""`tippers up` with the definitions of the module in the first argument.

``TEST_MAX_TIMEOUTS``: restarts a service after this many checks without an answer, one per second.
"""

import os
import sys
from dataclasses import replace

from tippers_dagster.cli import main
from tippers_dagster.stack import services
from tippers_dagster.stack import supervisor as stack


def with_module(settings):
    return [
        [
            replace(service, command=(*service.command, "--module", module))
            if service.name == "code server"
            else service
            for service in stage
        ]
        for stage in services.stack_services(settings)
    ]


module = sys.argv.pop(1)
if timeouts := os.environ.get("TEST_MAX_TIMEOUTS"):
    stack.MAX_TIMEOUTS, stack.CHECK_SECONDS = int(timeouts), 1.0
stack.stack_services = with_module
main()
