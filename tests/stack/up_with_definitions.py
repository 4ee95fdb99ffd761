"""`tippers up` with the definitions of the module that the first argument names.

``TEST_SILENT_ASKS``: so many unanswered asks, one a second, are enough to start a service again.
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
if asks := os.environ.get("TEST_SILENT_ASKS"):
    stack.SILENT_ASKS, stack.ASK_SECONDS = int(asks), 1.0
stack.stack_services = with_module
main()
