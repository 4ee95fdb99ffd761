"""The panel shown after saving: progress of the definition's asset and its dependents."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services.app import App
from streamlit_app.services.definitions import following as service
from streamlit_app.services.definitions.following import Progress
from streamlit_app.ui.messages import live, plain, show_errors
from streamlit_app.views.definitions import edits
from streamlit_app.views.definitions.words import STANDINGS
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.model import Ref
from tippers_dagster.graph.status import AssetStatus
from tippers_dagster.platform.dagster.addresses import asset_link, run_link
from tippers_dagster.platform.text import counted

_MAX_LISTED = 12


def render(app: App, ref: Ref) -> None:
    """The panel, until it is dismissed."""
    note = edits.note(str(ref))
    if "saved" not in note:
        return
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f":material/check_circle: **{plain(note['saved'])}**")
            st.space("stretch")
            st.button(
                "",
                key="dismiss",
                on_click=note.clear,
                icon=":material/close:",
                type="tertiary",
                help="Dismiss",
            )
        reloaded = note.get("reloaded")
        if reloaded is not None:
            show = st.warning if reloaded.state == "failed" else st.caption
            show(plain(reloaded.message))
        if "done" in note:
            _show(app, ref, note["done"])
        else:
            _watch(app, ref)


@live(2)
def _watch(app: App, ref: Ref) -> None:
    found = service.progress(app, ref)
    if not found.unfinished:
        edits.note(str(ref))["done"] = found
        st.rerun()  # all is up to date: stop polling
    _show(app, ref, found)


def _show(app: App, ref: Ref, found: Progress) -> None:
    if found.asset is not None:
        _asset(app, found.asset)
    behind = [s for s in found.dependents if s.standing != "fresh"]
    st.caption(_summary(found, len(behind)))
    if found.waiting and app.person.may(Role.ANALYST):
        st.button("Compute now", on_click=_compute, args=(app, ref), icon=":material/play_arrow:")
    if behind:
        st.dataframe(
            [_row(app, s) for s in behind[:_MAX_LISTED]],
            hide_index=True,
            column_config={"Asset": st.column_config.LinkColumn(display_text=r"/assets/(.*)$")},
        )
        if len(behind) > _MAX_LISTED:
            st.caption(f"and {len(behind) - _MAX_LISTED:,} more")


def _compute(app: App, ref: Ref) -> None:
    with show_errors():
        service.compute_now(app, ref)
        edits.note(str(ref)).pop("done", None)  # follow its progress again


def _summary(found: Progress, waiting: int) -> str:
    summary = _dependents(len(found.dependents), waiting)
    if found.unfinished and not found.running:
        return (
            f"{summary} Nothing is running that would compute it: start `tippers up`, or run "
            "`tippers pipeline materialize`."
        )
    if found.unfinished and not found.automatic:
        return (
            f"{summary} This deployment does not recompute definitions automatically: materialise "
            "it in Dagster or on the Pipeline page."
        )
    return summary


def _dependents(total: int, waiting: int) -> str:
    if not total:
        return "Nothing depends on it yet."
    if not waiting:
        return f"{counted(total, 'dependent')}, {'' if total == 1 else 'all '}up to date."
    of = "" if waiting == total else f"{waiting:,} of "
    return f"{of}{counted(total, 'dependent')} {'is' if waiting == 1 else 'are'} out of date."


def _asset(app: App, status: AssetStatus) -> None:
    facts = [STANDINGS[status.standing]]
    if status.standing == "fresh" and status.rows is not None:
        facts.append(f"{counted(status.rows, 'row')} in {status.seconds or 0:.1f} s")
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
                "Run in Dagster",
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
        "Reason": status.why,
    }
