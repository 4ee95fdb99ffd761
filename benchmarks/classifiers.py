"""Time to train a classifier: ``python -m benchmarks.classifiers``.

Materialises the shipped classifier ``device.kind`` with all models of the bank in this process, on
an embedded PostgreSQL and its MLflow, from synthetic labels and features in the lake: reading,
training, logging, registering. Then materialises it as automation does when an input was computed
again with the same rows.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

    from tippers_dagster.catalog.catalog import Catalog
    from tippers_dagster.settings import Settings

LABELS = ("STATIC", "LAPTOP", "PHONE")
SHARES = (0.12, 0.35, 0.53)
SEPARATION = 1.6
"""Distance between labels in standard deviations: the best models are right for nine in ten."""


def labels(entities: int, seed: int = 0) -> np.ndarray:
    """int8 [entities]: class numbers."""
    return np.random.default_rng(seed).choice(len(LABELS), entities, p=SHARES).astype(np.int8)


def features(label: np.ndarray, seed: int = 1) -> dict[str, dict[str, np.ndarray]]:
    """Columns by feature, with the names and distributions of the shipped ones."""
    rng, n = np.random.default_rng(seed), len(label)
    level = rng.normal(size=(n, len(LABELS))) + np.eye(len(LABELS))[label] * SEPARATION
    sessions = np.exp(2 + level[:, 0] + rng.normal(0, 0.5, n)).round() + 1
    mean = np.exp(6 + level[:, 1] + rng.normal(0, 0.4, n))
    dates = np.minimum(sessions, rng.integers(1, 60, n))
    day = rng.dirichlet([0.5, 2, 3, 1], n)
    static = label == 0
    place = rng.dirichlet([0.3] * len(_PLACES), n)
    hours = {name: rng.normal(10, 3, n) - 2 * static for name in _HOURS}
    return {
        "session_statistics": {
            "sessions": sessions,
            "mean_session_seconds": mean,
            "median_session_seconds": mean * rng.uniform(0.5, 1, n),
            "longest_session_seconds": mean * rng.uniform(1, 8, n),
            "dates": dates,
            "sessions_per_date": sessions / dates,
            "first_time": 1.7e9 + rng.uniform(0, 5e6, n),
            "last_time": 1.705e9 + rng.uniform(0, 5e6, n),
            "span_days": (dates * rng.uniform(1, 2, n)).round(),
            "access_points": np.ceil(np.exp(level[:, 2] * 0.8 + 1)),
            "spaces": np.ceil(np.exp(level[:, 2] * 0.7 + 1)),
        },
        "daily_rhythm": {
            **{f"{part}_share": day[:, at] for at, part in enumerate(_PARTS)},
            "weekend_share": rng.beta(0.5, 3, n) * (1 + static),
            **hours,
        },
        "room_profile": {
            **{
                f"{kind}_share": place[:, at] * (1 + 0.3 * (label == at % len(LABELS)))
                for at, kind in enumerate(_PLACES)
            },
            "main_space_share": place.max(axis=1),
            "space_entropy": -(place * np.log2(np.maximum(place, 1e-12))).sum(axis=1),
        },
    }


_PARTS = ("night", "morning", "afternoon", "evening")
_HOURS = ("mean_first_hour", "deviation_first_hour", "mean_last_hour", "deviation_last_hour")
_PLACES = (
    *("office", "faculty_office", "meeting", "lab", "classroom", "common", "library"),
    "elsewhere",
)


def write_inputs(settings: Settings, entities: int) -> None:
    """Write the index, the label model's labels and the features; four in five are confident."""
    import pyarrow as pa

    from tippers_dagster.campus.identities import pseudonymise
    from tippers_dagster.platform.lake import open_lake
    from tippers_dagster.platform.lake.keys import definition_key

    label = labels(entities)
    keys = pa.array([f"02:00:{n >> 24 & 255:02x}:{n >> 16 & 255:02x}:{n >> 8 & 255:02x}:"
                     f"{n & 255:02x}" for n in range(entities)])  # fmt: skip
    most = np.where(np.arange(entities) % 5 == 0, 0.6, 0.9)[:, None]
    given = np.where(np.arange(len(LABELS)) == label[:, None], most, (1 - most) / 2)

    def put(kind: str, name: str, columns: dict[str, Any]) -> None:
        rows: pa.Table = pa.table({"mac_address": keys, **columns})
        key = definition_key(kind, "device", name)
        open_lake(settings).write_table(key, pseudonymise(settings, rows))

    put("indexes", "devices", {})
    probabilities = {f"p_{name.lower()}": given[:, at] for at, name in enumerate(LABELS)}
    named = pa.array(LABELS).take(pa.array(label))
    put("labels", "device_type", {"label": named, **probabilities})
    for name, columns in features(label).items():
        put("features", name, columns)


def used() -> tuple[float, float]:
    """Wall seconds, and CPU seconds of this process and of children that have ended."""
    from joblib.externals.loky import get_reusable_executor  # type: ignore[import-untyped]

    get_reusable_executor().shutdown()  # their seconds are known once they have ended
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(one.ru_utime + one.ru_stime for one in spent)


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """The result of ``work``, and its wall and CPU seconds."""
    before = used()
    result = work()
    wall, cpu = (now - then for now, then in zip(used(), before, strict=True))
    return result, {"wall seconds": round(wall, 1), "CPU seconds": round(cpu, 1)}


def measure(settings: Settings, catalog: Catalog, entities: int) -> dict[str, Any]:
    """The figures of a training, and of a refresh in which nothing has changed."""
    import dagster as dg

    from tippers_dagster.automation.nodes import Node
    from tippers_dagster.automation.runs import STALE_ONLY_TAG
    from tippers_dagster.automation.state import recorder
    from tippers_dagster.catalog.kinds import Kind
    from tippers_dagster.catalog.model import Ref
    from tippers_dagster.learning.classifier_assets import classifier_assets, classifier_nodes
    from tippers_dagster.learning.results import last_result

    write_inputs(settings, entities)
    ref = Ref("device", "kind", Kind.CLASSIFIER)
    own = next(n for n in classifier_nodes(settings, catalog) if n.key == ref.asset_path)
    nodes = [*(Node(key, "1") for key in own.deps), own]
    assets = classifier_assets(settings, catalog, nodes)
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

    with dg.DagsterInstance.ephemeral() as instance:

        def run(**tags: str) -> Any:
            return dg.materialize(assets, instance=instance, run_config=quiet, tags=tags)

        _, training = timed(run)
        result = last_result(settings, ref)
        recorder(settings, nodes, "again").succeeded(own.deps[0])
        _, refresh = timed(partial(run, **{STALE_ONLY_TAG: "true"}))
    assert last_result(settings, ref).run_id == result.run_id, "it was trained again"
    assert result.registered is not None
    models = {one.model: round(one.seconds or 0.0, 2) for one in result.models}
    scores = {m.model: round(m.cross_validated["macro_f1"] or 0.0, 4) for m in result.models}
    return {
        "entities": entities,
        "trained on": result.trained,
        "training": training,
        "refresh with equal rows": refresh,
        "wall seconds of each model": models,
        "their sum": round(sum(models.values()), 1),
        "macro F1, best first": scores,
    }


def main() -> None:
    """Print the figures; ``--json`` also writes them to a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.classifiers", description=__doc__)
    parser.add_argument("--entities", type=int, default=35_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(("TIPPERS_", "DAGSTER_"))]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"TIPPERS_HOME": folder, "TIPPERS_THREADS": str(arguments.threads)}
        from tippers_dagster.catalog.store import load_catalog
        from tippers_dagster.platform.mlflow.client import mlflow_client
        from tippers_dagster.platform.postgres.embedded import stop_embedded
        from tippers_dagster.settings import get_settings

        try:
            settings = get_settings()
            catalog = load_catalog(settings)
            with mlflow_client(settings) as client:
                client.search_experiments()  # creates its tables
            figures = measure(settings, catalog, arguments.entities)
        finally:
            stop_embedded(Path(folder))
    print(json.dumps(figures, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
