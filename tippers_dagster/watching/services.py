"""Checks the services of a deployment, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from tippers_dagster.platform.dagster.addresses import stack_owner
from tippers_dagster.settings import Settings
from tippers_dagster.stack.automation_health import automation_services
from tippers_dagster.stack.health import Trouble, web_trouble
from tippers_dagster.stack.services import app_address, mlflow_address

ANSWER_SECONDS = 3.0


def read_services(settings: Settings) -> Mapping[str, str | None]:
    """Why each service that should run does not work; None: it works.

    Empty if no stack of this deployment is known to run. The app and MLflow are checked only where
    `tippers up` starts them.
    """
    pages = {}
    if stack_owner(settings) is not None:
        pages["app"] = f"{app_address(settings)}/_stcore/health"
        if (mlflow := mlflow_address(settings)) is not None:
            pages["mlflow"] = f"{mlflow}/health"
    with ThreadPoolExecutor(len(pages) + 1) as pool:
        automation = pool.submit(automation_services, settings, ANSWER_SECONDS)
        checks = {n: pool.submit(web_trouble, url, ANSWER_SECONDS) for n, url in pages.items()}
        found: dict[str, Trouble | None] = {
            **automation.result(),
            **{name: check.result() for name, check in checks.items()},
        }
    return {name: None if trouble is None else trouble.why for name, trouble in found.items()}
