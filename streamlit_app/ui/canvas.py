"""A canvas of nodes and edges: what is drawn, and what somebody did with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from streamlit_app.ui.component import mounting

EVENTS = ("opened", "created", "connected", "moved", "materialise", "reset")


@dataclass(frozen=True)
class Node:
    """A node as it is drawn; names and texts are shown as they are, never as markup.

    Attributes
    ----------
    standing
        ``fresh``, ``stale``, ``running``, ``failed``, ``broken`` or ``source``.
    elsewhere
        Whose it is, when it is not part of this picture.
    region
        What it is drawn in, together with others.
    place
        Where somebody put it; None: where the layout does.
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
        """What travels to the browser."""
        words = self.kind.replace("_", " ")
        return {**asdict(self), "kindWords": words[:1].upper() + words[1:]}


@dataclass(frozen=True)
class Edge:
    """From one node to another. ``through``: drawn dashed; ``implied``: drawn faintly."""

    parent: str
    child: str
    through: bool = False
    implied: bool = False


@dataclass(frozen=True)
class Done:
    """What somebody did since the last run of the page; at most one field is set.

    Attributes
    ----------
    opened
        A node's name.
    created
        A kind, and the name of the node that is to be the parent, if any.
    connected
        Parent and child, two nodes that are there.
    moved
        Where nodes were put.
    materialise
        Names of nodes.
    reset
        Whether all of it is to be laid out anew.
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
) -> Done:
    """Draw nodes and edges, and return what somebody did with them.

    What is given may change with every run: only what differs is drawn anew, and nobody's view
    is moved. Another ``key`` is another canvas, which shows all of itself at first.

    Parameters
    ----------
    links
        The kinds of which a node of a kind can be the parent: where edges can be drawn.
    palette
        Kinds that can be made.
    opened
        The node whose edges are marked.
    layout
        Another number lays all of it out anew.
    height
        Pixels.
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
    return _done(mounting("canvas")(key=key, data=data, **callbacks))


def _done(told: Mapping[str, Any]) -> Done:
    if made := told.get("created"):
        return Done(created=(str(made["kind"]), str(made["parent"] or "")))
    if edge := told.get("connected"):
        return Done(connected=(str(edge["parent"]), str(edge["child"])))
    if moved := told.get("moved"):
        return Done(moved=dict(moved["places"]))
    if asked := told.get("materialise"):
        return Done(materialise=tuple(str(name) for name in asked["names"]))
    if told.get("reset") is not None:
        return Done(reset=True)
    return Done(opened=str((told.get("opened") or {}).get("name", "")))


def _nothing() -> None:
    """Having a callback is what declares an event of a component."""
