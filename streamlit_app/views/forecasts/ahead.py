"""The forecast of a space, with what came before."""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from streamlit_app.services import forecasts as service
from streamlit_app.services.forecasts import Ahead
from streamlit_app.services.occupancy import MIME, Format, Series
from streamlit_app.services.words import percent
from streamlit_app.ui import state
from streamlit_app.ui.charts import fan, ink
from streamlit_app.ui.messages import plain
from streamlit_app.views.forecasts.shown import Shown, bins, day, model_words, moment
from streamlit_app.views.occupancy.shown import gap_frame

PASTS = {"1 week": 7, "2 weeks": 14, "4 weeks": 28, "12 weeks": 84}
"""Days of history before the forecast."""


def history_days() -> int:
    """Ask how much of the past is shown; the address has it."""
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


def show(shown: Shown) -> None:
    """Chart, main numbers and the sentence beside it."""
    found = service.ahead(shown.app, shown.forecaster.name, shown.space, shown.days, shown.width)
    if found is None:
        st.info(
            "There is a backtest of this space and no forecast yet; it follows by itself.",
            icon=":material/pending:",
        )
        return
    champion = _champion(shown)
    _numbers(found, champion)
    chart = fan(
        came_frame(found.history),
        found.points.to_pandas(),
        _gaps_before(found),
        title=f"Devices in {bins(found.width)}",
        zone=shown.app.settings.timezone,
        origin=found.origin,
        ink=ink(),
    )
    said = _sentence(shown, found)
    st.altair_chart(chart, alt=f"History and forecast of {shown.name}. {said}".replace("**", ""))
    st.markdown(said)
    model = model_words(found.forecast.model)
    st.caption(
        f"The forecast begins {moment(found.origin)} and is made by *{model}*{_how_good(champion)} "
        "The dark band holds 80 % of what comes, the light one 95 %, if the "
        "coming weeks are like those of the backtest."
    )


def _champion(shown: Shown) -> service.Compared | None:
    compared = service.comparison(shown.app, shown.forecaster.name, shown.space)
    return next((one for one in compared if one.part == "champion"), None)


def _numbers(found: Ahead, champion: service.Compared | None) -> None:
    numbers = found.numbers
    with st.container(horizontal=True):
        st.metric(
            "Peak expected, devices",
            f"{numbers.peak:,.0f}",
            border=True,
            help=f"{moment(numbers.peak_at)}; 80 %: {numbers.low:,.0f} to {numbers.high:,.0f}",
        )
        st.metric("Mean expected, devices", f"{numbers.mean:,.1f}", border=True)
        if champion is not None and champion.score.mae is not None:
            st.metric(
                "Off by, in the backtest",
                f"{champion.score.mae:,.2f}",
                border=True,
                help="Devices, on average over the bins of the backtest",
            )
        if champion is not None and champion.score.coverage_80 is not None:
            st.metric(
                "Came within the 80 % band",
                percent(champion.score.coverage_80),
                border=True,
                help="Of the bins of the backtest",
            )


def _sentence(shown: Shown, found: Ahead) -> str:
    """The main numbers, as text beside the chart."""
    n = found.numbers
    if n.peak < 0.5:
        return (
            f"{plain(shown.name)} is expected to stay **empty** over the days from "
            f"{day(found.origin)} ({n.mean:,.1f} devices on average)."
        )
    return (
        f"{plain(shown.name)} is expected to hold at most **{n.peak:,.0f}** devices in "
        f"{bins(found.width)}, {moment(n.peak_at)} (80 %: {n.low:,.0f} to {n.high:,.0f}), and "
        f"{n.mean:,.1f} on average, over the days from {day(found.origin)}."
    )


def _how_good(champion: service.Compared | None) -> str:
    """Beside the forecast that says the last week again."""
    score = None if champion is None else champion.score.score
    if score is None:
        return "."
    if score >= 0.995:
        return ", which no model beat in the backtest."
    return f", whose error in the backtest is {percent(1 - score)} below that of last week again."


def came_frame(history: Series | None) -> pd.DataFrame:
    """What came as the chart takes it; one row of nothing when there is none."""
    if history is None:
        return pd.DataFrame({"time": [0.0], "until": [0.0], "mean": [None]}).iloc[:0]
    return history.points().table.to_pandas()[["time", "until", "mean"]]


def _gaps_before(found: Ahead) -> pd.DataFrame:
    """What is not known of the past; that the future is not known goes without saying."""
    gaps = [] if found.history is None else found.history.gaps
    return gap_frame([gap for gap in gaps if gap.start < found.origin])


def download(shown: Shown) -> None:
    """Take forecasts away as a file."""
    name = shown.forecaster.name
    with st.popover("Download", icon=":material/download:"):
        st.caption("Every bin to come, with its quantiles and the model that made it.")
        kinds: tuple[tuple[Format, str], ...] = (("csv", "CSV"), ("parquet", "Parquet"))
        some = {"This space": (shown.space,), "All its spaces": shown.forecaster.spaces}
        which = st.radio("Of", list(some), horizontal=True, key="forecasts_download_of")
        for kind, label in kinds:
            st.download_button(
                label,
                partial(service.export, shown.app, name, some[which], kind),
                file_name=f"forecast_{name}.{kind}",
                mime=MIME[kind],
                key=f"forecasts download {kind}",
                on_click="ignore",
                width="stretch",
            )
