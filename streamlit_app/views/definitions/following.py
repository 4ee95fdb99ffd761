"""What becomes of a definition after it was saved: its asset appears and runs."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import definitions as service
from streamlit_app.services.app import App
from streamlit_app.services.definitions import Watched
from streamlit_app.ui.messages import live, plain
from streamlit_app.views.definitions import works
from streamlit_app.views.definitions.words import STANDINGS
from tippers_dagster.catalog.model import Ref
from tippers_dagster.graph.status import AssetStatus
from tippers_dagster.platform.dagster.addresses import asset_link, run_link

_MOST = 12


def render(app: App, ref: Ref) -> None:
    """The panel, for as long as it is not put away."""
    note = works.note(str(ref))
    if "saved" not in note:
        return
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f":material/check_circle: **{plain(note['saved'])}**")
            st.space("stretch")
            st.button(
                "",
                key="put away",
                on_click=note.clear,
                icon=":material/close:",
                type="tertiary",
                help="Put this away",
            )
        reloaded = note.get("reloaded")
        if reloaded is not None:
            show = st.warning if reloaded.state == "failed" else st.caption
            show(plain(reloaded.message))
        if "done" in note:
            _show(app, note["done"])
        else:
            _watch(app, ref)


@live(2)
def _watch(app: App, ref: Ref) -> None:
    found = service.watch(app, ref)
    if not found.unfinished:
        works.note(str(ref))["done"] = found
        st.rerun()  # nothing is left to look at again and again
    _show(app, found)


def _show(app: App, found: Watched) -> None:
    if found.asset is not None:
        _asset(app, found.asset)
    left = [s for s in found.above if s.standing != "fresh"]
    st.caption(_told(found, left))
    if left:
        st.dataframe(
            [_row(app, s) for s in left[:_MOST]],
            hide_index=True,
            column_config={"Asset": st.column_config.LinkColumn(display_text=r"/assets/(.*)$")},
        )
        if len(left) > _MOST:
            st.caption(f"... and {len(left) - _MOST:,} more.")


def _told(found: Watched, left: list[AssetStatus]) -> str:
    above = len(found.above)
    if not above:
        told = "Nothing stands on it yet."
    elif not left:
        told = f"All {above:,} that stand on it are up to date."
    else:
        told = f"{above - len(left):,} of {above:,} that stand on it are up to date."
    if found.unfinished and not found.runs:
        return (
            f"{told} Nothing runs at the moment that would compute it: `tippers up`, or "
            "`tippers pipeline materialize`."
        )
    if found.unfinished and not found.automatic:
        return f"{told} Definitions are not kept up to date by themselves here: materialise them."
    return told


def _asset(app: App, status: AssetStatus) -> None:
    facts = [STANDINGS[status.standing]]
    if status.standing == "fresh" and status.rows is not None:
        facts.append(f"{status.rows:,} rows in {status.seconds or 0:.1f} s")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(" · ".join(facts))
        st.link_button(
            "Asset in Dagster",
            asset_link(app.settings, status.name),
            icon=":material/open_in_new:",
            type="tertiary",
        )
        if status.run_id and status.standing in ("running", "fresh", "failed"):
            st.link_button(
                "Its run",
                run_link(app.settings, status.run_id),
                icon=":material/open_in_new:",
                type="tertiary",
            )
    if status.why:
        st.caption(plain(status.why))


def _row(app: App, status: AssetStatus) -> dict[str, object]:
    return {
        "Asset": asset_link(app.settings, status.name),
        "Kind": status.kind.replace("_", " "),
        "State": STANDINGS[status.standing].partition(": ")[2],
        "Why": status.why,
    }
