"""People counts: head counts from people or door counters, and the quality of the estimates."""

from __future__ import annotations

from collections.abc import Collection

import altair as alt
import pandas as pd
import streamlit as st

from streamlit_app.services import people as service
from streamlit_app.services.app import App
from streamlit_app.ui import state
from streamlit_app.ui.cached import HASH_FUNCS, space_tree
from streamlit_app.ui.charts import ink
from streamlit_app.ui.messages import plain, show_errors
from streamlit_app.ui.pages import page
from tippers_dagster.access.model import Role
from tippers_dagster.campus.spaces.tree import NoSpaces
from tippers_dagster.people.counts.calibration import Evaluation
from tippers_dagster.people.counts.head_counts import Given
from tippers_dagster.people.counts.reading import Made
from tippers_dagster.platform.dagster.addresses import asset_link, run_link
from tippers_dagster.platform.text import counted
from tippers_dagster.settings import Settings

_DONE = "people.imported"
_UPLOADS = "people.uploads"
"""The number of imports so far; part of the uploader's key, so that each import empties it."""
_GREY = "#808a8c"
_EXAMPLE = (
    "space_id,time,people,interval_seconds\n"
    "52,2025-01-20T09:00,14,900\n"
    "52,2025-01-20T09:15-08:00,17,900\n"
    "97,2025-01-20T12:10,230,\n"
)


def render(app: App) -> None:
    """The page."""
    st.title("People counts")
    st.markdown(
        "A person may carry several devices, or none. A people count takes the devices that stand "
        "for people, such as phones, and learns from **head counts** how many people there are per "
        "device."
    )
    defined = service.people_counts(app.settings)
    made = _chosen(defined)
    quality, head_counts, upload = st.tabs(["Accuracy", "Head counts", "Import head counts"])
    with quality, show_errors():
        _quality(app, defined, made)
    with head_counts, show_errors():
        _head_counts(app)
    with upload, show_errors():
        _upload(app)


def _chosen(defined: dict[str, Made | None]) -> Made | None:
    """The selected people count, from those that were materialised."""
    names = [name for name, made in defined.items() if made is not None]
    if not names:
        return None
    if len(names) == 1:
        return defined[names[0]]
    name = st.selectbox(
        "People count",
        names,
        index=names.index(state.one_of("count", names, names[0])),
        key="people.count",
        width=320,
    )
    state.put(count=name)
    return defined[name]


# --- accuracy ------------------------------------------------------------------------------------
def _quality(app: App, defined: dict[str, Made | None], made: Made | None) -> None:
    if made is None:
        nothing_yet(defined)
        return
    st.subheader(plain(made.name))
    links = (
        f"[{plain(made.name)} in Dagster]({asset_link(app.settings, f'people_count/{made.name}')})"
        f" · [run]({run_link(app.settings, made.run_id)})"
    )
    st.markdown(f"Counts {plain(service.counted_in_words(made.body))} · {links}")
    if made.evaluation is None:
        st.info(
            f"**Not calibrated.** {plain(made.reason or '')} Until then, each of these devices "
            "counts as one person.",
            icon=":material/info:",
        )
        return
    _errors(made, made.evaluation)
    left, right = st.columns(2)
    with left:
        _scatter(_compared(app.settings, made.name, made.version))
    with right:
        _ratios(service.ratios(made))


def nothing_yet(defined: Collection[str]) -> None:
    """Say why no people count can be shown; ``defined``: the names of those that exist."""
    if defined:
        st.info(
            f"{plain(', '.join(defined))}: not materialised yet. People are counted once devices "
            "are labelled.",
            icon=":material/pending:",
        )
        return
    st.info(
        "No people count is defined. A people count says which devices count as people, and learns "
        "from head counts how many people there are per device.",
        icon=":material/groups:",
    )
    st.page_link(page("definitions"), label="Definitions", icon=":material/edit_note:")


def _errors(made: Made, found: Evaluation) -> None:
    with st.container(horizontal=True):
        st.metric(
            "Typical error",
            f"±{found.calibrated.mae:.2f} people",
            f"{found.calibrated.mae - found.uncalibrated.mae:+.2f} by calibration",
            delta_color="inverse",
            border=True,
            help="Mean absolute error on held-out head counts",
        )
        st.metric(
            "RMSE",
            f"{found.calibrated.rmse:.2f} people",
            f"{found.calibrated.rmse - found.uncalibrated.rmse:+.2f} by calibration",
            delta_color="inverse",
            border=True,
            help="Root mean square error on held-out head counts: large errors weigh more",
        )
        st.metric(
            "Bias",
            f"{found.calibrated.bias:+.2f} people",
            border=True,
            help="Mean over- (+) or underestimate (-) on held-out head counts; without "
            f"calibration {found.uncalibrated.bias:+.2f}",
        )
        if found.calibrated.relative is not None:
            st.metric(
                "Relative error",
                f"{found.calibrated.relative:.0%}",
                border=True,
                help="Mean error as a share of the people counted, for head counts above 0",
            )
        st.metric(
            "Within the interval",
            f"{found.coverage:.0%}",
            border=True,
            help=f"Share of held-out head counts within the {made.body.confidence:.0%} interval, "
            f"which is {found.width:.1f} people wide on average",
        )
    st.markdown(plain(service.quality_in_words(made)))


@st.cache_data(max_entries=8, show_spinner=False, hash_funcs=HASH_FUNCS)
def _compared(settings: Settings, name: str, version: str) -> pd.DataFrame:
    """``version`` is part of the cache key only."""
    return service.compared(settings, name)


def _scatter(frame: pd.DataFrame) -> None:
    st.markdown("**Counted and estimated people**")
    highest = float(max(frame["people"].max(), frame["estimated"].max(), 1))
    line = pd.DataFrame({"people": [0.0, highest], "estimated": [0.0, highest]})
    scale = alt.Scale(domain=[0, highest], nice=False)
    x = alt.X("people:Q", title="People counted", scale=scale)
    y = alt.Y("estimated:Q", title="People estimated", scale=scale)
    dots = alt.Chart(frame).mark_circle(size=30, opacity=0.35)
    dots = dots.encode(
        x=x,
        y=y,
        tooltip=[
            alt.Tooltip("space_id:N", title="Space"),
            alt.Tooltip("people:Q", title="Counted"),
            alt.Tooltip("estimated:Q", title="Estimated", format=".1f"),
            alt.Tooltip("devices_counted:Q", title="Devices"),
        ],
    )
    diagonal = alt.Chart(line).mark_line(strokeDash=[4, 4], color=_GREY).encode(x=x, y=y)
    error = (frame["estimated"] - frame["people"]).abs().mean()
    sentence = (
        f"{counted(len(frame), 'head count')}; mean error {error:.2f} people. On the dashed line, "
        "estimate and head count are equal."
    )
    st.altair_chart((diagonal + dots).properties(height=300), alt=sentence)
    st.caption(f"{sentence} These head counts were used for calibration, so errors are optimistic.")


def _ratios(by_kind: dict[str, pd.DataFrame]) -> None:
    st.markdown("**People per device**")
    kinds = list(by_kind)
    kind = kinds[0]
    if len(kinds) > 1:
        kind = st.segmented_control("Spaces", kinds, default=kind, key="people.kind", required=True)
    frame = by_kind[kind]
    base = alt.Chart(frame).encode(
        x=alt.X("level:N", title="Devices in the bin", sort=None, axis=alt.Axis(labelAngle=0)),
        y=alt.Y("hours:N", title="Hours of the day", sort=None),
    )
    # Pale fills, so that the theme's text colour is readable on all of them.
    strength = alt.Scale(domain=[0, float(frame["ratio"].max())], range=[0, 0.6])
    fill = base.mark_rect().encode(
        fillOpacity=alt.FillOpacity("ratio:Q", legend=None, scale=strength),
        tooltip=["hours", "level", alt.Tooltip("ratio:Q", format=".2f")],
    )
    text = base.mark_text(color=ink()).encode(text=alt.Text("ratio:Q", format=".2f"))
    low, high = frame["ratio"].min(), frame["ratio"].max()
    sentence = f"{low:.2f} to {high:.2f} people per device."
    st.altair_chart((fill + text).properties(height=300), alt=sentence)
    st.caption(f"{sentence} Cells with few head counts are pulled towards the overall ratio.")


# --- head counts ---------------------------------------------------------------------------------
def _head_counts(app: App) -> None:
    found = service.head_counts_by_space(app.settings)
    if not found:
        st.info(
            "There are no head counts yet. Count people in some rooms on a few days, at different "
            "hours, and import the numbers.",
            icon=":material/person_add:",
        )
        return
    try:
        tree = space_tree(app.settings)
        names = {c.space: tree.names[tree.index[c.space]] for c in found if c.space in tree}
    except NoSpaces:
        names = {}
    total = sum(c.counts for c in found)
    st.markdown(f"{counted(total, 'head count')} in {counted(len(found), 'space')}.")
    st.dataframe(
        [
            {
                "Space": names.get(c.space, "(no longer exists)"),
                "Id": c.space,
                "Head counts": c.counts,
                "Mean, people": c.people / c.counts,
                "First": c.first.date(),
                "Last": c.last.date(),
            }
            for c in found
        ],
        hide_index=True,
        width="stretch",
        column_config={"Mean, people": st.column_config.NumberColumn(format="%.1f")},
    )
    if app.person.may(Role.ANALYST):
        with st.popover("Remove", icon=":material/delete:"):
            st.markdown(
                "People counts are then calibrated on the remaining head counts, or become "
                "uncalibrated."
            )
            spaces = ["", *(c.space for c in found)]
            space = st.selectbox(
                "Space",
                spaces,
                format_func=lambda s: (
                    f"{names.get(s, '(no longer exists)')} ({s})" if s else "All spaces"
                ),
                key="people.remove space",
            )
            if st.button("Remove", key="people.remove", type="primary"):
                removed = service.remove_head_counts(app, space or None)
                st.session_state[_DONE] = f"{counted(removed, 'head count')} removed."
                st.rerun()


# --- import --------------------------------------------------------------------------------------
def _upload(app: App) -> None:
    if done := st.session_state.pop(_DONE, None):
        st.success(plain(done), icon=":material/check_circle:")
    if not app.person.may(Role.ANALYST):
        st.info("Importing head counts needs the analyst role.", icon=":material/lock:")
        return
    file = st.file_uploader(
        "CSV or Parquet file with space_id, time, people and optionally interval_seconds",
        type=["csv", "gz", "zst", "parquet", "pq"],
        max_upload_size=service.MAX_UPLOAD_BYTES >> 20,
        key=f"{_UPLOADS} {st.session_state.get(_UPLOADS, 0)}",
    )
    if file is None:
        _explain(app)
        return
    content = file.getvalue()
    given = service.preview_file(app, file.name, content)
    _preview(app, given)
    count = given.usable.num_rows
    label = f"Import {counted(count, 'head count')}"
    if st.button(label, type="primary", disabled=not count, key="people.import"):
        with st.spinner("Importing ..."):
            done = service.import_file(app, file.name, content)
        st.session_state[_DONE] = (
            f"{counted(done.new, 'new head count')}, {done.changed:,} changed; "
            f"{counted(done.rejected.total(), 'row')} rejected. Automation recomputes people "
            "counts."
        )
        st.session_state[_UPLOADS] = st.session_state.get(_UPLOADS, 0) + 1
        st.rerun()


def _explain(app: App) -> None:
    st.markdown(
        "- **time**: local time, unless it has a UTC offset.\n"
        "- **interval_seconds**: each person present during the interval that begins at the time "
        "counts once. Empty or 0: the people present at that moment.\n"
        "- Include counts of **0**: hours when a room is empty are just as useful.\n"
        "- You need at least thirty head counts on three days. More days, and both small and large "
        "spaces, make the interval narrower and more reliable."
    )
    st.code(_EXAMPLE, language="text")


def _preview(app: App, given: Given) -> None:
    bad = given.rejected.num_rows
    st.markdown(
        f"{counted(given.rows, 'row')}: **{given.usable.num_rows:,}** to import, **{bad:,}** "
        "rejected."
    )
    st.dataframe(
        service.usable_rows(app.settings, given),
        hide_index=True,
        width="stretch",
        height=_height(given.usable.num_rows),
        column_config={
            "Local time": st.column_config.DatetimeColumn(format="ddd D MMM YYYY, HH:mm:ss")
        },
    )
    if bad:
        st.warning(
            "  \n".join(
                f"{counted(n, 'row')}: {plain(why)}" for why, n in given.reasons.most_common()
            ),
            icon=":material/report:",
        )
        rejected = service.rejected_rows(given)
        st.dataframe(rejected, hide_index=True, width="stretch", height=_height(bad))
        st.caption("After the import, `tippers rejects` lists them with their reasons.")


def _height(rows: int) -> int:
    """The height of a table in pixels, for up to six rows."""
    return 38 + 35 * min(max(rows, 1), 6)
