"""How dbt models appear as Dagster assets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from tippers_dagster.automation.conditions import refreshed
from tippers_dagster.automation.nodes import Node
from tippers_dagster.automation.refresh import in_words
from tippers_dagster.automation.specs import REFRESH
from tippers_dagster.platform.dagster.dbt import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
)
from tippers_dagster.sql.nodes import Resource, key_of, meta_of, tables_behind

# Dagster accepts no more than this: one invalid owner would keep everything from loading.
_EMAIL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._%+-]*@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}")
_TEAM = re.compile(r"team:\S+")


class Translator(DagsterDbtTranslator):
    """How each model looks in Dagster.

    Parameters
    ----------
    nodes
        The node of each asset key: its content is the code version.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        # The tables of the log in the lake are one asset.
        settings = DagsterDbtTranslatorSettings(
            enable_source_metadata=False, enable_duplicate_source_asset_keys=True
        )
        super().__init__(settings)
        self._nodes = {node.key: node for node in nodes}

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: Any
    ) -> dg.AssetSpec:
        """With everything that the tables of the log are made from as inputs."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        behind = tables_behind(manifest, self.get_resource_props(manifest, unique_id))
        deps = [dg.AssetKey(node.key) for node in behind]
        return spec.merge_attributes(deps=deps) if deps else spec

    def get_asset_key(self, dbt_resource_props: Resource) -> dg.AssetKey:
        """``concept/name`` for a definition, ``staging/model`` for a staging model."""
        return dg.AssetKey(list(key_of(dbt_resource_props)))

    def get_group_name(self, dbt_resource_props: Resource) -> str | None:
        """The concept."""
        return meta_of(dbt_resource_props).get("concept", "staging")

    def get_owners(self, dbt_resource_props: Resource) -> list[str] | None:
        """The owner in a form that Dagster accepts: an email address, or ``team:name``."""
        owner = meta_of(dbt_resource_props).get("owner") or ""
        return [owner] if _EMAIL.fullmatch(owner) or _TEAM.fullmatch(owner) else None

    def get_tags(self, dbt_resource_props: Resource) -> Mapping[str, str]:
        """Kind, concept and level, for selecting assets."""
        meta = meta_of(dbt_resource_props)
        if "concept" not in meta:
            return {"tippers/kind": "staging"}
        tags = dbt_resource_props["tags"]
        level = next((t.removeprefix("level_") for t in tags if t.startswith("level_")), "")
        return {
            "tippers/kind": meta["kind"],
            "tippers/concept": meta["concept"],
            f"dagster/kind/{meta['kind']}": "",
            "tippers/level": level,
        }

    def get_metadata(self, dbt_resource_props: Resource) -> Mapping[str, Any]:
        """Where the table is, its described columns, and the definition's own metadata."""
        meta = meta_of(dbt_resource_props)
        shown = ("owner", "index", "parent", "label_model", "labels", "minimum_confidence")
        node = self._nodes.get(key_of(dbt_resource_props))
        return {
            **super().get_metadata(dbt_resource_props),
            **({} if node is None else {REFRESH: in_words(node.refresh)}),
            **{f"tippers/{name}": meta[name] for name in shown if meta.get(name)},
        }

    def get_code_version(self, dbt_resource_props: Resource) -> str | None:
        """Changes with the model, and with any macro or variable that it uses."""
        node = self._nodes.get(key_of(dbt_resource_props))
        return None if node is None else node.content

    def get_automation_condition(
        self, dbt_resource_props: Resource
    ) -> dg.AutomationCondition | None:
        """As the refresh policy of each model says."""
        node = self._nodes.get(key_of(dbt_resource_props))
        if node is None or dbt_resource_props["resource_type"] != "model":
            return None
        return refreshed(in_words(node.refresh))
