"""`python -m tippers_dagster.cli`: the same as `tippers`."""

from tippers_dagster.cli import main

main()
