"""A concept with three labels and two rules, with handmade tables instead of dbt's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import dagster as dg
import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from tippers_dagster.automation.nodes import Node
from tippers_dagster.campus.identities import pseudonymise
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import (
    Body,
    Concept,
    ConceptValue,
    Condition,
    Index,
    Kind,
    LabellingFunction,
    LabelModel,
    Rule,
)
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.labelling.assets import labelling_assets, labelling_nodes
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.platform.lake.keys import definition_key
from tippers_dagster.platform.warehouse.engine import copy_rows, warehouse_engine
from tippers_dagster.settings import Settings

LABELS = ("STATIC", "LAPTOP", "PHONE")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def definition(kind: Kind, name: str, body: Body) -> Definition:
    return Definition(
        Ref("device", name, kind), body, description=f"What {name} is.", owner="ada@campus.edu"
    )


def function(name: str, when: str, label: str, rule: str = "usage") -> Definition:
    body = LabellingFunction(
        rule=rule, labels=(label,), conditions=(Condition(when=when, label=label),)
    )
    return definition(Kind.LABELLING_FUNCTION, name, body)


def model(functions: Sequence[Definition], name: str = "kind_of", **others: object) -> Definition:
    names = tuple(f.ref.name for f in functions)
    body = LabelModel(index="devices", labelling_functions=names, epochs=60, **others)
    return definition(Kind.LABEL_MODEL, name, body)


FUNCTIONS = (
    function("always_on", "hours >= 15", "STATIC"),
    function("one_room", "rooms == 1", "STATIC", rule="places"),
    function("work_rooms", "hours > 1 and hours < 6", "LAPTOP"),
    function("few_rooms", "rooms >= 2 and rooms <= 3", "LAPTOP", rule="places"),
    function("many_rooms", "rooms >= 4", "PHONE", rule="places"),
    function("short", "hours <= 1", "PHONE"),
)
_BASE = (
    Definition(
        Ref("", "device", Kind.CONCEPT),
        Concept(values=tuple(ConceptValue(name=label) for label in LABELS)),
    ),
    definition(Kind.INDEX, "devices", Index(sql="SELECT mac_address FROM int_sessions")),
    definition(Kind.RULE, "usage", Rule(index="devices", sql="SELECT 1")),
    definition(Kind.RULE, "places", Rule(index="devices", sql="SELECT 1")),
)


@dataclass
class World:
    """The tables, and the definitions to compute from them."""

    settings: Settings
    instance: dg.DagsterInstance
    functions: tuple[Definition, ...] = FUNCTIONS
    models: tuple[Definition, ...] = field(default_factory=lambda: (model(FUNCTIONS),))

    @property
    def catalog(self) -> Catalog:
        return Catalog([*_BASE, *self.functions, *self.models])

    @property
    def nodes(self) -> list[Node]:
        above = [Node(("device", name), "1") for name in ("devices", "usage", "places")]
        return [*above, *labelling_nodes(self.settings, self.catalog)]

    def run(self, *names: str) -> dg.ExecuteInProcessResult:
        """Materialize these assets of the concept, or all."""
        assets = labelling_assets(self.settings, self.catalog, self.nodes)
        keys = [["device", name] for name in names]
        return dg.materialize(
            assets,
            instance=self.instance,
            selection=dg.AssetSelection.assets(*keys) if keys else None,
            raise_on_error=False,
            run_config=QUIET,
        )

    def execute(self, sql: str) -> None:
        with warehouse_engine(self.settings).begin() as connection:
            connection.execute(sa.text(sql))

    def query(self, sql: str) -> list[dict[str, object]]:
        with warehouse_engine(self.settings).connect() as connection:
            return [dict(row) for row in connection.execute(sa.text(sql)).mappings()]

    def replace_model(self, **changes: object) -> None:
        body = self.models[0].body.model_copy(update=changes)
        self.models = (replace(self.models[0], body=body),)

    def put(self, schema: str, name: str, rows: pa.Table) -> None:
        """A table as dbt would make it, in the warehouse and in the lake."""
        types = {"string": "text", "double": "double precision", "int64": "bigint"}
        columns = ", ".join(f'"{f.name}" {types[str(f.type)]}' for f in rows.schema)
        with warehouse_engine(self.settings).begin() as connection:
            table = f"{schema}.device__{name}"
            connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
            connection.execute(sa.text(f"DROP TABLE IF EXISTS {table}"))
            connection.execute(sa.text(f"CREATE TABLE {table} ({columns})"))
            copy_rows(connection, table, rows)
        key = definition_key(schema, "device", name)
        open_lake(self.settings).write_table(key, pseudonymise(self.settings, rows))


def keys(n: int) -> pa.Array:
    return pa.array([f"aa:bb:cc:dd:{i >> 8:02x}:{i & 255:02x}" for i in range(n)])


def truth(n: int) -> np.ndarray:
    """int [n]: the device's true class."""
    return np.arange(n) % len(LABELS)


def fill(world: World, n: int = 120) -> None:
    """``n`` devices; the last two have no row in any rule, one in five no places."""
    rng = np.random.default_rng(1)
    true = truth(n)
    known = np.arange(n) < n - 2
    hours = np.choose(true, [20.0, 4.0, 0.5]) * rng.uniform(0.7, 1.3, n)
    rooms = np.choose(true, [1, 2, 6]) + (rng.random(n) < 0.2)
    world.put("indexes", "devices", pa.table({"mac_address": keys(n)}))
    usage = pa.table({"mac_address": keys(n), "hours": hours})
    world.put("rules", "usage", usage.filter(pa.array(known)))
    places = pa.table({"mac_address": keys(n), "rooms": rooms})
    world.put("rules", "places", places.filter(pa.array(known & (np.arange(n) % 5 > 0))))


def written_gold(n: int, every: int = 4) -> str:
    """A CSV file of gold labels."""
    some = range(0, n - 2, every)
    macs, true = keys(n).to_pylist(), truth(n)
    return "key,label\n" + "".join(f"{macs[i]},{LABELS[true[i]]}\n" for i in some)


def as_json(value: object) -> object:
    """A value after a round trip through JSON."""
    return json.loads(json.dumps(value))
