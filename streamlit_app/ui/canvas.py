"""A canvas of nodes and edges, and the events it reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from streamlit_app.ui.component import component

EVENTS = ("opened", "created", "connected", "moved", "materialise", "reset")


@dataclass(frozen=True)
class Node:
    """A node of the canvas; names and texts are shown literally, never as markup.

    Attributes
    ----------
    standing
        ``fresh``, ``stale``, ``running``, ``failed``, ``broken`` or ``source``.
    elsewhere
        The concept that it belongs to, if it is not part of this picture.
    region
        The frame that it is drawn in, together with other nodes.
    place
        Where somebody moved it to; None: where the layout puts it.
    """

    name: str
    title: str
    kind: str
    standing: str
    why: str = ""
    facts: str = ""
    elsewhere: str = ""
    region: str = ""
    place: tuple[float, float] | None = None

    def data(self) -> dict[str, Any]:
        """The node as the browser gets it."""
        words = self.kind.replace("_", " ")
        return {**asdict(self), "kindWords": words[:1].upper() + words[1:]}


@dataclass(frozen=True)
class Edge:
    """An edge between two nodes. ``through``: drawn dashed; ``implied``: drawn faintly."""

    parent: str
    child: str
    through: bool = False
    implied: bool = False


@dataclass(frozen=True)
class CanvasAction:
    """The person's action since the last run of the page; at most one field is set.

    Attributes
    ----------
    opened
        The name of a node.
    created
        A kind, and the name of the new node's parent, or empty.
    connected
        Parent and child, two existing nodes.
    moved
        The new places of nodes.
    materialise
        Names of nodes.
    reset
        Whether to lay out the whole canvas again.
    """

    opened: str = ""
    created: tuple[str, str] | None = None
    connected: tuple[str, str] | None = None
    moved: Mapping[str, Sequence[float]] | None = None
    materialise: tuple[str, ...] = ()
    reset: bool = False


def canvas(
    label: str,
    nodes: Sequence[Node],
    edges: Sequence[Edge],
    *,
    key: str,
    links: Mapping[str, Sequence[str]],
    palette: Sequence[str],
    may_edit: bool,
    opened: str = "",
    layout: int = 0,
    height: int = 640,
) -> CanvasAction:
    """Draw nodes and edges, and return the person's action.

    Arguments may change with every run: only the differences are redrawn, and the view does not
    move. A new ``key`` makes a new canvas, which fits all of its nodes into the view at first.

    Parameters
    ----------
    links
        For each kind, the kinds of its possible children: edges can be drawn between these.
    palette
        Kinds that can be created.
    opened
        The node whose edges are highlighted.
    layout
        A new number lays out the whole canvas again.
    height
        Height in pixels.
    """
    data = {
        "label": label,
        "nodes": [node.data() for node in nodes],
        "edges": [asdict(edge) for edge in edges],
        "links": {kind: list(children) for kind, children in links.items()},
        "palette": [{"kind": kind, "words": kind.replace("_", " ")} for kind in palette],
        "mayEdit": may_edit,
        "opened": opened,
        "height": height,
        "layout": layout,
    }
    callbacks: dict[str, Any] = {f"on_{event}_change": _nothing for event in EVENTS}
    return _action(component("canvas")(key=key, data=data, **callbacks))


def _action(events: Mapping[str, Any]) -> CanvasAction:
    if created := events.get("created"):
        return CanvasAction(created=(str(created["kind"]), str(created["parent"] or "")))
    if edge := events.get("connected"):
        return CanvasAction(connected=(str(edge["parent"]), str(edge["child"])))
    if moved := events.get("moved"):
        return CanvasAction(moved=dict(moved["places"]))
    if nodes := events.get("materialise"):
        return CanvasAction(materialise=tuple(str(name) for name in nodes["names"]))
    if events.get("reset") is not None:
        return CanvasAction(reset=True)
    return CanvasAction(opened=str((events.get("opened") or {}).get("name", "")))


def _nothing() -> None:
    """An empty callback: a component only has the events that have one."""
