"""The versions of a model: which is champion, and who decided so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from streamlit_app.services import models as service
from streamlit_app.services.app import App
from streamlit_app.ui.messages import plain, tell
from streamlit_app.views.models.ranking import METRICS, words
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.model import Ref
from tippers_dagster.errors import TippersError
from tippers_dagster.platform.dagster.addresses import mlflow_home, run_link

_NOTE = "models.note"
_DECISIONS = {"promoted": "promoted", "kept": "not promoted", "rolled_back": "rolled back to"}


def show(app: App, catalog: Catalog, ref: Ref) -> None:
    """Versions, promoting and rolling back, and the log of decisions."""
    _note()
    with st.spinner("Asking the registry"):
        model = service.registry(app, ref)
    if model is None or not model.versions:
        _none()
        return
    champion = model.champion
    if champion is None:
        st.warning(
            "No version is champion, so nothing is predicted: none was better than giving the "
            "commonest label to all. The log below says how they did.",
            icon=":material/warning:",
        )
    else:
        st.markdown(
            f"**Version {champion.number}** is champion: predictions are made with it."
            + _challenger(model)
        )
    _table(app, model)
    if app.person.may(Role.ANALYST):
        _changing(app, ref, model)
    else:
        st.caption(":material/lock: Promoting and rolling back takes an analyst.")
    _log(app, ref)


def _none() -> None:
    with st.container(border=True):
        st.markdown(
            "**No version is registered yet.** The best model of the bank is registered whenever "
            "the classifier is computed; it then challenges the champion."
        )


def _challenger(model: Any) -> str:
    found = model.challenger
    if found is None or found is model.champion:
        return ""
    return f" Version {found.number} was the last to challenge it."


def _table(app: App, model: Any) -> None:
    zone = ZoneInfo(app.settings.timezone)
    shown = _metrics(model)
    rows = [
        {
            "Version": v.number,
            "Aliases": ", ".join(v.aliases),
            "Model": words(v.params.get("best", "")),
            "Trained": v.created_at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S"),
            **{title: v.metrics.get(name) for name, title in shown.items()},
            "Dagster run": run_link(app.settings, v.dagster_run) if v.dagster_run else None,
            "MLflow": f"{mlflow_home(app.settings)}/#/models/{model.name}/versions/{v.number}",
        }
        for v in model.versions
    ]
    if not any(row["Model"] for row in rows):
        rows = [{k: v for k, v in row.items() if k != "Model"} for row in rows]
    figures = {title: st.column_config.NumberColumn(format="%.4f") for title in shown.values()}
    st.dataframe(
        rows,
        hide_index=True,
        width="stretch",
        column_config={
            "Version": st.column_config.NumberColumn(width="small"),
            "Dagster run": st.column_config.LinkColumn(display_text=r"/runs/(.{8})"),
            "MLflow": st.column_config.LinkColumn(display_text="Version"),
            **figures,
        },
    )


_WANTED = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss")


def _metrics(model: Any) -> dict[str, str]:
    """Metrics on what is held out that any version has, and their titles."""
    there = {name for v in model.versions for name in v.metrics}
    titles = {f"held_out_{name}": METRICS[name] for name in _WANTED}
    return {name: title for name, title in titles.items() if name in there}


# --- deciding -------------------------------------------------------------------------------------
def _changing(app: App, ref: Ref, model: Any) -> None:
    now = None if model.champion is None else model.champion.number
    others = [v.number for v in model.versions if v.number != now]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        version = st.selectbox(
            "Version",
            others,
            key=f"models.version {ref}",
            width=120,
            disabled=not others,
            placeholder="none other",
        )
        if st.button("Promote", disabled=not others, icon=":material/upgrade:", key="promote"):
            _confirm_promote(app, ref, int(version), now)
        back = service.back_to(app, ref, model)
        tip = f"To version {back}" if back is not None else "No other version was champion before"
        if st.button(
            "Roll back", disabled=back is None, icon=":material/undo:", key="roll back", help=tip
        ):
            _confirm_back(app, ref, int(back or 0), now)


@st.dialog("Make it champion?")
def _confirm_promote(app: App, ref: Ref, version: int, now: int | None) -> None:
    st.markdown(f"Version {version} takes the place of {_before(now)}.")
    _stale(ref)
    _sure("Promote it", _promote, app, ref, version)


@st.dialog("Roll back?")
def _confirm_back(app: App, ref: Ref, version: int, now: int | None) -> None:
    st.markdown(f"Version {version} was champion before, and takes the place of {_before(now)}.")
    _stale(ref)
    _sure("Roll back", _back, app, ref)


def _before(now: int | None) -> str:
    return "no other" if now is None else f"version {now}"


def _stale(ref: Ref) -> None:
    st.caption(
        f"The predictions of {plain(str(ref))}, and all that stands on them, become stale and are "
        "computed anew. The next challenger is judged against it; those judged before are not "
        "judged again."
    )


def _sure(what: str, act: Callable[..., str], *arguments: Any) -> None:
    """Two buttons; what was done, or why not, is told on the page."""
    yes, no = st.columns(2)
    done = yes.button(
        what,
        type="primary",
        width="stretch",
        key="models.yes",
        on_click=_act,
        args=(act, *arguments),
    )
    if no.button("Leave it as it is", width="stretch", key="models.no") or done:
        st.rerun()


def _act(act: Callable[..., str], *arguments: Any) -> None:
    try:
        st.session_state[_NOTE] = act(*arguments)
    except TippersError as error:
        st.session_state[_NOTE] = error


def _promote(app: App, ref: Ref, version: int) -> str:
    return f"Version {service.promote(app, ref, version).version} is champion."


def _back(app: App, ref: Ref) -> str:
    return f"Version {service.roll_back(app, ref).version} is champion again."


def _note() -> None:
    note = st.session_state.pop(_NOTE, None)
    if isinstance(note, TippersError):
        tell(note)
    elif note:
        st.success(plain(note), icon=":material/check_circle:")


# --- the log --------------------------------------------------------------------------------------
def _log(app: App, ref: Ref) -> None:
    st.subheader("Decisions")
    found = service.decisions(app, ref)
    if not found:
        st.caption("Nothing was decided yet.")
        return
    zone = ZoneInfo(app.settings.timezone)
    rows = [
        {
            "When": d.at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S"),
            "Version": d.version,
            "Decision": _DECISIONS[d.decision],
            "Champion before": "none" if d.champion_before is None else str(d.champion_before),
            "By": "automatic" if d.automatic else d.by,
            "Why": d.reason,
            "Its score": d.score,
            "Champion's": d.champion_score,
            "Commonest label's": d.majority_score,
            "Entities": d.entities,
        }
        for d in found
    ]
    figures = ("Its score", "Champion's", "Commonest label's")
    frame = pd.DataFrame(rows).astype(dict.fromkeys((*figures, "Entities"), float))
    st.dataframe(
        frame,
        hide_index=True,
        width="stretch",
        placeholder="",
        column_config={
            **{name: st.column_config.NumberColumn(format="%.4f") for name in figures},
            "Entities": st.column_config.NumberColumn(format="%d"),
            "Why": st.column_config.TextColumn(width="large"),
        },
    )
    newest = found[0]
    st.markdown(
        f"Last: version {newest.version} {_DECISIONS[newest.decision]}. {plain(newest.reason)}"
        if newest.decision != "rolled_back"
        else f"Last: rolled back to version {newest.version} by {plain(newest.by)}."
    )
