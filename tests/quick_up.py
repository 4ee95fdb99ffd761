"""`tippers up` whose daemon looks every second or two at what it looks at every 5 to 30 seconds.

Dagster has no settings for that. With the arguments of `python -m`, this is that daemon.
"""

import sys
from dataclasses import replace

SECONDS = 2


def daemon() -> None:
    from dagster._daemon import controller, sensor
    from dagster._daemon.cli import main

    sensor.MIN_INTERVAL_LOOP_TIME = 1
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = SECONDS
    main()


def up() -> None:
    from tippers_dagster.cli import main
    from tippers_dagster.stack import services
    from tippers_dagster.stack import supervisor as stack

    def with_quick_daemon(settings):
        return [
            [
                replace(service, command=(sys.executable, __file__, *service.command[2:]))
                if service.name == "daemon"
                else service
                for service in stage
            ]
            for stage in services.stack_services(settings)
        ]

    stack.stack_services = with_quick_daemon
    main()


if sys.argv[1] == "dagster._daemon":
    del sys.argv[1]
    daemon()
else:
    up()
