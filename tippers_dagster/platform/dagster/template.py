"""Imported last in the process from which a code server forks others."""

from tippers_dagster.platform.dagster.run_workers import be_template

be_template()
