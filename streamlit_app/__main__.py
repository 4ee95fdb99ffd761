"""``python -m streamlit_app``: the app in Streamlit; options are those of ``streamlit run``."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from pathlib import Path

SLOW = (
    "altair",
    "dagster_postgres",
    "mlflow",
    "sklearn",
    "tippers_dagster.labelling.gold",
    "tippers_dagster.learning.registry",
    "tippers_dagster.pipeline.save",
    "tippers_dagster.pipeline.status",
    "tippers_dagster.refresh.snapshot",
)
"""What pages import when they need it, which takes a second or two in all."""


def main() -> None:
    """Serve the app, until it is stopped."""
    for name in SLOW:  # before there is anybody who would wait for it
        import_module(name)
    # Streamlit collects garbage after every run of a page. In all that is imported by now it would
    # look for it for 0.2 s, and meanwhile nobody's page goes on.
    gc.collect()
    gc.freeze()
    from streamlit.web import cli

    sys.argv = ["streamlit", "run", str(Path(__file__).with_name("app.py")), *sys.argv[1:]]
    cli.main()


if __name__ == "__main__":
    main()
