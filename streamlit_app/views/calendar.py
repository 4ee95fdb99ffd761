"""The academic calendar: quarters, breaks, finals, holidays and events, which forecasts use."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import altair as alt
import pandas as pd
import streamlit as st

from streamlit_app.services import calendar as service
from streamlit_app.services.app import App
from streamlit_app.services.calendar import CalendarConflict, Clash, Day, Draft, Kept, PeriodKind
from streamlit_app.ui import state
from streamlit_app.ui.cached import space_tree
from streamlit_app.ui.messages import plain, show_errors
from streamlit_app.ui.space_picker import choose, full_name
from tippers_dagster.calendar.files import MAX_BYTES
from tippers_dagster.errors import SourceError
from tippers_dagster.platform.text import counted

NEW = "new"
ALL = "All years"
KINDS = {
    "quarter": "Quarter",
    "break": "Break",
    "finals": "Finals",
    "holiday": "Holiday",
    "event": "Event",
}
COLOURS = {
    "quarter": "#9fc9c4",
    "finals": "#7a5fb0",
    "break": "#e0a530",
    "holiday": "#c8503c",
    "event": "#2f7fc1",
    "": "#80808033",
}
"""Of days by kind; the table and the tooltips also name the kind."""

_DRAFT = "calendar.draft"
_CLASH = "calendar.clash"
_NOTE = "calendar.done"
_SERIAL = "calendar.serial"
"""The number of forms opened so far; part of the widgets' keys, so that each form starts fresh."""


def render(app: App) -> None:
    """The page; ``?open=`` takes a period's number, or ``new``."""
    st.title("Academic calendar")
    found = service.periods(app)
    may = service.may_write(app)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(_summary(found))
        st.space("stretch")
        if may:
            st.button(
                "Add a period", type="primary", icon=":material/add:", on_click=_open, args=(NEW,)
            )
            _holidays(app, found)
            _import(app)
        _export(app, found)
    _show_note()
    if not found:
        _nothing_yet(may)
    if may:
        _editor(app, found)
    elif found:
        st.caption(":material/lock: Changing the calendar needs the analyst role.")
    if found:
        in_year = _year(app, found)
        _table(app, in_year, may)


def _summary(found: list[Kept]) -> str:
    return f"{counted(len(found), 'period')}. Forecasts take the calendar into account."


def _nothing_yet(may: bool) -> None:
    with st.container(border=True):
        st.markdown(
            "**The calendar is empty.** Start with the quarters, then breaks, finals and holidays: "
            "add them one by one, import a file, or add a country's public holidays. Forecasts "
            "then expect the days on which the campus is quiet."
        )
        if not may:
            st.caption("Changing it needs the analyst role.")


def _show_note() -> None:
    note = st.session_state.pop(_NOTE, None)
    if note:
        st.success(plain(note), icon=":material/check_circle:")


# --- one period ----------------------------------------------------------------------------------
def _open(which: str) -> None:
    """Show the form of a period; unsaved changes to another period are dropped."""
    state.put(open=which or None)
    for key in (_DRAFT, _CLASH):
        st.session_state.pop(key, None)


def _close(note: str) -> None:
    _open("")
    st.session_state[_NOTE] = note
    st.rerun()


def _draft(found: list[Kept]) -> Draft | None:
    """The draft of the period in the address, as it was when it was opened."""
    which = state.get("open")
    if not which:
        return None
    opened = st.session_state.get(_DRAFT)
    if opened is not None and opened[0] == which:
        return opened[1]
    by_id = {str(one.id): one for one in found}
    if which != NEW and which not in by_id:
        st.warning("This period does not exist (any more).", icon=":material/delete:")
        return None
    draft = Draft() if which == NEW else Draft.of(by_id[which])
    serial = st.session_state.get(_SERIAL, 0) + 1
    st.session_state.update({_DRAFT: (which, draft), _SERIAL: serial})
    return draft


def _editor(app: App, found: list[Kept]) -> None:
    draft = _draft(found)
    if draft is None:
        return
    with st.container(border=True):
        st.markdown(
            "**New period**" if draft.seen is None else f"**{plain(draft.seen.period.name)}**"
        )
        if draft.seen is not None:
            seen = draft.seen
            st.caption(
                f"Version {seen.version}, {seen.updated_at:%Y-%m-%d %H:%M} UTC by "
                f"{plain(seen.updated_by)}"
            )
        _fields(app, draft)
        with show_errors():
            _conflict(app, draft)
            _buttons(app, draft)


def _fields(app: App, draft: Draft) -> None:
    serial = st.session_state[_SERIAL]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kinds = list(KINDS)
        draft.kind = st.selectbox(
            "Kind",
            kinds,
            index=kinds.index(draft.kind),
            format_func=KINDS.__getitem__,
            key=f"calendar kind {serial}",
            width=150,
        )
        draft.name = st.text_input(
            "Name", draft.name, key=f"calendar name {serial}", placeholder="Fall 2026", width=300
        )
        draft.first_day = st.date_input(
            "First day", draft.first_day, key=f"calendar first {serial}", format="YYYY-MM-DD",
            min_value=dt.date(1970, 1, 1), max_value=dt.date(2199, 12, 31), width=150,
        )  # fmt: skip
        draft.last_day = st.date_input(
            "Last day (included)", draft.last_day, key=f"calendar last {serial}",
            format="YYYY-MM-DD", min_value=dt.date(1970, 1, 1),
            max_value=dt.date(2199, 12, 31), width=170,
            help="Leave empty for a single day.",
        )  # fmt: skip
    if draft.kind == PeriodKind.EVENT:
        _place(app, draft, serial)


def _place(app: App, draft: Draft, serial: int) -> None:
    """The space of an event."""
    in_one_space = st.toggle(
        "In one space only",
        bool(draft.space),
        key=f"calendar somewhere {serial}",
        help="On: the event affects this space, the spaces inside it and those that contain it. "
        "Off: it affects the whole campus.",
    )
    if not in_one_space:
        draft.space = ""
        return
    try:
        tree = space_tree(app.settings)
    except SourceError as error:
        st.caption(plain(error.message))
        return
    default = draft.space or None
    draft.space = choose(tree, "Space", key=f"calendar space {serial}", default=default) or ""


def _buttons(app: App, draft: Draft) -> None:
    with st.container(horizontal=True):
        label = "Add" if draft.seen is None else "Save"
        if st.button(label, type="primary", icon=":material/save:", key="calendar save"):
            _save(app, draft, None)
        if draft.seen is not None and st.button("Remove", icon=":material/delete:"):
            try:
                service.remove(app, draft.seen)
            except CalendarConflict as conflict:
                _clash(conflict)
            _close(f"{draft.seen.period} removed.")
        st.button("Close", type="tertiary", on_click=_open, args=("",), key="calendar close")
        if draft.dirty and draft.seen is not None:
            st.badge("Unsaved changes", icon=":material/edit:", color="orange")


def _save(app: App, draft: Draft, over: Clash | None) -> None:
    try:
        service.save(app, draft, over)
    except CalendarConflict as conflict:
        _clash(conflict)
    _close(f"{draft.period()} saved.")


def _clash(conflict: CalendarConflict) -> None:
    """Rerun the page with somebody else's change beside the person's own."""
    st.session_state[_CLASH] = conflict.clashes[0]
    st.rerun()


def _conflict(app: App, draft: Draft) -> None:
    """Somebody else's change, and the choices."""
    clash = st.session_state.get(_CLASH)
    if clash is None:
        return
    now = clash.now
    st.warning(f"{plain(str(clash))} Your change is not saved yet.", icon=":material/group:")
    mine = clash.mine.period
    left, right = st.columns(2)
    theirs = "removed" if now is None else _text(app, now.period)
    left.markdown(f"**Theirs**: {plain(theirs)}")
    right.markdown(f"**Yours**: {plain('removed' if mine is None else _text(app, mine))}")
    with st.container(horizontal=True):
        label = "Remove anyway" if mine is None else "Save mine"
        if st.button(label, type="primary", key="calendar over"):
            if mine is None and now is not None:
                try:
                    service.remove(app, now)
                except CalendarConflict as conflict:
                    _clash(conflict)
                _close(f"{now.period} removed.")
            _save(app, draft, clash)
        st.button(
            "Take theirs",
            on_click=_open,
            args=("" if now is None else str(now.id),),
            key="calendar theirs",
        )


def _text(app: App, period: object) -> str:
    space = getattr(period, "space", "")
    return f"{period}{f' in {_space(app, space)}' if space else ''}"


# --- files, holidays -----------------------------------------------------------------------------
def _holidays(app: App, found: list[Kept]) -> None:
    with st.popover("Public holidays", icon=":material/flag:"):
        st.caption(
            "A starting point: a university's own holidays differ. Edit or remove them afterwards."
        )
        years = service.years(found, _today(app))
        year = st.selectbox("Year", years, index=years.index(_today(app).year), key="holidays year")
        known = service.countries()
        codes = list(known)
        country = st.selectbox("Country", codes, index=codes.index("US"), key="holidays country")
        parts = ["", *known[country]]
        part = st.selectbox(
            "State or region",
            parts,
            format_func=lambda p: p or "National holidays only",
            key=f"holidays part {country}",
        )
        if st.button("Add holidays", type="primary", key="holidays add"):
            with show_errors():
                done = service.add_holidays(app, year, country, part or None)
                st.session_state[_NOTE] = f"Public holidays {year}: {done}."
                st.rerun()


def _import(app: App) -> None:
    with st.popover("Import", icon=":material/upload:"):
        st.caption(
            "CSV with the columns kind, name, first_day, last_day and optionally space, or YAML "
            "from `tippers calendar export`. If any line is wrong, nothing is imported."
        )
        upload = st.file_uploader("File", type=["csv", "yaml", "yml"], key="calendar upload",
                                  max_upload_size=max(1, MAX_BYTES >> 20))  # fmt: skip
        replace = st.toggle("Remove periods that are not in the file", key="calendar replace")
        if st.button("Import", type="primary", disabled=upload is None, key="calendar import"):
            with show_errors():
                assert upload is not None
                done = service.import_file(app, upload.getvalue(), upload.name, replace=replace)
                st.session_state[_NOTE] = f"{upload.name}: {done}."
                st.rerun()


def _export(app: App, found: list[Kept]) -> None:
    st.download_button(
        "Export",
        lambda: service.as_csv(app),
        file_name="academic_calendar.csv",
        mime="text/csv",
        icon=":material/download:",
        disabled=not found,
        on_click="ignore",
        key="calendar export",
    )


# --- a year, and the table -----------------------------------------------------------------------
def _year(app: App, found: list[Kept]) -> list[Kept]:
    """The chart of the selected year; returns the periods in that year."""
    years = [str(year) for year in service.years(found, _today(app))]
    options = [*years, ALL]
    default = state.one_of("year", options, str(_today(app).year))
    with_periods = {
        y for k in found for y in (str(k.period.start.year), str(k.period.last_day.year))
    }
    if not state.get("year") and default not in with_periods:
        default = max(with_periods)
    chosen = st.segmented_control(
        "Year", options, default=default, required=True, key="calendar year"
    )
    chosen = chosen or default
    state.put(year=chosen)
    if chosen == ALL:
        return found
    days = service.year_of(found, int(chosen))
    sentence = f"{chosen}: {service.in_words(days)}."
    st.altair_chart(_year_chart(days), alt=f"The days of {sentence}")
    st.caption(sentence)
    first, after = dt.date(int(chosen), 1, 1), dt.date(int(chosen) + 1, 1, 1)
    return [k for k in found if k.period.start < after and k.period.end > first]


def _year_chart(days: list[Day]) -> alt.Chart:
    """A row per month, a cell per day."""
    frame = pd.DataFrame(
        {
            "month": [f"{d.day:%b}" for d in days],
            "day": [d.day.day for d in days],
            "date": [f"{d.day:%a} {d.day.day} {d.day:%b %Y}" for d in days],
            "kind": [KINDS.get(d.kind, "No period") for d in days],
            "names": [d.names or "no period" for d in days],
            "weekend": [d.day.weekday() > 4 for d in days],
        }
    )
    words = [KINDS.get(kind, "No period") for kind in COLOURS]
    scale = alt.Scale(domain=words, range=list(COLOURS.values()))
    return (
        alt.Chart(frame)
        .mark_rect(cornerRadius=2, stroke="#80808040")
        .encode(
            x=alt.X("day:O", title="Day of the month", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("month:O", title=None, sort=None, axis=alt.Axis(labelOverlap=False)),
            color=alt.Color(
                "kind:N", scale=scale, legend=alt.Legend(orient="top", columns=3, title=None)
            ),
            opacity=alt.condition("datum.weekend", alt.value(0.55), alt.value(1)),
            tooltip=[
                alt.Tooltip("date:N", title="Day"),
                alt.Tooltip("names:N", title="Periods"),
            ],
        )
        .properties(height=400)
    )


def _table(app: App, found: list[Kept], may: bool) -> None:
    if not found:
        st.info("There are no periods in this year.", icon=":material/event_busy:")
        return
    if may:
        _open_by_name(found)
    key = f"calendar table {st.session_state.get(_SERIAL, 0)}"
    st.dataframe(
        [_row(app, kept) for kept in found],
        hide_index=True,
        height=min(36 * len(found) + 40, 560),
        on_select="rerun" if may else "ignore",
        selection_mode="single-row",
        key=key,
        column_config={
            name: st.column_config.DateColumn(format="ddd D MMM YYYY")
            for name in ("First day", "Last day")
        },
    )
    if not may:
        return
    st.caption("Select a row, or choose a name above, to change or remove a period.")
    rows = st.session_state[key]["selection"]["rows"]
    if rows and str(found[rows[0]].id) != state.get("open"):
        _open(str(found[rows[0]].id))
        st.rerun()


def _open_by_name(found: list[Kept]) -> None:
    """Open a period by typing a part of its name, for keyboard users."""
    names = {f"{k.period.name}, {k.period.start}": str(k.id) for k in found}

    def opened() -> None:
        if st.session_state["calendar.open"]:
            _open(names[st.session_state["calendar.open"]])
            st.session_state["calendar.open"] = None

    st.selectbox(
        "Open",
        list(names),
        index=None,
        key="calendar.open",
        placeholder="Type a name",
        on_change=opened,
        label_visibility="collapsed",
    )


def _row(app: App, kept: Kept) -> dict[str, object]:
    p = kept.period
    return {
        "Kind": KINDS[p.kind.value],
        "Name": p.name,
        "First day": p.start,
        "Last day": p.last_day,
        "Days": p.days,
        "Space": _space(app, p.space) if p.space else "",
        "Changed by": kept.updated_by,
    }


def _space(app: App, space: str) -> str:
    try:
        tree = space_tree(app.settings)
    except SourceError:
        return space
    return full_name(tree, space) if space in tree else f"{space} (no longer exists)"


def _today(app: App) -> dt.date:
    return dt.datetime.now(ZoneInfo(app.settings.timezone)).date()
