"""What an asset is computed from, as versions.

The version of an asset is a hash of its own content (the text that says how it is computed) and
of the versions of what it reads. So one pass in topological order tells every asset that is out
of date, whatever was changed and however far above.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter

from tippers_dagster.errors import TippersError


@dataclass(frozen=True)
class Table:
    """A table of the warehouse's database that is read and not made here.

    ``query``: what of it matters, as a query of one text; none: all of its rows do.
    """

    schema: str
    name: str
    query: str | None = None


@dataclass(frozen=True)
class Node:
    """One asset of the definitions, or a source table that they read.

    Parameters
    ----------
    key
        Parts of the asset key.
    content
        A hash of all that says how it is computed; nothing for a source.
    deps
        Keys of what it reads.
    source
        The table, for a source.
    broken
        Why it cannot be computed at all, in words for its author.
    every_seconds
        For what reads from outside the warehouse: it is computed again after so many seconds, and
        the token that it gives each time (``Recorder.succeeded``) is part of its version.
    seen_by_token
        For such a one: what reads it takes the token for its version. So it is computed whenever
        its inputs change, and what reads it only when it then finds something else.
    """

    key: tuple[str, ...]
    content: str = ""
    deps: tuple[tuple[str, ...], ...] = ()
    source: Table | None = None
    broken: str | None = None
    every_seconds: int | None = None
    seen_by_token: bool = False

    @property
    def name(self) -> str:
        """The key as Dagster and our tables write it."""
        return "/".join(self.key)


def digest(*parts: str) -> str:
    """A short hash of texts in order, as hexadecimal digits."""
    mixed = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode()
        mixed.update(len(encoded).to_bytes(8, "little"))
        mixed.update(encoded)
    return mixed.hexdigest()


def in_order(nodes: Iterable[Node]) -> list[Node]:
    """The nodes, each after those it reads; what is read and not among them is left out."""
    by_key = {node.key: node for node in nodes}
    graph = {node.key: [d for d in node.deps if d in by_key] for node in by_key.values()}
    return [by_key[key] for key in TopologicalSorter(graph).static_order()]


def version_of(
    node: Node, versions: Mapping[tuple[str, ...], str | None], token: str | None = None
) -> str:
    """The version of a node that reads these versions; ``None`` is one that was never computed.

    ``token``: what was found outside, for a node with ``every_seconds``.
    """
    read = [f"{'/'.join(dep)}={versions[dep] or ''}" for dep in sorted(node.deps)]
    return digest(node.content, *read, *([] if token is None else [token]))


def seen_version(node: Node, version: str | None, token: str | None) -> str | None:
    """What those that read a node take for its version; ``token``: the last that it gave."""
    return token if node.seen_by_token else version


def wanted_versions(nodes: Iterable[Node], tokens: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    """The version that every node would have, were all of them computed now.

    Parameters
    ----------
    nodes
        All assets and sources.
    tokens
        For the name of each source, and of what reads from outside: what differs whenever its rows
        may differ.

    Raises
    ------
    TippersError
        When something reads what nobody makes.
    """
    versions: dict[tuple[str, ...], str] = {}
    seen: dict[tuple[str, ...], str | None] = {}
    for node in in_order(nodes):
        if node.source is not None:
            seen[node.key] = versions[node.key] = tokens.get(node.name, "")
            continue
        unknown = [dep for dep in node.deps if dep not in versions]
        if unknown:
            raise TippersError(
                f"{node.name} reads {', '.join('/'.join(dep) for dep in unknown)}, "
                "which no definition makes."
            )
        token = tokens.get(node.name) if node.every_seconds is not None else None
        versions[node.key] = version_of(node, seen, token)
        seen[node.key] = seen_version(node, versions[node.key], token)
    return versions
