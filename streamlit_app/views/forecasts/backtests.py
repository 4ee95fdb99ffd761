"""A model's forecast from a past day, and the actual counts."""

from __future__ import annotations

import streamlit as st

from streamlit_app.services import forecasts as service
from streamlit_app.services.forecasts import Backtest, Compared
from streamlit_app.services.words import bin_width, day, percent
from streamlit_app.ui import state
from streamlit_app.ui.charts import fan, ink
from streamlit_app.ui.messages import plain
from streamlit_app.views.forecasts.context import Context, model_name, typical_error
from streamlit_app.views.occupancy.context import gap_frame


def show(context: Context) -> None:
    """Select the model and the day; the chart and the error."""
    name = context.forecaster.name
    compared = service.comparison(context.app, name, context.space)
    days = service.origins(context.app, name, context.space)
    if not compared or not days:
        st.info("This space has no backtest yet.", icon=":material/pending:")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        model = _model(compared)
        at = str(state.one_of("from", [str(d) for d in days], str(days[0])))
        origin = st.selectbox(
            "Forecast from",
            days,
            index=[str(d) for d in days].index(at),
            format_func=day,
            key=f"forecasts_origin {context.space}",
            width=240,
        )
    state.put(**{"from": str(origin) if origin != days[0] else None})
    found = service.backtest(context.app, name, context.space, model, origin, context.width)
    if found is None:
        st.info(
            f"The backtest from this day does not include the model {model_name(model)}.",
            icon=":material/info:",
        )
        return
    _chart(context, found)


def _model(compared: list[Compared]) -> str:
    names = [one.score.model for one in compared]
    best = next((one.score.model for one in compared if one.role == "champion"), names[0])
    requested = state.one_of("model", names, best)
    model = st.selectbox(
        "Model",
        names,
        index=names.index(requested or best),
        format_func=lambda n: model_name(n) + (" (champion)" if n == best else ""),
        key="forecasts_model",
        width=300,
    )
    state.put(model=model if model != best else None)
    return model


def _chart(context: Context, found: Backtest) -> None:
    points = found.points.to_pandas()
    actual = points[["time", "until"]].assign(mean=points["actual"])
    chart = fan(
        actual,
        points,
        gap_frame([]),
        title=f"{context.unit.capitalize()} in {bin_width(context.width)}",
        unit=context.unit,
        zone=context.app.settings.timezone,
        ink=ink(),
    )
    sentence = _sentence(context, found)
    st.altair_chart(chart, alt=sentence.replace("*", ""))
    st.markdown(sentence)
    st.caption(
        "Forecast from the counts before that day only. Dashed line: forecast; bands: 80 % and "
        "95 % range; solid line: actual."
    )


def _sentence(context: Context, found: Backtest) -> str:
    start = f"*{model_name(found.model)}*, from {day(found.origin)} for {plain(context.name)}"
    if found.mae is None or found.covered is None:
        return f"{start}: no actual counts are computed for these days."
    return (
        f"{start}: typical error **{typical_error(found.mae, context.unit)}**, actual within the "
        f"80 % range in {percent(found.covered)} of bins."
    )
