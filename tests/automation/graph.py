"""A graph of small assets that read one source table; ticks and runs happen in this process."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.sensor_definition import SensorExecutionData

from tippers_dagster.automation.conditions import up_to_date
from tippers_dagster.automation.nodes import Node, Table, in_dependency_order
from tippers_dagster.automation.sensor import SENSOR, definitions_sensor
from tippers_dagster.automation.state import recorder
from tippers_dagster.platform.warehouse.engine import warehouse_engine
from tippers_dagster.settings import Settings

SOURCE = Node(("sessions",), source=Table("public", "sessions"))


def node(name: str, *reads: str, content: str = "1", **others: object) -> Node:
    return Node((name,), content, tuple((read,) for read in reads), **others)


def execute(settings: Settings, sql: str) -> None:
    """Change the source, and make PostgreSQL count the change at once."""
    with warehouse_engine(settings).begin() as connection:
        connection.execute(sa.text(sql))
        connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))


class Graph:
    """Assets of these nodes; each run notes what it computed, in order.

    ``broken``: assets that fail. ``killed``: assets whose process dies while it writes. ``full``:
    assets that find the disk full. ``meanwhile``: what happens while an asset is computed.
    """

    def __init__(
        self, settings: Settings, instance: dg.DagsterInstance, nodes: Iterable[Node]
    ) -> None:
        self.settings, self.instance = settings, instance
        self.broken: set[str] = set()
        self.dying: set[str] = set()
        self.killed: set[str] = set()
        self.full: set[str] = set()
        self.meanwhile: dict[str, Callable[[], object]] = {}
        self.computed: list[str] = []
        self.why: str | None = None
        self.cursor: str | None = None
        self.load(nodes)

    def load(self, nodes: Iterable[Node]) -> None:
        """Load other definitions."""
        self.nodes = in_dependency_order(nodes)
        self.assets = [self._asset(n) for n in self.nodes if n.source is None]
        defs = dg.Definitions(
            assets=[*self.assets, *(dg.AssetSpec(n.key) for n in self.nodes if n.source)],
            sensors=[definitions_sensor(self.settings, self.nodes, lambda: self.why)],
            executor=dg.in_process_executor,
        )
        self.repository = defs.get_repository_def()

    def change(self, name: str, **changes: object) -> None:
        """Change a node."""
        self.load(replace(n, **changes) if n.name == name else n for n in self.nodes)

    def tick(self) -> SensorExecutionData:
        context = dg.build_sensor_context(
            instance=self.instance, repository_def=self.repository, cursor=self.cursor
        )
        data = self.repository.get_sensor_def(SENSOR).evaluate_tick(context)
        self.cursor = data.cursor
        return data

    def asked(self) -> set[str]:
        """The assets that one tick requests, in one run at most."""
        requests = self.tick().run_requests or []
        assert len(requests) <= 1
        return {"/".join(key.path) for r in requests for key in r.asset_selection}

    def run(self, names: set[str]) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            self.assets,
            instance=self.instance,
            selection=[dg.AssetKey(n.split("/")) for n in names],
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )

    def until_quiet(self) -> list[str]:
        """Repeat ticks and runs until nothing is requested; returns what was computed, in order."""
        self.computed = []
        for _ in range(8):
            asked = self.asked()
            if not asked:
                return self.computed
            self.run(asked)
        raise AssertionError(f"never quiet: {self.computed}")

    def _asset(self, n: Node) -> dg.AssetsDefinition:
        @dg.asset(
            key=n.key, deps=[dg.AssetKey(d) for d in n.deps], automation_condition=up_to_date()
        )
        def computed(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            if n.name in self.dying:
                raise dg.Failure("the process died before it could report anything")
            record = recorder(self.settings, [n], context.run.run_id)
            self.computed.append(n.name)
            self.meanwhile.pop(n.name, lambda: None)()
            if n.name in self.broken:
                record.failed(n.key, "division by zero")
                raise dg.Failure("division by zero")
            if n.name in self.full:
                record.failed(n.key, "The disk is full.", environment_failed=True)
                raise dg.Failure("The disk is full.")
            record.replacing(n.key)
            if n.name in self.killed:
                raise dg.Failure("the process died before it could record anything")
            version = record.succeeded(n.key, rows=1, seconds=0.5)
            return dg.MaterializeResult(data_version=dg.DataVersion(version))

        return computed


MakeGraph = Callable[..., Graph]
