"""Which refresh policy each asset has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tippers_dagster.automation.nodes import Node
from tippers_dagster.automation.refresh import default_refresh
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Concept, LabelledOccupancy, PeopleCount
from tippers_dagster.catalog.model import Definition
from tippers_dagster.catalog.refresh import ON_CHANGE, Refresh, parse_refresh
from tippers_dagster.settings import Settings


def definitions_by_asset(catalog: Catalog, names: Iterable[str]) -> dict[str, Definition]:
    """The definition of each asset, by asset name; staging models and synced tables have none.

    The names of a definition's further assets add two underscores and a word.
    """
    own = {ref.asset_name: d for ref, d in catalog.definitions.items()}
    first = {name: name.rpartition("__")[0] for name in names}
    return own | {name: own[of] for name, of in first.items() if of in own}


def with_refresh(settings: Settings, catalog: Catalog, nodes: Sequence[Node]) -> list[Node]:
    """The nodes, each with the policies that it follows.

    * An asset of a concept follows the concept's policy, and so do occupancy by its labels and
      people counted by its labels. Other definitions follow the deployment's default.
    * A staging model belongs to nobody: it is refreshed when any of its readers is.
    * A synced table has an interval of its own.

    Parameters
    ----------
    nodes
        Each after its inputs.

    Raises
    ------
    SettingsError
        When the default is not a policy.
    """
    default = default_refresh(settings)
    definitions = definitions_by_asset(catalog, [node.name for node in nodes])
    of_concepts = {
        d.ref.name: parse_refresh(d.body.refresh)
        for d in catalog.definitions.values()
        if isinstance(d.body, Concept) and d.body.refresh is not None
    }
    found: dict[tuple[str, ...], tuple[Refresh, ...]] = {}
    of_readers: Mapping[tuple[str, ...], dict[Refresh, None]] = defaultdict(dict)
    for node in reversed(nodes):
        if (definition := definitions.get(node.name)) is not None:
            own: tuple[Refresh, ...] = (of_concepts.get(_concept_of(definition), default),)
        elif node.every_seconds is not None:
            own = (ON_CHANGE,)
        else:
            own = tuple(of_readers[node.key]) or (default,)
        found[node.key] = own
        for dep in node.deps:
            of_readers[dep].update(dict.fromkeys(own))
    return [replace(node, refresh=found[node.key]) for node in nodes]


def _concept_of(definition: Definition) -> str:
    """Its concept, or the one whose labels split it; empty without."""
    body = definition.body
    if isinstance(body, LabelledOccupancy | PeopleCount) and body.by:
        return body.by.partition(".")[0]
    return definition.ref.concept
