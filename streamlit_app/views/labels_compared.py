"""A label model beside another one, or beside what it gave before."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from streamlit_app.services import labels as service
from streamlit_app.services.app import App
from streamlit_app.services.labels import Turn
from streamlit_app.ui import state
from streamlit_app.ui.messages import plain
from tippers_dagster.catalog.model import Ref
from tippers_dagster.labelling.past import ABSENT, KEPT, Past
from tippers_dagster.platform.dagster.addresses import run_link

_WITH = {"before": "What it gave before", "model": "Another label model"}


def show(app: App, models: Sequence[Ref], ref: Ref) -> None:
    """Both ways of comparing."""
    key = "labels.with"
    st.session_state[key] = state.one_of("with", list(_WITH), "before")
    how = st.segmented_control(
        "Compare with",
        list(_WITH),
        format_func=_WITH.__getitem__,
        key=key,
        required=True,
        on_change=lambda: state.put(**{"with": st.session_state[key]}),
    )
    if how == "before":
        _before(app, ref)
    else:
        _model(app, models, ref)


# --- materialisations ----------------------------------------------------------------------------
def _before(app: App, ref: Ref) -> None:
    kept = service.materialisations(app, ref)
    if len(kept) < 2:
        st.info(
            "There is nothing to compare with yet: what it gives is kept from now on, whenever "
            "something changes that it is computed from. Change a labelling function, or its "
            "rule, and come back.",
            icon=":material/info:",
        )
        return
    zone = ZoneInfo(app.settings.timezone)
    names = {p.version: f"{p.at.astimezone(zone):%Y-%m-%d %H:%M:%S}" for p in kept}
    with st.container(horizontal=True):
        after = _choice("After", "after", kept[:-1], names)
        earlier = kept[kept.index(after) + 1 :]
        before = _choice("Before", "before", earlier, names)
    _turn(app, service.turn(app, ref, before, after))


def _choice(label: str, name: str, options: Sequence[Past], names: dict[str, str]) -> Past:
    """One of them, by the address; the newest unless it says."""
    versions = [p.version for p in options]
    key = f"labels.{name}"
    st.session_state[key] = state.one_of(name, versions, versions[0])
    version = st.selectbox(
        label,
        versions,
        format_func=names.__getitem__,
        key=key,
        on_change=lambda: state.put(**{name: st.session_state[key]}),
        help=f"When it was computed. The last {KEPT} that differ are kept.",
        width=240,
    )
    return options[versions.index(version)]


def _turn(app: App, found: Turn) -> None:
    if not found.both:
        st.warning("They have no entity in common.", icon=":material/warning:")
    else:
        share = found.changed / found.both
        st.markdown(
            f"Of {found.both:,} entities that both have, **{found.changed:,} ({share:.1%}) got "
            f"another label**.{_only_one(found)}"
        )
    _scores(found)
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("Labels")
        st.dataframe(
            [
                {"Label": name, "Before": then, "After": now, "Change": now - then}
                for name, then, now in found.classes
                if then or now
            ],
            hide_index=True,
            column_config={"Change": st.column_config.NumberColumn(format="%+d")},
        )
    with right:
        st.subheader("From which to which")
        moves = [(a, b, n) for a, b, n in found.moves if a != b]
        if moves:
            frame = pd.DataFrame(moves, columns=["Before", "After", "Entities"])
            st.dataframe(frame, hide_index=True)
        else:
            st.caption("Every entity has the label that it had.")
    st.subheader("Labelling functions")
    frame = pd.DataFrame(found.functions).dropna(axis="columns", how="all")
    share_columns = [c for c in frame.columns if c.startswith("Coverage")]
    st.dataframe(
        frame,
        hide_index=True,
        height=min(35 * len(frame) + 38, 738),
        column_config={
            c: st.column_config.NumberColumn(format="percent" if c in share_columns else "%.3f")
            for c in frame.columns[1:]
        },
    )
    _runs(app, found)


def _only_one(found: Turn) -> str:
    came = sum(n for a, _, n in found.moves if a == ABSENT)
    went = sum(n for _, b, n in found.moves if b == ABSENT)
    told = [f"{came:,} came" if came else "", f"{went:,} went" if went else ""]
    return f" {' and '.join(filter(None, told))}." if came or went else ""


def _scores(found: Turn) -> None:
    """On the gold labels of their times."""
    then, now = (p.details.get("gold") for p in (found.before, found.after))
    if not then or not now:
        return
    st.markdown(
        f"On the gold labels: accuracy {then['accuracy']:.1%} before, {now['accuracy']:.1%} after; "
        f"macro F1 {then['macro_f1']:.3f} and {now['macro_f1']:.3f}, on {then['entities']:,} and "
        f"{now['entities']:,} of them."
    )


def _runs(app: App, found: Turn) -> None:
    with st.container(horizontal=True):
        for label, one in (("The run before", found.before), ("The run after", found.after)):
            st.link_button(
                label,
                run_link(app.settings, one.run_id),
                icon=":material/open_in_new:",
                type="tertiary",
            )


# --- label models --------------------------------------------------------------------------------
def _model(app: App, models: Sequence[Ref], ref: Ref) -> None:
    others = [str(m) for m in models if m != ref]
    if not others:
        st.info("There is no other label model to compare with.", icon=":material/info:")
        return
    asked = state.get("other")
    at = others.index(asked) if asked in others else 0
    other = st.selectbox("With", others, index=at, key="labels.other", width=420)
    state.put(other=other)
    cells = service.compare(app, ref, next(m for m in models if str(m) == other))
    total = sum(n for *_, n in cells)
    if not total:
        st.info("They have no entity in common.", icon=":material/info:")
        return
    frame = pd.DataFrame(cells, columns=[str(ref), other, "Entities"])
    st.dataframe(
        frame.pivot_table(index=str(ref), columns=other, values="Entities", fill_value=0),
        width="stretch",
    )
    same = sum(n for one, two, n in cells if one == two)
    st.markdown(
        f"{total:,} entities are in both; {same:,} of them ({same / total:.1%}) have a label of "
        f"the same name. A row is what {plain(str(ref))} gave, a column what {plain(other)} did."
    )
