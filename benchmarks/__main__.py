"""Runs the main benchmarks one after another: ``python -m benchmarks`` (``make bench``)."""

from __future__ import annotations

import argparse
import subprocess
import sys

MODULES = (
    "benchmarks.engine",
    "benchmarks.end_to_end",
    "benchmarks.votes",
    "benchmarks.label_model",
)


def main() -> None:
    """Run each in a separate process, so that peak memory is measured separately."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--sessions", type=int, default=10_000_000)
    sessions = parser.parse_args().sessions
    for module in MODULES:
        print(f"\n{module}", flush=True)
        subprocess.run([sys.executable, "-m", module, "--sessions", str(sessions)], check=True)


if __name__ == "__main__":
    main()
