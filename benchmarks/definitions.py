"""Time to load the code location with many definitions: ``benchmarks.definitions``.

Saves the definitions in a separate deployment on an embedded PostgreSQL. Then a new process loads
them, like Dagster's code server: cold (dbt parses everything), unchanged, and after a change of one
rule.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tippers_dagster.catalog.model import Draft

PER_CONCEPT = 50
RULES, FUNCTIONS = 22, 16

LOAD = """
import json, sys, time
started = last = time.perf_counter()
stages = {}
def stage(name):
    global last
    now = time.perf_counter()
    stages[name], last = now - last, now
from tippers_dagster.settings import get_settings
from tippers_dagster.catalog.store import load_catalog
settings = get_settings()
catalog = load_catalog(settings)
problems = dict(catalog.problems)
stage("catalog")
from tippers_dagster.sql.project import rendered_project
project = rendered_project(settings, catalog)
stage("dbt project")
import dagster as dg
import tippers_dagster.platform.dagster.dbt
stage("import of Dagster and dagster-dbt")
from tippers_dagster.sql.nodes import dbt_nodes
nodes = dbt_nodes(project)
stage("nodes")
from tippers_dagster.sql.assets import dbt_assets
assets = dbt_assets(settings, project, nodes)
stage("dbt assets")
print(json.dumps({"stages": stages, "models": len(nodes), "broken": len(project.broken),
                  "all": time.perf_counter() - started}))
"""

LOCATION = """
import json, time
started = time.perf_counter()
import dagster as dg
from tippers_dagster.definitions import defs
found = defs()
dg.Definitions.validate_loadable(found)
print(json.dumps({"assets": len(list(found.resolve_all_asset_keys())),
                  "all": time.perf_counter() - started}))
"""


def drafts(count: int) -> list[Draft]:
    """``count`` definitions, in concepts of ``PER_CONCEPT`` each, with all four kinds of SQL."""
    from tippers_dagster.catalog.kinds import Concept, ConceptValue, Kind
    from tippers_dagster.catalog.model import Draft, Ref

    found: list[Draft] = []
    for number in range(-(-count // PER_CONCEPT)):
        concept = f"bench_{number}"
        values = (ConceptValue(name="A"), ConceptValue(name="B"), ConceptValue(name="C"))
        found.append(Draft(Ref("", concept, Kind.CONCEPT), Concept(values=values)))
        found += _members(concept)
    return found[: count + len(found) // PER_CONCEPT]


def _members(concept: str) -> list[Draft]:
    from tippers_dagster.catalog.kinds import (
        Condition,
        DerivedIndex,
        Feature,
        Index,
        Kind,
        LabellingFunction,
        LabelModel,
        Rule,
    )
    from tippers_dagster.catalog.model import Draft, Ref

    def draft(kind: Kind, name: str, body: object) -> Draft:
        return Draft(Ref(concept, name, kind), body, f"One row per device: {name}.")  # type: ignore[arg-type]

    index = Index(sql="SELECT DISTINCT mac_address FROM int_sessions WHERE seconds > 60")
    functions = tuple(f"votes_{n}" for n in range(FUNCTIONS))
    chosen = DerivedIndex(parent="all", label_model="model", labels=("A",))
    found = [
        draft(Kind.INDEX, "all", index),
        *(draft(Kind.RULE, f"rule_{n}", Rule(index="all", sql=rule(n))) for n in range(RULES)),
        *(
            draft(
                Kind.LABELLING_FUNCTION,
                name,
                LabellingFunction(
                    rule=f"rule_{n % RULES}",
                    labels=("A", "B"),
                    conditions=(
                        Condition(when="mean_hours > 3 and days >= 2", label="A"),
                        Condition(when="share < 0.5", label="B"),
                    ),
                ),
            )
            for n, name in enumerate(functions)
        ),
        draft(Kind.LABEL_MODEL, "model", LabelModel(index="all", labelling_functions=functions)),
        draft(Kind.DERIVED_INDEX, "chosen", chosen),
    ]
    left = range(PER_CONCEPT - 1 - len(found))
    feature = Feature(index="chosen", sql=rule(0))
    return [*found, *(draft(Kind.FEATURE, f"feature_{n}", feature) for n in left)]


def rule(number: int) -> str:
    """SQL like that of analysts."""
    return (
        "WITH per_day AS (\n"
        "    SELECT mac_address, local_date, avg(seconds) / 3600.0 AS hours, count(*) AS sessions\n"
        f"    FROM int_sessions WHERE seconds > {number}\n"
        "    AND mac_address IN (:index_values) GROUP BY mac_address, local_date\n"
        ")\n"
        "SELECT mac_address, avg(hours) AS mean_hours, count(*) AS days,\n"
        "    count(*) FILTER (WHERE hours > 1)::double precision / count(*) AS share\n"
        "FROM per_day GROUP BY mac_address"
    )


def save(count: int) -> float:
    """Save definitions; returns the seconds that it took."""
    from tippers_dagster.catalog.store import save_all
    from tippers_dagster.settings import get_settings

    started = time.perf_counter()
    save_all(get_settings(), drafts(count), by="benchmark")
    return time.perf_counter() - started


def change_one() -> None:
    """Change a threshold in one rule."""
    from tippers_dagster.catalog.kinds import Kind, Rule
    from tippers_dagster.catalog.model import Draft, Ref
    from tippers_dagster.catalog.store import save_all
    from tippers_dagster.settings import get_settings

    body = Rule(index="all", sql=rule(12345))
    draft = Draft(Ref("bench_0", "rule_0", Kind.RULE), body, "Changed.")
    save_all(get_settings(), [draft], by="benchmark")


def measure(code: str) -> dict[str, object]:
    """The last output of a new process that runs the code; ``wall`` includes its start and end."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ
    )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {**found, "wall": time.perf_counter() - started}


def main() -> None:
    """Print the figures; ``--json`` also writes them to a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--definitions", type=int, default=500)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(("TIPPERS_", "DAGSTER_"))]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TIPPERS_HOME"] = folder
        os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
        from tippers_dagster.platform.postgres.embedded import stop_embedded

        try:
            figures = _figures(arguments.definitions)
        finally:
            stop_embedded(Path(folder))
    print(json.dumps(figures, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


def _figures(count: int) -> dict[str, object]:
    figures: dict[str, object] = {"definitions": count, "seconds to save": save(count)}
    figures["cold"] = measure(LOAD)
    figures["unchanged"] = measure(LOAD)
    change_one()
    figures["one rule changed"] = measure(LOAD)
    figures["code location, unchanged"] = measure(LOCATION)
    return figures


if __name__ == "__main__":
    main()
