"""A small set of definitions on two levels, saved, computed and changed in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import dagster as dg
import sqlalchemy as sa

from tippers_dagster.automation.snapshot import Snapshot
from tippers_dagster.catalog import store
from tippers_dagster.catalog.kinds import (
    Body,
    Concept,
    ConceptValue,
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
from tippers_dagster.graph.launch import Outcome, materialize_definitions
from tippers_dagster.graph.load import Pipeline, load_pipeline
from tippers_dagster.graph.status import AssetStatus, pipeline_status
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

STAGING = {
    "staging/stg_user_ap_trajectory",
    "staging/stg_space",
    "staging/stg_space_metadata",
    "staging/stg_faculty_data",
    "staging/stg_region_to_coverage",
    "staging/int_devices",
    "staging/int_places",
    "staging/int_sessions",
    "staging/int_place_days",
    "staging/int_device_days",
    "staging/int_regions",
    "staging/int_partners",
    "staging/int_company",
    "staging/int_crowds",
    "staging/space_occupancy",
}


def draft(kind: Kind, name: str, body: Body, concept: str = "device") -> Draft:
    return Draft(Ref(concept, name, kind), body)


def function(name: str, when: str, label: str, rule: str = "long") -> Draft:
    body = LabellingFunction(
        rule=rule, labels=(label,), conditions=(Condition(when=when, label=label),)
    )
    return draft(Kind.LABELLING_FUNCTION, name, body)


def rule(name: str, sql: str, index: str = "devices") -> Draft:
    return draft(Kind.RULE, name, Rule(index=index, sql=sql))


LONG = rule(
    "long",
    "SELECT mac_address, avg(seconds) / 3600 AS hours, count(*) AS sessions "
    "FROM int_sessions WHERE mac_address IN (:index_values) GROUP BY mac_address",
)
IS_A = function("is_a", "hours > 3", "A")
FUNCTIONS = [IS_A, function("is_b", "hours <= 3", "B"), function("also_b", "hours < 4", "B")]
ALL = [
    Draft(
        Ref("", "device", Kind.CONCEPT),
        Concept(values=(ConceptValue(name="A"), ConceptValue(name="B"))),
    ),
    draft(Kind.INDEX, "devices", Index(sql="SELECT DISTINCT mac_address FROM int_sessions")),
    LONG,
    *FUNCTIONS,
    draft(
        Kind.LABEL_MODEL,
        "type",
        LabelModel(index="devices", labelling_functions=("is_a", "is_b", "also_b"), epochs=20),
    ),
    draft(
        Kind.DERIVED_INDEX,
        "chosen",
        DerivedIndex(parent="devices", label_model="type", labels=("A",)),
    ),
    rule(
        "days",
        "SELECT mac_address, count(DISTINCT start_time::date) AS days FROM int_sessions "
        "WHERE mac_address IN (:index_values) GROUP BY mac_address",
        index="chosen",
    ),
    draft(
        Kind.FEATURE,
        "numbers",
        Feature(
            index="devices",
            sql="SELECT mac_address, sum(seconds) AS seconds FROM int_sessions "
            "WHERE mac_address IN (:index_values) GROUP BY mac_address",
        ),
    ),
]
NAMES = {f"device/{d.ref.name}" for d in ALL if d.ref.concept}


@dataclass(frozen=True)
class Small:
    """The deployment."""

    settings: Settings
    instance: dg.DagsterInstance

    def save(self, *drafts: Draft) -> None:
        """Save without checking the SQL in the database."""
        store.save_all(self.settings, drafts, by="ada")

    def change(self, given: Draft, body: Body) -> None:
        self.save(replace(given, body=body))

    def materialize(self, selection: str | None = None, **options: bool) -> dict[str, Outcome]:
        found = materialize_definitions(self.settings, self.instance, selection, **options)
        return {outcome.name: outcome for outcome in found}

    def computed(self, selection: str | None = None) -> set[str]:
        """Materialize; all assets must succeed."""
        found = self.materialize(selection)
        bad = [o for o in found.values() if o.state != "computed"]
        assert not bad, bad
        return set(found)

    def pipeline(self) -> Pipeline:
        return load_pipeline(self.settings)

    def status(self) -> dict[str, AssetStatus]:
        pipeline = self.pipeline()
        snapshot = Snapshot.take(self.settings, self.instance, pipeline.nodes)
        return {s.name: s for s in pipeline_status(pipeline, snapshot)}

    def insert_by_hand(self, kind: str, name: str, body: object, concept: str = "device") -> None:
        """Insert an unchecked row into the definitions' table."""
        self.execute(
            "INSERT INTO tippers.definition (kind, concept, name, namespace, version, body, "
            "updated_at, updated_by) VALUES (:kind, :concept, :name, :concept, 1, "
            "CAST(:body AS jsonb), now(), 'nobody')",
            kind=kind,
            name=name,
            concept=concept,
            body=json.dumps(body),
        )

    def execute(self, sql: str, **parameters: object) -> None:
        with warehouse_engine(self.settings).begin() as connection:
            connection.execute(sa.text(sql), parameters)
            connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))

    def keys(self, table: str) -> list[str]:
        with warehouse_engine(self.settings).connect() as connection:
            query = sa.text(f"SELECT mac_address FROM {table} ORDER BY 1")
            return list(connection.scalars(query))
