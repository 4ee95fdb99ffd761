"""Nodes of the graph of definition assets, and their versions.

The version of an asset is a hash of its own content (the text that says how it is computed) and of
the versions of its inputs. One pass in topological order thus finds every asset that is out of
date, wherever upstream the change is.

Its lineage is the same hash without the data: it differs only if a definition does, the asset's own
or one upstream. It separates changed definitions from changed data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from tippers_dagster.catalog.refresh import ON_CHANGE, Refresh
from tippers_dagster.errors import TippersError

_ADDED = "+"
"""In a version, before what dependents do not see."""


@dataclass(frozen=True)
class Table:
    """A source table in the warehouse's database.

    ``query``: a query that returns one text, which changes when the relevant rows do, or a function
    that is given a connection and returns it; if None, all rows are relevant.
    """

    schema: str
    name: str
    query: str | Callable[[Any], str] | None = None


@dataclass(frozen=True)
class Node:
    """A definition asset, or a source table that definitions read.

    Parameters
    ----------
    key
        Parts of the asset key.
    content
        A hash of everything that says how the asset is computed; empty for a source.
    deps
        Keys of the inputs.
    source
        The table, if this is a source.
    broken
        Why the asset cannot be computed at all, in words for its author.
    every_seconds
        For an asset that reads external data: it is computed again after this many seconds. The
        token that each computation returns (``Recorder.succeeded``) is part of its version.
    seen_by_token
        For such an asset: dependents use its token as its version. It is computed whenever its
        inputs change, its dependents only if its token then changes.
    entered
        For a source: people enter its rows in the app, and wait for the result. A change counts
        like that of a definition.
    refresh
        When it is computed after its data changed: as soon as one of these policies says so.
    added
        A hash of what came later and changes nothing of what dependents had read: further columns
        of a view. Only the asset itself is computed again.
    """

    key: tuple[str, ...]
    content: str = ""
    deps: tuple[tuple[str, ...], ...] = ()
    source: Table | None = None
    broken: str | None = None
    every_seconds: int | None = None
    seen_by_token: bool = False
    entered: bool = False
    refresh: tuple[Refresh, ...] = (ON_CHANGE,)
    added: str = ""

    @property
    def name(self) -> str:
        """The key in Dagster's notation, which the warehouse's tables use, too."""
        return "/".join(self.key)


def digest(*parts: str) -> str:
    """A short hash of a sequence of texts, as hexadecimal digits."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode()
        state.update(len(encoded).to_bytes(8, "little"))
        state.update(encoded)
    return state.hexdigest()


def in_dependency_order(nodes: Iterable[Node]) -> list[Node]:
    """The nodes, each after its inputs; inputs that are not among the nodes are left out."""
    by_key = {node.key: node for node in nodes}
    graph = {node.key: [d for d in node.deps if d in by_key] for node in by_key.values()}
    return [by_key[key] for key in TopologicalSorter(graph).static_order()]


def version_of(
    node: Node, versions: Mapping[tuple[str, ...], str | None], token: str | None = None
) -> str:
    """The version of a node that reads inputs of these versions; ``None``: never computed.

    ``token``: the token of the external data, for a node with ``every_seconds``.
    """
    read = [f"{'/'.join(dep)}={versions[dep] or ''}" for dep in sorted(node.deps)]
    version = digest(node.content, *read, *([] if token is None else [token]))
    return f"{version}{_ADDED}{node.added}" if node.added else version


def lineage_of(
    node: Node, lineages: Mapping[tuple[str, ...], str | None], token: str | None = None
) -> str:
    """The lineage of a node that reads inputs of these lineages; ``None``: not recorded.

    ``token``: the token of a source.
    """
    if node.source is not None:
        # The first rows of a source with a query do not wait, like a change of its definition.
        first = node.source.query is not None and not token
        return digest(token or "") if node.entered or first else ""
    read = [f"{'/'.join(d)}={without_added(lineages[d]) or ''}" for d in sorted(node.deps)]
    lineage = digest(node.content, *read)
    return f"{lineage}{_ADDED}{node.added}" if node.added else lineage


def seen_version(node: Node, version: str | None, token: str | None) -> str | None:
    """The version of a node as its dependents see it; ``token``: its last one."""
    if node.seen_by_token:
        return token
    return version if node.source is not None else without_added(version)


def without_added(version: str | None) -> str | None:
    """A version, or lineage, without what dependents do not see."""
    return None if version is None else version.partition(_ADDED)[0]


def wanted_versions(nodes: Iterable[Node], tokens: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    """The version that every node would have if all of them were computed now.

    Parameters
    ----------
    nodes
        All assets and sources.
    tokens
        By name, for sources and assets that read external data: a text that differs whenever the
        rows may differ.

    Raises
    ------
    TippersError
        When a node reads an asset that does not exist.
    """
    versions: dict[tuple[str, ...], str] = {}
    seen: dict[tuple[str, ...], str | None] = {}
    for node in in_dependency_order(nodes):
        if node.source is not None:
            seen[node.key] = versions[node.key] = tokens.get(node.name, "")
            continue
        unknown = [dep for dep in node.deps if dep not in versions]
        if unknown:
            raise TippersError(
                f"{node.name} reads {', '.join('/'.join(dep) for dep in unknown)}, "
                "but no definition has this name."
            )
        token = tokens.get(node.name) if node.every_seconds is not None else None
        versions[node.key] = version_of(node, seen, token)
        seen[node.key] = seen_version(node, versions[node.key], token)
    return versions
