"""The registered versions of a classifier: promotion, rollback and the log of decisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from streamlit_app.services import models as service
from streamlit_app.services.app import App
from streamlit_app.ui.messages import plain
from streamlit_app.ui.notes import attempt, show_note
from streamlit_app.views.models.ranking import METRICS, model_name
from tippers_dagster.access.model import Role
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.model import Ref
from tippers_dagster.platform.dagster.addresses import mlflow_home, run_link

if TYPE_CHECKING:
    from tippers_dagster.learning.registry import RegisteredModel

_NOTE = "models.note"
_DECISIONS = {"promoted": "promoted", "kept": "not promoted", "rolled_back": "rolled back to"}


def show(app: App, catalog: Catalog, ref: Ref) -> None:
    """Versions, promoting and rolling back, and the log of decisions."""
    show_note(_NOTE)
    with st.spinner("Reading the registry"):
        model = service.registry(app, ref)
    if model is None or not model.versions:
        _no_versions()
        return
    champion = model.champion
    if champion is None:
        st.warning(
            "There is no champion, so nothing is predicted: no version beat the majority class. "
            "The decisions below show their scores.",
            icon=":material/warning:",
        )
    else:
        st.markdown(
            f"**Version {champion.number}** is the champion: it makes the predictions."
            + _challenger(model)
        )
    _table(app, model)
    if app.person.may(Role.ANALYST):
        _changing(app, ref, model)
    else:
        st.caption(":material/lock: Promoting a version or rolling back needs the analyst role.")
    _log(app, ref)


def _no_versions() -> None:
    with st.container(border=True):
        st.markdown(
            "**No version is registered yet.** Each time the classifier is trained, its best model "
            "is registered as a version and challenges the champion."
        )


def _challenger(model: RegisteredModel) -> str:
    challenger = model.challenger
    if challenger is None or challenger is model.champion:
        return ""
    return f" Version {challenger.number} is the latest challenger."


def _table(app: App, model: RegisteredModel) -> None:
    zone = ZoneInfo(app.settings.timezone)
    shown = _metrics(model)
    rows = [
        {
            "Version": v.number,
            "Aliases": ", ".join(v.aliases),
            "Model": model_name(v.params.get("best", "")),
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


def _metrics(model: RegisteredModel) -> dict[str, str]:
    """Held-out metrics that at least one version has, and their titles."""
    known = {name for v in model.versions for name in v.metrics}
    titles = {f"held_out_{name}": METRICS[name] for name in _WANTED}
    return {name: title for name, title in titles.items() if name in known}


# --- deciding -------------------------------------------------------------------------------------
def _changing(app: App, ref: Ref, model: RegisteredModel) -> None:
    now = None if model.champion is None else model.champion.number
    others = [v.number for v in model.versions if v.number != now]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        version = st.selectbox(
            "Version",
            others,
            key=f"models.version {ref}",
            width=120,
            disabled=not others,
            placeholder="no other",
        )
        if st.button("Promote", disabled=not others, icon=":material/upgrade:", key="promote"):
            _confirm_promote(app, ref, int(version), now)
        back = service.back_to(app, ref, model)
        tip = f"To version {back}" if back is not None else "There is no previous champion"
        if st.button(
            "Roll back", disabled=back is None, icon=":material/undo:", key="roll back", help=tip
        ):
            _confirm_back(app, ref, int(back or 0), now)


@st.dialog("Promote this version?")
def _confirm_promote(app: App, ref: Ref, version: int, now: int | None) -> None:
    st.markdown(f"Version {version} becomes champion{_instead(now)}.")
    _consequences(ref)
    _confirm("Promote", _promote, app, ref, version)


@st.dialog("Roll back?")
def _confirm_back(app: App, ref: Ref, version: int, now: int | None) -> None:
    st.markdown(f"Version {version} becomes champion again{_instead(now)}.")
    _consequences(ref)
    _confirm("Roll back", _back, app, ref)


def _instead(now: int | None) -> str:
    return "" if now is None else f" and replaces version {now}"


def _consequences(ref: Ref) -> None:
    st.caption(
        f"The predictions of {plain(str(ref))} and everything that depends on them will be "
        "recomputed. The next challenger is compared with this version; earlier decisions stay."
    )


def _confirm(what: str, act: Callable[..., str], *arguments: Any) -> None:
    """Two buttons. The page then shows a note or the error."""
    yes, no = st.columns(2)
    done = yes.button(
        what,
        type="primary",
        width="stretch",
        key="models.yes",
        on_click=attempt,
        args=(_NOTE, act, *arguments),
    )
    if no.button("Cancel", width="stretch", key="models.no") or done:
        st.rerun()


def _promote(app: App, ref: Ref, version: int) -> str:
    return f"Version {service.promote(app, ref, version).version} is now champion."


def _back(app: App, ref: Ref) -> str:
    return f"Version {service.roll_back(app, ref).version} is champion again."


# --- decisions ------------------------------------------------------------------------------------
def _log(app: App, ref: Ref) -> None:
    st.subheader("Decisions")
    found = service.decisions(app, ref)
    if not found:
        st.caption("No decisions yet.")
        return
    zone = ZoneInfo(app.settings.timezone)
    rows = [
        {
            "When": d.at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S"),
            "Version": d.version,
            "Decision": _DECISIONS[d.decision],
            "Previous champion": "none" if d.champion_before is None else str(d.champion_before),
            "By": "automatic" if d.automatic else d.by,
            "Reason": d.reason,
            "Score": d.score,
            "Champion score": d.champion_score,
            "Majority class score": d.majority_score,
            "Held-out entities": d.entities,
        }
        for d in found
    ]
    figures = ("Score", "Champion score", "Majority class score")
    frame = pd.DataFrame(rows).astype(dict.fromkeys((*figures, "Held-out entities"), float))
    st.dataframe(
        frame,
        hide_index=True,
        width="stretch",
        placeholder="",
        column_config={
            **{name: st.column_config.NumberColumn(format="%.4f") for name in figures},
            "Held-out entities": st.column_config.NumberColumn(format="%d"),
            "Reason": st.column_config.TextColumn(width="large"),
        },
    )
    newest = found[0]
    st.markdown(
        f"Latest decision: version {newest.version} {_DECISIONS[newest.decision]}. "
        f"{plain(newest.reason)}"
        if newest.decision != "rolled_back"
        else f"Latest decision: rolled back to version {newest.version} by {plain(newest.by)}."
    )
