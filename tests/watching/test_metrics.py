"""The metrics: their form, and that documentation, dashboard and alerts name those that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from tests.watching.readings import nothing_read, reading
from tippers_dagster.watching.metrics import METRICS, PARTS, PREFIX
from tippers_dagster.watching.server import exposition

REPOSITORY = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((REPOSITORY / "deploy/grafana/tippers.json").read_text())
ALERTS = yaml.safe_load((REPOSITORY / "deploy/prometheus/alerts.yml").read_text())
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
NAMES = {metric.full_name: metric for metric in METRICS}

NOT_ON_THE_DASHBOARD: set[str] = set()
"""Metrics that no panel shows, on purpose."""

USED = re.compile(rf"\b({PREFIX}\w+)\b(?:\{{([^}}]*)\}})?")


def used(expression: str) -> dict[str, set[str]]:
    """The metrics that an expression names, and their labels in it."""
    found: dict[str, set[str]] = {}
    for name, labels in USED.findall(re.sub(r'"tippers"', '""', expression)):
        found.setdefault(name, set()).update(re.findall(r"(\w+)\s*=", labels))
    return found


def expressions() -> list[str]:
    targets = [target["expr"] for panel in PANELS for target in panel["targets"]]
    variables = [variable["query"] for variable in DASHBOARD["templating"]["list"]]
    return targets + [v["query"] if isinstance(v, dict) else v for v in variables]


def test_names_are_those_that_prometheus_recommends() -> None:
    assert len(NAMES) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"tippers_[a-z][a-z_]*[a-z]", metric.full_name)
        assert metric.text.endswith(".")
        unit = {"s": "_seconds", "By": "_bytes"}.get(metric.unit)
        assert unit is None or metric.name.endswith(unit)
        assert unit is not None or not metric.name.endswith(("_seconds", "_bytes"))


def test_both_formats_are_read_by_the_official_parsers() -> None:
    for accepted, parse in (
        ("", text_string_to_metric_families),
        ("application/openmetrics-text; version=1.0.0", openmetrics_families),
    ):
        text, kind = exposition(reading(), accepted)
        families = {family.name: family for family in parse(text.decode())}
        assert set(families) == set(NAMES)
        assert ("openmetrics" in kind) == bool(accepted)
        for name, family in families.items():
            assert family.type == "gauge"
            assert family.samples, f"{name} has a value if all is well"
            assert {tuple(sample.labels) for sample in family.samples} == {NAMES[name].labels}
        (up,) = families["tippers_up"].samples
        assert up.value == 1
        (stale,) = [
            sample.value
            for sample in families["tippers_partitions"].samples
            if sample.labels == {"asset": "source_occupancy", "state": "done"}
        ]
        assert stale == 104_000


def test_figures_that_could_not_be_read_are_missing() -> None:
    text = exposition(nothing_read())[0].decode()
    values = {
        (s.name, *s.labels.values()): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }
    assert values["tippers_up",] == 0
    assert values["tippers_part_up", "occupancy"] == 0
    assert values["tippers_part_up", "disk"] == 1
    assert {name for name, *_ in values} == {
        "tippers_up",
        "tippers_part_up",
        "tippers_info",
        "tippers_reading_seconds",
    }


def test_every_part_is_a_part_of_a_reading() -> None:
    assert set(nothing_read().failures) < set(PARTS)
    assert all(hasattr(reading(), part) for part in PARTS)


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    shown = {name for expression in expressions() for name in used(expression)}
    assert shown - set(NAMES) == set()
    assert set(NAMES) - shown == NOT_ON_THE_DASHBOARD
    for expression in expressions():
        for name, labels in used(expression).items():
            assert labels <= {*NAMES[name].labels, "job", "instance"}, expression


def test_labels_in_legends_exist() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            known = {label for name in used(target["expr"]) for label in NAMES[name].labels}
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= known, panel["title"]


def test_the_dashboard_works_with_any_prometheus() -> None:
    assert DASHBOARD["schemaVersion"] >= 39, "of Grafana 11"
    source = {"type": "prometheus", "uid": "${datasource}"}
    assert DASHBOARD["templating"]["list"][0]["type"] == "datasource"
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert panel["datasource"] == source
        assert all(target["datasource"] == source for target in panel["targets"])
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
    titles = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert titles == [
        "Freshness",
        "Queue and failures",
        "Occupancy and definitions",
        "Storage",
        "Locks and connections",
    ]


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_alerts_use_metrics_that_exist(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "description"}
    names = used(rule["expr"])
    assert names
    for name, labels in names.items():
        assert name in NAMES
        assert labels <= {*NAMES[name].labels, "job"}
    of_alert = {label for name in names for label in NAMES[name].labels}
    texts = " ".join(rule["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", texts)) <= of_alert
    assert set(re.findall(r"\btippers_\w+", texts)) <= set(NAMES)


def test_the_documented_metrics_are_those_of_the_code() -> None:
    page = (REPOSITORY / "docs/operations.md").read_text()
    section = page.partition("### The metrics\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ?(.*?) \| (.*) \|$", section, re.MULTILINE)
    assert rows == [
        (metric.full_name, ", ".join(f"`{label}`" for label in metric.labels), metric.text)
        for metric in METRICS
    ]
