"""The forecast of a space with its recent history."""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from streamlit_app.services import forecasts as service
from streamlit_app.services.exports import MIME
from streamlit_app.services.forecasts import ShownForecast
from streamlit_app.services.occupancy.series import Series
from streamlit_app.services.words import bin_width, day, moment, percent
from streamlit_app.ui import state
from streamlit_app.ui.charts import fan, ink
from streamlit_app.ui.messages import plain
from streamlit_app.views.forecasts.context import Context, model_name, typical_error
from streamlit_app.views.occupancy.context import gap_frame
from tippers_dagster.platform.table_files import Format

PASTS = {"1 week": 7, "2 weeks": 14, "4 weeks": 28, "12 weeks": 84}
"""Days of history before the forecast."""


def history_days() -> int:
    """Select the days of history; the selection is kept in the address."""
    names = {str(days): name for name, days in PASTS.items()}
    chosen = st.segmented_control(
        "History",
        list(PASTS),
        default=names[state.one_of("past", list(names), "14")],
        key="forecasts_past",
        required=True,
    )
    days = PASTS[chosen or "2 weeks"]
    state.put(past=None if days == 14 else str(days))
    return days


def show(context: Context) -> None:
    """The chart, the main numbers and a sentence with them."""
    found = service.ahead(
        context.app, context.forecaster.name, context.space, context.days, context.width
    )
    if found is None:
        st.info(
            "This space has a backtest but no forecast yet; automation computes it next.",
            icon=":material/pending:",
        )
        return
    champion = _champion(context)
    _numbers(found, champion, context.unit)
    chart = fan(
        _actual_frame(found.history),
        found.points.to_pandas(),
        _gaps_before(found),
        title=f"{context.unit.capitalize()} in {bin_width(found.width)}",
        unit=context.unit,
        zone=context.app.settings.timezone,
        origin=found.origin,
        ink=ink(),
    )
    sentence = _sentence(context, found)
    alt = f"History and forecast of {context.name}. {sentence}"
    st.altair_chart(chart, alt=alt.replace("**", ""))
    st.markdown(sentence)
    model = model_name(found.forecast.model)
    st.caption(
        f"The forecast begins {moment(found.origin)}. Model: *{model}*{_compared(champion)} The "
        "dark band is the 80 % range, the light band the 95 % range: they contain that share of "
        "the actual counts, provided the coming weeks are like those of the backtest."
    )


def _champion(context: Context) -> service.Compared | None:
    compared = service.comparison(context.app, context.forecaster.name, context.space)
    return next((one for one in compared if one.role == "champion"), None)


def _numbers(found: ShownForecast, champion: service.Compared | None, unit: str) -> None:
    numbers = found.numbers
    with st.container(horizontal=True):
        st.metric(
            f"Expected peak, {unit}",
            f"{numbers.peak:,.0f}",
            border=True,
            help=f"{moment(numbers.peak_at)}. 80 % range: {numbers.low:,.0f} to "
            f"{numbers.high:,.0f}",
        )
        st.metric(f"Expected mean, {unit}", f"{numbers.mean:,.1f}", border=True)
        if champion is not None and champion.score.mae is not None:
            st.metric(
                "Typical error",
                typical_error(champion.score.mae, unit),
                border=True,
                help="Mean absolute error per bin in the backtest",
            )
        if champion is not None and champion.score.coverage_80 is not None:
            st.metric(
                "Actual within the 80 % range",
                percent(champion.score.coverage_80),
                border=True,
                help="Share of the backtest's bins",
            )


def _sentence(context: Context, found: ShownForecast) -> str:
    """The main numbers, as text beside the chart."""
    n = found.numbers
    if n.peak < 0.5:
        return (
            f"{plain(context.name)} is expected to stay **empty** from {day(found.origin)} "
            f"({n.mean:,.1f} {context.unit} on average)."
        )
    return (
        f"{plain(context.name)}, from {day(found.origin)}: expected peak of **{n.peak:,.0f}** "
        f"{context.unit} in {bin_width(found.width)}, on {moment(n.peak_at)} (80 % range: "
        f"{n.low:,.0f} to {n.high:,.0f}), and {n.mean:,.1f} on average."
    )


def _compared(champion: service.Compared | None) -> str:
    """The end of a sentence that compares the champion with repeating last week."""
    score = None if champion is None else champion.score.score
    if score is None:
        return "."
    if score >= 0.995:
        return ", which no model beat in the backtest."
    return f"; its error in the backtest is {percent(1 - score)} lower than repeating last week."


def _actual_frame(history: Series | None) -> pd.DataFrame:
    """Actual counts as a table for the chart; empty without history."""
    if history is None:
        return pd.DataFrame({"time": [0.0], "until": [0.0], "mean": [None]}).iloc[:0]
    return history.points().table.to_pandas()[["time", "until", "mean"]]


def _gaps_before(found: ShownForecast) -> pd.DataFrame:
    """Gaps in the history only: the future always is one."""
    gaps = [] if found.history is None else found.history.gaps
    return gap_frame([gap for gap in gaps if gap.start < found.origin])


def download(context: Context) -> None:
    """Download forecasts."""
    name = context.forecaster.name
    with st.popover("Download", icon=":material/download:"):
        st.caption("All forecast bins, with their quantiles and the model.")
        kinds: tuple[tuple[Format, str], ...] = (("csv", "CSV"), ("parquet", "Parquet"))
        choices = {"This space": (context.space,), "All spaces": context.forecaster.spaces}
        which = st.radio("Spaces", list(choices), horizontal=True, key="forecasts_download_of")
        for kind, label in kinds:
            st.download_button(
                label,
                partial(service.export, context.app, name, choices[which], kind),
                file_name=f"forecast_{name}.{kind}",
                mime=MIME[kind],
                key=f"forecasts download {kind}",
                on_click="ignore",
                width="stretch",
            )
