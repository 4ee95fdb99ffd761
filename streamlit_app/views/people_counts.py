"""People counts: what people were counted, by eye or at doors, and how good the estimates are."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from streamlit_app.services import people as service
from streamlit_app.services.app import App
from streamlit_app.ui import state
from streamlit_app.ui.cached import SAME, space_tree
from streamlit_app.ui.charts import ink
from streamlit_app.ui.messages import plain, told
from streamlit_app.ui.pages import page
from tippers_dagster.access.model import Role
from tippers_dagster.campus.spaces.tree import NoSpaces
from tippers_dagster.people.counts.calibration import Evaluation
from tippers_dagster.people.counts.head_counts import Given
from tippers_dagster.people.counts.reading import Made
from tippers_dagster.platform.dagster.addresses import asset_link, run_link
from tippers_dagster.settings import Settings

_DONE = "people.imported"
_ROUND = "people.uploads"
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
        "One person may carry two devices, or none. A people count takes those devices that stand "
        "for a person, phones say, and learns from **head counts** how many people stand behind "
        "them."
    )
    every = service.people_counts(app.settings)
    made = _chosen(every)
    good, counted, upload = st.tabs(["How good it is", "Head counts", "Import head counts"])
    with good, told():
        _quality(app, every, made)
    with counted, told():
        _counted(app)
    with upload, told():
        _upload(app)


def _chosen(every: dict[str, Made | None]) -> Made | None:
    """The people count that is shown, of those that were materialised."""
    names = [name for name, made in every.items() if made is not None]
    if not names:
        return None
    if len(names) == 1:
        return every[names[0]]
    name = st.selectbox(
        "People count",
        names,
        index=names.index(state.one_of("count", names, names[0])),
        key="people.count",
        width=320,
    )
    state.put(count=name)
    return every[name]


# --- how good it is ------------------------------------------------------------------------------
def _quality(app: App, every: dict[str, Made | None], made: Made | None) -> None:
    if made is None:
        _nothing_yet(every)
        return
    st.subheader(plain(made.name))
    links = (
        f"[{plain(made.name)} in Dagster]({asset_link(app.settings, f'people_count/{made.name}')})"
        f" · [its run]({run_link(app.settings, made.run_id)})"
    )
    st.markdown(f"Counts {plain(service.counted_in_words(made.body))} · {links}")
    if made.evaluation is None:
        st.info(
            f"**Not calibrated.** {plain(made.reason or '')} Until there are enough, each of these "
            "devices is taken for one person.",
            icon=":material/info:",
        )
        return
    _errors(made, made.evaluation)
    left, right = st.columns(2)
    with left:
        _scatter(_compared(app.settings, made.name, made.version))
    with right:
        _ratios(service.ratios(made))


def _nothing_yet(every: dict[str, Made | None]) -> None:
    if every:
        st.info(
            f"{plain(', '.join(every))}: not materialised yet. It follows the labels of devices.",
            icon=":material/pending:",
        )
        return
    st.info(
        "No people count is defined. Define one: it says which devices stand for people.",
        icon=":material/groups:",
    )
    st.page_link(page("definitions"), label="Definitions", icon=":material/edit_note:")


def _errors(made: Made, found: Evaluation) -> None:
    with st.container(horizontal=True):
        st.metric(
            "Error, people",
            f"{found.calibrated.mae:.2f}",
            f"{found.calibrated.mae - found.uncalibrated.mae:+.2f} by calibration",
            delta_color="inverse",
            border=True,
            help="Mean absolute error on the head counts held out",
        )
        st.metric(
            "Root mean square error",
            f"{found.calibrated.rmse:.2f}",
            f"{found.calibrated.rmse - found.uncalibrated.rmse:+.2f} by calibration",
            delta_color="inverse",
            border=True,
        )
        st.metric(
            "Bias",
            f"{found.calibrated.bias:+.2f}",
            border=True,
            help="People too many (+) or too few (-) on average; not calibrated: "
            f"{found.uncalibrated.bias:+.2f}",
        )
        if found.calibrated.relative is not None:
            st.metric(
                "Error where people are",
                f"{found.calibrated.relative:.0%}",
                border=True,
                help="Mean of the error over the people counted, of head counts above 0",
            )
        st.metric(
            "In the interval",
            f"{found.coverage:.0%}",
            border=True,
            help=f"Of the head counts held out; the interval is for {made.body.confidence:.0%}, "
            f"and {found.width:.1f} people wide on average",
        )
    st.markdown(plain(service.quality_in_words(made)))


@st.cache_data(max_entries=8, show_spinner=False, hash_funcs=SAME)
def _compared(settings: Settings, name: str, version: str) -> pd.DataFrame:
    """``version``: what is kept is of this one."""
    return service.compared(settings, name)


def _scatter(frame: pd.DataFrame) -> None:
    st.markdown("**Counted and estimated**")
    most = float(max(frame["people"].max(), frame["estimated"].max(), 1))
    line = pd.DataFrame({"people": [0.0, most], "estimated": [0.0, most]})
    scale = alt.Scale(domain=[0, most], nice=False)
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
    off = (frame["estimated"] - frame["people"]).abs().mean()
    said = (
        f"{len(frame):,} head counts: the estimates are {off:.2f} people off on average; on the "
        "dashed line they are equal."
    )
    st.altair_chart((diagonal + dots).properties(height=300), alt=said)
    st.caption(f"{said} They are what it was learned from, so it does better here than elsewhere.")


def _ratios(by_kind: dict[str, pd.DataFrame]) -> None:
    st.markdown("**People for each device**")
    kinds = list(by_kind)
    kind = kinds[0]
    if len(kinds) > 1:
        kind = st.segmented_control("Spaces", kinds, default=kind, key="people.kind", required=True)
    frame = by_kind[kind]
    base = alt.Chart(frame).encode(
        x=alt.X("level:N", title="Devices in the bin", sort=None, axis=alt.Axis(labelAngle=0)),
        y=alt.Y("hours:N", title="Hours of the day", sort=None),
    )
    # Weak fills, so that text of the theme's own colour is read on all of them.
    strength = alt.Scale(domain=[0, float(frame["ratio"].max())], range=[0, 0.6])
    fill = base.mark_rect().encode(
        fillOpacity=alt.FillOpacity("ratio:Q", legend=None, scale=strength),
        tooltip=["hours", "level", alt.Tooltip("ratio:Q", format=".2f")],
    )
    text = base.mark_text(color=ink()).encode(text=alt.Text("ratio:Q", format=".2f"))
    low, high = frame["ratio"].min(), frame["ratio"].max()
    said = f"From {low:.2f} to {high:.2f} people stand behind a device."
    st.altair_chart((fill + text).properties(height=300), alt=said)
    st.caption(f"{said} Where head counts are few, the ratio is drawn towards that of all.")


# --- head counts ---------------------------------------------------------------------------------
def _counted(app: App) -> None:
    found = service.counted(app.settings)
    if not found:
        st.info(
            "Nobody was counted yet. Count people in some rooms on a few days, at different hours, "
            "and import the numbers.",
            icon=":material/person_add:",
        )
        return
    try:
        tree = space_tree(app.settings)
        names = {c.space: tree.names[tree.index[c.space]] for c in found if c.space in tree}
    except NoSpaces:
        names = {}
    total = sum(c.counts for c in found)
    st.markdown(f"{total:,} head counts in {len(found):,} spaces.")
    st.dataframe(
        [
            {
                "Space": names.get(c.space, "(gone)"),
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
            st.markdown("People counts are then learned from the others, or not calibrated.")
            spaces = ["", *(c.space for c in found)]
            space = st.selectbox(
                "Of which space",
                spaces,
                format_func=lambda s: f"{names.get(s, '(gone)')} ({s})" if s else "All",
                key="people.remove space",
            )
            if st.button("Remove", key="people.remove", type="primary"):
                gone = service.clear(app, space or None)
                st.session_state[_DONE] = f"{gone:,} head counts removed."
                st.rerun()


# --- import --------------------------------------------------------------------------------------
def _upload(app: App) -> None:
    if done := st.session_state.pop(_DONE, None):
        st.success(plain(done), icon=":material/check_circle:")
    if not app.person.may(Role.ANALYST):
        st.info("Analysts may import head counts.", icon=":material/lock:")
        return
    file = st.file_uploader(
        "CSV or Parquet file with space_id, time, people and perhaps interval_seconds",
        type=["csv", "gz", "zst", "parquet", "pq"],
        max_upload_size=service.LARGEST_UPLOAD >> 20,
        key=f"{_ROUND} {st.session_state.get(_ROUND, 0)}",
    )
    if file is None:
        _explain(app)
        return
    content = file.getvalue()
    given = service.look_at(app, file.name, content)
    _preview(app, given)
    count = given.usable.num_rows
    if st.button(
        f"Import {count:,} head counts", type="primary", disabled=not count, key="people.import"
    ):
        with st.spinner("Storing"):
            done = service.import_uploaded(app, file.name, content)
        st.session_state[_DONE] = (
            f"{done.new:,} new head counts, {done.changed:,} changed; "
            f"{done.rejected.total():,} rows could not be used. People counts are computed anew by "
            "automation."
        )
        st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1
        st.rerun()


def _explain(app: App) -> None:
    st.markdown(
        "- **time**: local, unless it has an offset.\n"
        "- **interval_seconds**: people were counted in the bin of this width that begins at the "
        "time, each once. Empty or 0: those who were there at that moment.\n"
        "- Count **nobody**, too: hours at which a room is empty tell as much.\n"
        "- Three days and thirty head counts are the least; many days, and spaces small and "
        "large, make the interval narrow and right."
    )
    st.code(_EXAMPLE, language="text")


def _preview(app: App, given: Given) -> None:
    bad = given.rejected.num_rows
    st.markdown(
        f"{given.rows:,} rows: **{given.usable.num_rows:,}** can be imported, **{bad:,}** cannot."
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
                f"{n:,} {'row' if n == 1 else 'rows'}: {plain(why)}"
                for why, n in given.reasons.most_common()
            ),
            icon=":material/report:",
        )
        rejected = service.rejected_rows(given)
        st.dataframe(rejected, hide_index=True, width="stretch", height=_height(bad))
        st.caption("`tippers rejects` lists them with the reason.")


def _height(rows: int) -> int:
    """Of a table, in pixels: as high as its rows, up to some."""
    return 38 + 35 * min(max(rows, 1), 6)
