"""dagster-dbt without dbt."""

from __future__ import annotations

import subprocess
import sys


def printed(code: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_assets_of_dbt_models_are_made_without_importing_dbt() -> None:
    assert (
        printed(
            "import sys, tippers_dagster.sql.assets as assets\n"
            "found = assets.dagster_dbt.dbt_assets.__module__, 'dbt.version' in sys.modules\n"
            "import dbt.version  # is found afterwards\n"
            "print(*found, dbt.version.__name__)"
        )
        == "dagster_dbt.asset_decorator False dbt.version"
    )


def test_a_process_that_uses_dbt_keeps_it() -> None:
    assert (
        printed(
            "import dbt.version, sys\n"
            "import tippers_dagster.platform.dagster.dbt\n"
            "print(sys.modules['dbt'].version is dbt.version)"
        )
        == "True"
    )
