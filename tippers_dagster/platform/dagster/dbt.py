"""dagster-dbt, imported without dbt.

dbt runs in processes of its own; this one reads its manifest. Importing dbt as well would double
the time that each process takes to load the definitions. dagster-dbt does without where dbt is not
installed, so it is not while dagster-dbt is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast


@contextmanager
def _not_installed(name: str) -> Iterator[None]:
    """Let a package not be found, unless it has been imported already."""
    modules = cast(dict[str, object], sys.modules)
    if name in modules:
        yield
        return
    modules[name] = None  # Python's own mark of a module that is not there
    try:
        yield
    finally:
        del modules[name]


with _not_installed("dbt"):
    from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, dbt_assets

__all__ = ["DagsterDbtTranslator", "DagsterDbtTranslatorSettings", "dbt_assets"]
