"""How the models did in the backtest: of the space, of all spaces, and against the time before."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import forecasts as service
from streamlit_app.services.forecasts import Changes, Compared, Training, Winner
from streamlit_app.ui import state
from streamlit_app.ui.messages import plain
from streamlit_app.ui.space_picker import full_name
from streamlit_app.views.forecasts.shown import Shown, day, model_words, space_key

_PART = {"champion": "champion", "plain": "to be beaten", "model": ""}
_MOST = 50


def show(shown: Shown) -> None:
    """The ranking of the space, what changed, and the champions of all spaces."""
    name = shown.forecaster.name
    compared = service.comparison(shown.app, name, shown.space)
    training = service.training(shown.app, name)
    if not compared or training is None:
        st.info("There is no backtest of this space yet.", icon=":material/pending:")
        return
    st.markdown(_sentence(shown, compared))
    _ranking(compared)
    st.caption(_how(training))
    _left_out(training)
    _changes(shown, service.changes(shown.app, name))
    _winners(shown, service.winners(shown.app, name))


def _sentence(shown: Shown, compared: list[Compared]) -> str:
    best = next((one.score for one in compared if one.part == "champion"), None)
    if best is None:
        return f"No model won for {plain(shown.name)}: nothing could be compared."
    said = f"**{model_words(best.model)}** is the champion for {plain(shown.name)}"
    if best.mae is not None:
        said += f": off by {best.mae:,.2f} devices on average"
    if best.mae_occupied is not None:
        said += f", and by {best.mae_occupied:,.2f} while somebody is there"
    zero = next((one.score for one in compared if one.score.model == "zero"), None)
    if zero is not None and zero.mae is not None:
        said += f". Saying zero all the time would be off by {zero.mae:,.2f}"
    return f"{said}."


def _ranking(compared: list[Compared]) -> None:
    rows = [
        {
            "Model": model_words(one.score.model),
            "": _PART[one.part] if one.score.eligible or one.part != "model" else "cannot win",
            "Score": one.score.score,
            "Off by": one.score.mae,
            "While occupied": one.score.mae_occupied,
            "RMSE": one.score.rmse,
            "Pinball": one.score.pinball,
            "In 80 %": _hundredths(one.score.coverage_80),
            "In 95 %": _hundredths(one.score.coverage_95),
            "Bins": one.score.bins,
            "Occupied bins": one.score.occupied,
        }
        for one in compared
    ]
    number, percent = (st.column_config.NumberColumn(format=f) for f in ("%.2f", "%.0f %%"))
    st.dataframe(
        rows,
        hide_index=True,
        column_config={
            "Score": st.column_config.NumberColumn(
                format="%.3f",
                help="Beside the seasonal naive forecast, which has 1. Less is better.",
            ),
            "Off by": st.column_config.NumberColumn(
                format="%.2f", help="Mean absolute error, in devices."
            ),
            "While occupied": st.column_config.NumberColumn(
                format="%.2f", help="The same, of bins in which somebody was there."
            ),
            "RMSE": number,
            "Pinball": st.column_config.NumberColumn(
                format="%.3f", help="Of the five quantiles: it judges the whole interval."
            ),
            "In 80 %": percent,
            "In 95 %": percent,
        },
    )


def _how(training: Training) -> str:
    details = training.details
    windows, days = details.get("windows", 0), details.get("horizon_days", 0)
    return (
        f"Backtest of {windows} forecasts of {days} days each, made with what was known before "
        f"them, on the history from {day(training.first_day)} to {day(training.last_day)} "
        "(excluded). Where a space is mostly empty, zero is seldom far off: the error while "
        "somebody is there counts as well."
    )


def _left_out(training: Training) -> None:
    for what, reasons in (
        ("was not tried", training.details.get("left_out") or {}),
        ("could not cope with some spaces", training.details.get("failed") or {}),
    ):
        for model, why in reasons.items():
            st.warning(
                f"**{model_words(model)}** {what}: {plain(str(why))}", icon=":material/warning:"
            )
    without = training.details.get("without_history") or []
    if without:
        st.caption(f"{len(without):,} spaces have no history, and so no forecast.")


# --- what changed --------------------------------------------------------------------------------
def _changes(shown: Shown, found: Changes | None) -> None:
    st.subheader("What changed")
    if found is None or found.before is None:
        st.caption("This is the first backtest: there is nothing to compare it with.")
        return
    before = f"{found.before.trained_at:%Y-%m-%d %H:%M} UTC"
    better = {m: d for m, d in found.score_deltas.items() if d < -0.0005}
    worse = {m: d for m, d in found.score_deltas.items() if d > 0.0005}
    parts = [f"{model_words(m)} by {abs(d):.3f}" for m, d in sorted(better.items())]
    told = f"Better: {', '.join(parts)}. " if parts else ""
    parts = [f"{model_words(m)} by {d:.3f}" for m, d in sorted(worse.items())]
    told += f"Worse: {', '.join(parts)}." if parts else ""
    number = len(found.champions)
    which = {0: "no space has", 1: "one space has"}.get(number, f"{number:,} spaces have")
    st.markdown(
        f"Since the backtest of {before}: {which} another champion. "
        + (f"Mean scores: {told}" if told else "Mean scores are as before.")
    )
    if found.champions:
        st.dataframe(
            [
                {
                    "Space": _space(shown, c.space),
                    "Before": model_words(c.before) if c.before else "none",
                    "Now": model_words(c.after) if c.after else "none",
                    "Off by, before": c.mae_before,
                    "Off by, now": c.mae_after,
                }
                for c in found.champions[:_MOST]
            ],
            hide_index=True,
            column_config={
                n: st.column_config.NumberColumn(format="%.2f")
                for n in ("Off by, before", "Off by, now")
            },
        )


# --- all spaces ----------------------------------------------------------------------------------
def _winners(shown: Shown, found: list[Winner]) -> None:
    if len(found) < 2:
        return
    st.subheader("All its spaces")
    key = f"forecasts_winners {shown.forecaster.name}"

    def chosen() -> None:
        rows = st.session_state[key]["selection"]["rows"]
        if rows:
            space = found[rows[0]].space
            st.session_state[space_key(shown.forecaster.name)] = space
            state.put(space=space, view=None)

    counts: dict[str, int] = {}
    for one in found:
        counts[one.model] = counts.get(one.model, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    told = ", ".join(f"{model_words(model)} {number:,}" for model, number in ordered)
    st.markdown(f"Champions of {len(found):,} spaces: {told}.")
    st.dataframe(
        [
            {
                "Space": _space(shown, one.space),
                "Champion": model_words(one.model),
                "Off by": one.mae,
                "Last week again, off by": one.naive_mae,
                "In 80 %": _hundredths(one.coverage_80),
            }
            for one in found
        ],
        key=key,
        on_select=chosen,
        selection_mode="single-row",
        hide_index=True,
        height=min(36 * len(found) + 40, 420),
        column_config={
            "Off by": st.column_config.NumberColumn(format="%.2f"),
            "Last week again, off by": st.column_config.NumberColumn(format="%.2f"),
            "In 80 %": st.column_config.NumberColumn(format="%.0f %%"),
        },
    )
    st.caption("Choose a row to see the space.")


def _hundredths(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _space(shown: Shown, space: str) -> str:
    return full_name(shown.tree, space) if space in shown.tree else space
