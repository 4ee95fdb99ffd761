"""What a log would be read as: its kind, its columns, its first rows, and what is rejected."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import log_files as service
from streamlit_app.services.log_files import Fields, Seen
from streamlit_app.ui.messages import plain
from streamlit_app.views.log_files.tables import show_counts
from tippers_dagster.campus.log.guessing import Choice, Look
from tippers_dagster.campus.log.preview import Preview
from tippers_dagster.platform.text import counted, shown


def show_choice(guess: Choice, choice: Choice, source: str = "") -> None:
    """Say what the file is, which presets fit and why, and what is not known of them.

    ``source``: the log source that was chosen.
    """
    reasons = {one.name: why for one, why in guess.guesses}
    parts = [f"{plain(choice.look.description)}."]
    one = choice.preset
    if source:
        st.markdown(f"{parts[0]} Read as the log source **{plain(source)}** says.")
        return
    if one is None and not reasons:
        parts.append("No known kind of log fits. Choose what its columns mean.")
    if one is not None:
        why = f", because {plain(reasons[one.name])}" if one.name in reasons else ""
        parts.append(f"Read as **{plain(one.title)}**{why}.")
    others = [name for name in reasons if one is None or name != one.name]
    if others:
        parts.append(f"It may also be {plain(', or '.join(others))}.")
    st.markdown(" ".join(parts))
    if one is not None:
        with st.expander("What is not known of such logs" if one.not_known else "Source"):
            for sentence in one.not_known:
                st.markdown(f"- {plain(sentence)}")
            st.caption(f"Version: {plain(one.version)}. Source: {plain(one.source)}")


def show(seen: Seen) -> None:
    """The first rows as they would be taken, and what is rejected."""
    found = seen.found
    _notes(found)
    st.markdown("**First rows, as they would be loaded**")
    table = service.rows_table(found)
    st.dataframe(table, hide_index=True, width="stretch", height=_height(len(table)))
    st.markdown(_counts(found))
    rejected = found.reasons.copy()
    rejected.update(row.reason for row in found.malformed)
    show_counts(service.reasons_table(rejected), seen.unknown, "then load the log")


def show_columns(look: Look, fields: Fields) -> None:
    """The log's columns, and what each means."""
    table = service.columns_table(look, fields)
    with st.expander(counted(len(look.names), "column"), expanded=not fields.get("device")):
        st.dataframe(table, hide_index=True, width="stretch", height=_height(len(table)))
        st.caption(
            "Of columns without a field, and of user names, only the form is shown: `a` for "
            "letters, `0` for digits."
        )


def _notes(found: Preview) -> None:
    if found.order is not None:
        st.caption(f"Times such as 01/07/2025 are read with the {found.order}.")
    if found.unseen:
        named = ", ".join(map(shown, found.unseen))
        st.caption(f"The first records do not have: {plain(named)}.")


def _counts(found: Preview) -> str:
    rows = found.read + found.left_out + len(found.malformed)
    which = f"All {counted(rows, 'row')}" if found.is_whole else f"The first {rows:,} rows"
    rejected = found.reasons.total() + len(found.malformed)
    parts = [f"**{found.usable:,}** usable", f"**{rejected:,}** rejected"]
    if found.left_out:
        parts.append(f"{found.left_out:,} left out by `where` in the mapping")
    return f"{which}: {', '.join(parts)}."


def _height(rows: int) -> int:
    """The height of a table in pixels, for up to twelve rows."""
    return 38 + 35 * min(max(rows, 1), 12)
