"""What a model would have forecast from a past day, beside what then came."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import forecasts as service
from streamlit_app.services.forecasts import Compared, Tested
from streamlit_app.services.words import percent
from streamlit_app.ui import state
from streamlit_app.ui.charts import fan, ink
from streamlit_app.ui.messages import plain
from streamlit_app.views.forecasts.shown import Shown, bins, day, model_words
from streamlit_app.views.occupancy.shown import gap_frame


def show(shown: Shown) -> None:
    """Choose the model and the day; the chart, and how good it would have been."""
    name = shown.forecaster.name
    compared = service.comparison(shown.app, name, shown.space)
    days = service.origins(shown.app, name, shown.space)
    if not compared or not days:
        st.info("There is no backtest of this space yet.", icon=":material/pending:")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        model = _model(compared)
        at = str(state.one_of("from", [str(d) for d in days], str(days[0])))
        origin = st.selectbox(
            "Forecast from",
            days,
            index=[str(d) for d in days].index(at),
            format_func=day,
            key=f"forecasts_origin {shown.space}",
            width=240,
        )
    state.put(**{"from": str(origin) if origin != days[0] else None})
    found = service.backtest(shown.app, name, shown.space, model, origin, shown.width)
    if found is None:
        st.info(f"{model_words(model)} was not tried there.", icon=":material/info:")
        return
    _chart(shown, found)


def _model(compared: list[Compared]) -> str:
    names = [one.score.model for one in compared]
    best = next((one.score.model for one in compared if one.part == "champion"), names[0])
    asked = state.one_of("model", names, best)
    model = st.selectbox(
        "Model",
        names,
        index=names.index(asked or best),
        format_func=lambda n: model_words(n) + (" (champion)" if n == best else ""),
        key="forecasts_model",
        width=300,
    )
    state.put(model=model if model != best else None)
    return model


def _chart(shown: Shown, found: Tested) -> None:
    points = found.points.to_pandas()
    came = points[["time", "until"]].assign(mean=points["came"])
    chart = fan(
        came,
        points,
        gap_frame([]),
        title=f"Devices in {bins(shown.width)}",
        zone=shown.app.settings.timezone,
        ink=ink(),
    )
    said = _sentence(shown, found)
    st.altair_chart(chart, alt=said.replace("*", ""))
    st.markdown(said)
    st.caption(
        "Made with what was known before that day only. The dashed line is the forecast, the "
        "bands are its 80 % and 95 % intervals, and the whole line is what came."
    )


def _sentence(shown: Shown, found: Tested) -> str:
    start = f"*{model_words(found.model)}*, from {day(found.origin)} for {plain(shown.name)}"
    if found.mae is None or found.covered is None:
        return f"{start}: nothing is computed to compare it with."
    return (
        f"{start}: off by **{found.mae:,.2f}** devices on average, and {percent(found.covered)} of "
        "the bins came within its 80 % interval."
    )
