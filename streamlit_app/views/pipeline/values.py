"""The tree of labels, through all concepts that refine them."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services.pipeline.graph import Graph
from streamlit_app.services.pipeline.values import Branch, value_tree
from streamlit_app.ui.messages import plain, show_errors
from tippers_dagster.platform.text import counted


def show(graph: Graph, concept: str) -> None:
    """The tree of a concept, or the trees of all concepts if it is empty."""
    for top in [concept] if concept else _tops(graph):
        with show_errors():
            st.markdown("\n".join(_lines(value_tree(graph, top), concept, 0)))
    st.caption(
        "A concept can refine a label: entities with this label are then labelled again at the "
        "next level. Counts are the latest results of the label model named beside them."
    )


def _tops(graph: Graph) -> list[str]:
    """Concepts that refine no other concept."""
    trees = {name: value_tree(graph, name).concept for name in graph.concepts}
    return list(dict.fromkeys(trees.values()))


def _lines(branch: Branch, open_concept: str, depth: int) -> list[str]:
    if branch.label:
        name = f"**{plain(branch.label)}**"
    else:
        mark = " (this one)" if branch.concept == open_concept else ""
        name = f"Concept **{plain(branch.concept)}**{mark}"
    facts = [name]
    if branch.entities is not None:
        entities = counted(branch.entities, "entity", "entities")
        facts.append(f"{entities}, by label model {plain(branch.by)}")
    if branch.description:
        facts.append(plain(branch.description))
    lines = [f"{'    ' * depth}- {' · '.join(facts)}"]
    for below in branch.below:
        lines += _lines(below, open_concept, depth + 1)
    return lines
