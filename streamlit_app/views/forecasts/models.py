"""The models' backtest scores: for the space, for all spaces, and since the previous backtest."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import forecasts as service
from streamlit_app.services.forecasts import Changes, Compared, Training, Winner
from streamlit_app.services.words import day
from streamlit_app.ui import state
from streamlit_app.ui.messages import plain
from streamlit_app.ui.space_picker import full_name
from streamlit_app.views.forecasts.context import Context, model_name, space_key, typical_error
from tippers_dagster.platform.text import counted

_ROLES = {"champion": "champion", "baseline": "baseline", "model": ""}
_MAX_CHANGES = 50


def show(context: Context) -> None:
    """The ranking for the space, what changed, and the champions of all spaces."""
    name = context.forecaster.name
    compared = service.comparison(context.app, name, context.space)
    training = service.training(context.app, name)
    if not compared or training is None:
        st.info("This space has no backtest yet.", icon=":material/pending:")
        return
    st.markdown(_sentence(context, compared))
    _ranking(context, compared)
    st.caption(_method(training))
    _left_out(training)
    _changes(context, service.changes(context.app, name))
    _winners(context, service.winners(context.app, name))


def _sentence(context: Context, compared: list[Compared]) -> str:
    best = next((one.score for one in compared if one.role == "champion"), None)
    if best is None:
        return f"There is no champion for {plain(context.name)}: no scores could be compared."
    sentence = f"**{model_name(best.model)}** is the champion for {plain(context.name)}"
    if best.mae is not None:
        sentence += f": typical error {typical_error(best.mae, context.unit)}"
    if best.mae_occupied is not None:
        sentence += f", {typical_error(best.mae_occupied, context.unit)} while occupied"
    zero = next((one.score for one in compared if one.score.model == "zero"), None)
    if zero is not None and zero.mae is not None:
        sentence += (
            f". For comparison, “{model_name('zero')}”: {typical_error(zero.mae, context.unit)}"
        )
    return f"{sentence}."


def _ranking(context: Context, compared: list[Compared]) -> None:
    rows = [
        {
            "Model": model_name(one.score.model),
            "Role": _ROLES[one.role]
            if one.score.eligible or one.role != "model"
            else "not eligible",
            "Score": one.score.score,
            "Error": one.score.mae,
            "Error while occupied": one.score.mae_occupied,
            "RMSE": one.score.rmse,
            "Pinball loss": one.score.pinball,
            "Within 80 % range": _hundredths(one.score.coverage_80),
            "Within 95 % range": _hundredths(one.score.coverage_95),
            "Bins": one.score.bins,
            "Occupied bins": one.score.occupied,
        }
        for one in compared
    ]
    percent = st.column_config.NumberColumn(format="%.0f %%", help="Share of the bins")
    st.dataframe(
        rows,
        hide_index=True,
        column_config={
            "Score": st.column_config.NumberColumn(
                format="%.3f",
                help="Half pinball loss, half error while occupied, both relative to “Same time "
                "last week”, which scores 1. Lower is better",
            ),
            "Error": st.column_config.NumberColumn(
                format="%.2f", help=f"Mean absolute error per bin, in {context.unit}"
            ),
            "Error while occupied": st.column_config.NumberColumn(
                format="%.2f",
                help=f"Mean absolute error over bins that were not empty, in {context.unit}",
            ),
            "RMSE": st.column_config.NumberColumn(
                format="%.2f",
                help=f"Root mean square error, in {context.unit}: large errors weigh more",
            ),
            "Pinball loss": st.column_config.NumberColumn(
                format="%.3f", help="Error of the five quantiles, so of the whole range"
            ),
            "Within 80 % range": percent,
            "Within 95 % range": percent,
        },
    )


def _method(training: Training) -> str:
    details = training.details
    windows, days = details.get("windows", 0), details.get("horizon_days", 0)
    return (
        f"Backtest: {counted(windows, 'forecast')} of {counted(days, 'day')}, each from the counts "
        f"before it only, on the history from {day(training.first_day)} until "
        f"{day(training.last_day)} (excluded). In a space that is mostly empty, “Always empty” has "
        "a small error, so half of the score is the error while occupied."
    )


def _left_out(training: Training) -> None:
    for what, reasons in (
        ("was left out", training.details.get("left_out") or {}),
        ("failed for some spaces", training.details.get("failed") or {}),
    ):
        for model, why in reasons.items():
            st.warning(
                f"**{model_name(model)}** {what}: {plain(str(why))}", icon=":material/warning:"
            )
    without = training.details.get("without_history") or []
    if without:
        st.caption(f"Spaces without history, and therefore without forecast: {len(without):,}.")


# --- what changed --------------------------------------------------------------------------------
def _changes(context: Context, found: Changes | None) -> None:
    st.subheader("What changed")
    if found is None or found.before is None:
        st.caption("This is the first backtest, so there is nothing to compare with.")
        return
    before = f"{found.before.trained_at:%Y-%m-%d %H:%M} UTC"
    better = {m: d for m, d in found.score_deltas.items() if d < -0.0005}
    worse = {m: d for m, d in found.score_deltas.items() if d > 0.0005}
    parts = [f"{model_name(m)} by {abs(d):.3f}" for m, d in sorted(better.items())]
    scores = f"Better mean scores: {', '.join(parts)}. " if parts else ""
    parts = [f"{model_name(m)} by {d:.3f}" for m, d in sorted(worse.items())]
    scores += f"Worse mean scores: {', '.join(parts)}." if parts else ""
    number = len(found.champions)
    which = {0: "no space has", 1: "1 space has"}.get(number, f"{number:,} spaces have")
    st.markdown(
        f"Since the backtest of {before}, {which} a new champion. "
        + (scores or "Mean scores have not changed.")
    )
    if found.champions:
        st.dataframe(
            [
                {
                    "Space": _space(context, c.space),
                    "Before": model_name(c.before) if c.before else "none",
                    "Now": model_name(c.after) if c.after else "none",
                    "Error before": c.mae_before,
                    "Error now": c.mae_after,
                }
                for c in found.champions[:_MAX_CHANGES]
            ],
            hide_index=True,
            column_config={
                n: st.column_config.NumberColumn(
                    format="%.2f", help=f"Mean absolute error per bin, in {context.unit}"
                )
                for n in ("Error before", "Error now")
            },
        )


# --- all spaces ----------------------------------------------------------------------------------
def _winners(context: Context, found: list[Winner]) -> None:
    if len(found) < 2:
        return
    st.subheader("All spaces")
    key = f"forecasts_winners {context.forecaster.name}"

    def chosen() -> None:
        rows = st.session_state[key]["selection"]["rows"]
        if rows:
            space = found[rows[0]].space
            st.session_state[space_key(context.forecaster.name)] = space
            state.put(space=space, view=None)

    counts: dict[str, int] = {}
    for one in found:
        counts[one.model] = counts.get(one.model, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    champions = ", ".join(f"{model_name(model)} {number:,}" for model, number in ordered)
    st.markdown(f"Champions of {len(found):,} spaces: {champions}.")
    st.dataframe(
        [
            {
                "Space": _space(context, one.space),
                "Champion": model_name(one.model),
                "Error": one.mae,
                "Error of “Same time last week”": one.naive_mae,
                "Within 80 % range": _hundredths(one.coverage_80),
            }
            for one in found
        ],
        key=key,
        on_select=chosen,
        selection_mode="single-row",
        hide_index=True,
        height=min(36 * len(found) + 40, 420),
        column_config={
            "Error": st.column_config.NumberColumn(
                format="%.2f", help=f"Mean absolute error per bin, in {context.unit}"
            ),
            "Error of “Same time last week”": st.column_config.NumberColumn(format="%.2f"),
            "Within 80 % range": st.column_config.NumberColumn(format="%.0f %%"),
        },
    )
    st.caption("Select a row to see the space.")


def _hundredths(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _space(context: Context, space: str) -> str:
    return full_name(context.tree, space) if space in context.tree else space
