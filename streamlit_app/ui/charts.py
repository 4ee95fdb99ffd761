"""Charts of counts over time and by space, in the theme's colours for light and dark.

Times are milliseconds of the campus's wall clock counted as if they were UTC, and drawn as UTC: a
browser in another zone still shows the campus's own time.
"""

from __future__ import annotations

import datetime as dt

import altair as alt
import pandas as pd

from streamlit_app.ui.theme import is_dark

HEIGHT = 320
PAN = "pan"
"""The selection with the time range that a ``timeline`` shows, as ``{"time": [ms, ms]}``."""

Layers = alt.LayerChart | alt.FacetChart

_STAMP = "%a %-d %b %Y, %H:%M"
_TICKS = {
    "hours": "%H:%M",
    "minutes": "%H:%M",
    "date": "%-d %b",
    "day": "%a %-d %b",
    "week": "%-d %b",
}
_GREY = "#808a8c"
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def milliseconds(local: dt.datetime) -> float:
    """Convert a local time to milliseconds for a chart."""
    return (local - dt.datetime(1970, 1, 1)) / dt.timedelta(milliseconds=1)


def local_of(value: float) -> dt.datetime:
    """Convert milliseconds of a chart to a local time."""
    return dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=value)


def ink() -> str:
    """The theme's text colour, for marks that Vega would draw in black."""
    return "#e6eeee" if is_dark() else "#0a1213"


def timeline(
    points: pd.DataFrame,
    gaps: pd.DataFrame,
    domain: tuple[dt.datetime, dt.datetime] | None = None,
    *,
    title: str,
    zone: str,
    capacity: float | None = None,
    ink: str = "#808a8c",
    height: int = HEIGHT,
) -> Layers:
    """Lines over time with a band from lowest to highest; gaps are shaded.

    Parameters
    ----------
    points
        ``name``, ``time``, ``until``, ``mean``, ``low``, ``high``; nulls break the line.
    gaps
        ``time``, ``until`` of times that are not computed; may be empty.
    domain
        Local times that the chart shows at first; it can be panned and zoomed, which sets the
        selection ``PAN``. None: the chart shows all points and does not pan.
    title
        Title of the count axis, with its unit.
    capacity
        A level to compare with, drawn as a line.
    ink
        Colour of this line and its text; pass the theme's text colour, which Vega does not know.
    """
    points = _with_end(points)
    x = _local_time(zone)
    several = points["name"].nunique() > 1
    legend = alt.Legend(orient="top", labelLimit=400, symbolType="stroke", symbolOpacity=1)
    dash = alt.StrokeDash("name:N", title=None, legend=legend) if several else alt.Undefined
    colour = alt.Color("name:N", title=None, legend=legend) if several else alt.Undefined
    hover = [
        alt.Tooltip("time:T", title="From", timeUnit="utcyearmonthdatehoursminutes", format=_STAMP),
        alt.Tooltip("until:T", title="To", timeUnit="utcyearmonthdatehoursminutes", format=_STAMP),
        alt.Tooltip("high:Q", title="Max", format=",.0f"),
        alt.Tooltip("mean:Q", title="Mean", format=",.1f"),
        alt.Tooltip("low:Q", title="Min", format=",.0f"),
    ]
    if several:
        hover.insert(0, alt.Tooltip("name:N", title="Series"))
    band = alt.Chart(points).mark_area(
        opacity=0.25, interpolate="step-after", clip=True, invalid="break-paths-filter-domains"
    )
    line = alt.Chart(points).mark_line(
        strokeWidth=1.5, interpolate="step-after", clip=True, invalid="break-paths-filter-domains"
    )
    # Invisible bars show the tooltip anywhere in a bin.
    target = alt.Chart(points).mark_rect(opacity=0, clip=True)
    line = line.encode(x=x, y=alt.Y("mean:Q", title=title), color=colour, strokeDash=dash)
    if domain is not None:
        line = line.add_params(_pan(domain))
    layers: list[alt.Chart] = [
        _shaded(gaps, points, x),
        band.encode(
            x=x,
            y=alt.Y("low:Q", title=title, axis=alt.Axis(tickMinStep=1)),
            y2="high:Q",
            color=colour,
        ),
        line,
    ]
    if several:
        dots = alt.Chart(points).mark_point(opacity=0, size=80, clip=True)
        layers.append(dots.encode(x=x, y="mean:Q", color=colour, tooltip=hover))
    else:
        layers.append(target.encode(x=x, x2="until:T", tooltip=hover))
    if capacity:
        layers += _level(capacity, ink)
    return alt.layer(*layers).properties(height=height)


def _pan(domain: tuple[dt.datetime, dt.datetime]) -> alt.Parameter:
    # A domain on the scale would conflict with those that the other layers derive.
    return alt.selection_interval(
        name=PAN,
        bind="scales",
        encodings=["x"],
        value={"x": [milliseconds(t) for t in domain]},
        zoom="wheel![event.ctrlKey]",
    )


def _level(capacity: float, ink: str) -> list[alt.Chart]:
    """A level to compare with, as a line with its text."""
    level = alt.Chart(pd.DataFrame({"capacity": [capacity], "text": [f"capacity {capacity:,.0f}"]}))
    text = level.mark_text(align="left", dx=4, dy=-6, color=ink)
    return [
        level.mark_rule(strokeDash=[6, 4], color=ink).encode(y="capacity:Q"),
        text.encode(x=alt.value(0), y="capacity:Q", text="text:N"),
    ]


def stacked(
    points: pd.DataFrame,
    gaps: pd.DataFrame,
    domain: tuple[dt.datetime, dt.datetime] | None = None,
    *,
    title: str,
    zone: str,
    capacity: float | None = None,
    ink: str = "#808a8c",
) -> Layers:
    """Stacked areas over time; gaps are shaded.

    Parameters
    ----------
    points
        ``name``, ``time``, ``until``, ``mean``; ordered by area, the lowest first.
    gaps
        ``time``, ``until`` of times that are not computed; may be empty.
    domain, capacity, ink
        As of ``timeline``.
    title
        Title of the count axis, with its unit.
    """
    order = list(points["name"].unique())
    ranked = _with_end(points).assign(rank=lambda p: p["name"].map(order.index))
    x = _local_time(zone)
    areas = (
        alt.Chart(ranked)
        .mark_area(interpolate="step-after", clip=True)
        .encode(
            x=x,
            y=alt.Y("mean:Q", title=title, stack="zero"),
            color=alt.Color(
                "name:N",
                title=None,
                sort=order,
                legend=alt.Legend(orient="top", columns=6, labelLimit=400),
            ),
            order=alt.Order("rank:O"),
        )
    )
    if domain is not None:
        areas = areas.add_params(_pan(domain))
    layers = [areas, _shaded(gaps, points, x), _stacked_hover(points, order, x)]
    if capacity:
        layers += _level(capacity, ink)
    return alt.layer(*layers).properties(height=HEIGHT)


def _stacked_hover(points: pd.DataFrame, order: list[str], x: alt.X) -> alt.Chart:
    """Invisible bars that show the values of all areas anywhere in a bin."""
    wide = points.pivot(index=["time", "until"], columns="name", values="mean")[order]
    wide.columns = pd.Index([f"area{at}" for at in range(len(order))])
    hover = [alt.Tooltip(f"area{at}:Q", title=name, format=",.1f") for at, name in enumerate(order)]
    return _hover_bars(wide.dropna(how="all").reset_index(), x, hover)


ACTUAL, FORECAST = "actual", "forecast"


def fan(
    actual: pd.DataFrame,
    forecast: pd.DataFrame,
    gaps: pd.DataFrame,
    *,
    title: str,
    zone: str,
    origin: dt.datetime | None = None,
    unit: str = "devices",
    ink: str = "#808a8c",
) -> Layers:
    """Actual counts and a forecast, with its 80 % and 95 % ranges as bands.

    Parameters
    ----------
    actual
        ``time``, ``until``, ``mean``; nulls break the line.
    forecast
        ``time``, ``until``, ``q025``, ``q10``, ``q50``, ``q90``, ``q975``.
    gaps
        ``time``, ``until`` of times that are not computed; may be empty.
    origin
        Local time at which the forecast begins, to mark it; None: no mark.
    unit
        What is counted, in words.
    ink
        Colour of the mark; pass the theme's text colour, which Vega does not know.
    """
    x = _local_time(zone)
    names = alt.Scale(domain=[ACTUAL, FORECAST])
    legend = alt.Legend(orient="top", symbolType="stroke", symbolOpacity=1, title=None)
    colour = alt.Color("name:N", scale=names, legend=legend)
    axis = alt.Axis(tickMinStep=1)
    actual = _with_end(actual.assign(name=ACTUAL))
    fan_points = _with_end(_with_ranges(forecast).assign(name=FORECAST))
    bands = [
        alt.Chart(fan_points)
        .mark_area(opacity=opacity, interpolate="step-after")
        .encode(x=x, y=alt.Y(f"{low}:Q", title=title, axis=axis), y2=f"{high}:Q", color=colour)
        for low, high, opacity in (("q025", "q975", 0.18), ("q10", "q90", 0.28))
    ]
    line = alt.Chart(fan_points).mark_line(
        strokeWidth=1.6, strokeDash=[5, 3], interpolate="step-after"
    )
    past = alt.Chart(actual).mark_line(
        strokeWidth=1.6, interpolate="step-after", invalid="break-paths-filter-domains"
    )
    layers: list[alt.Chart] = [
        _shaded(gaps, pd.concat([actual, fan_points], ignore_index=True), x),
        *bands,
        line.encode(x=x, y="q50:Q", color=colour),
        past.encode(x=x, y="mean:Q", color=colour),
        _hover_bars(actual, x, [alt.Tooltip("mean:Q", title=unit.capitalize(), format=",.1f")]),
        _hover_bars(fan_points, x, _forecast_tooltips(unit)),
    ]
    if origin is not None:
        mark = pd.DataFrame({"time": [milliseconds(origin)], "text": ["forecast begins"]})
        base = alt.Chart(mark).encode(x=x)
        layers.append(base.mark_rule(strokeDash=[2, 3], color=ink))
        text = base.mark_text(align="left", baseline="top", dx=5, dy=2, color=ink)
        layers.append(text.encode(y=alt.value(0), text="text:N"))
    return alt.layer(*layers).properties(height=HEIGHT)


def _with_ranges(forecast: pd.DataFrame) -> pd.DataFrame:
    """With the two ranges as texts for the tooltip: ``139 to 158``."""

    def texts(low: str, high: str) -> list[str]:
        return [f"{a:,.0f} to {b:,.0f}" for a, b in zip(forecast[low], forecast[high], strict=True)]

    return forecast.assign(range80=texts("q10", "q90"), range95=texts("q025", "q975"))


def _forecast_tooltips(unit: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("q50:Q", title=f"Forecast, {unit}", format=",.1f"),
        alt.Tooltip("range80:N", title="80 % range"),
        alt.Tooltip("range95:N", title="95 % range"),
    ]


def _hover_bars(points: pd.DataFrame, x: alt.X, values: list[alt.Tooltip]) -> alt.Chart:
    """Invisible bars that show the tooltip anywhere in a bin."""
    times = [
        alt.Tooltip(
            f"{name}:T", title=title, timeUnit="utcyearmonthdatehoursminutes", format=_STAMP
        )
        for name, title in (("time", "From"), ("until", "To"))
    ]
    bars = alt.Chart(points).mark_rect(opacity=0, clip=True)
    return bars.encode(x=x, x2="until:T", tooltip=[*times, *values])


def _local_time(zone: str) -> alt.X:
    return alt.X(
        "time:T",
        title=f"Local time ({zone})",
        scale=alt.Scale(type="utc"),
        axis=alt.Axis(labelOverlap=True, tickCount=8, grid=False, format=_TICKS),
    )


def _shaded(gaps: pd.DataFrame, points: pd.DataFrame, x: alt.X) -> alt.Chart:
    """Grey areas over times that are not computed."""
    if gaps.empty:  # a gap without length, because Vega warns about an empty extent
        gaps = points[["time"]].head(1).assign(until=lambda g: g["time"])
    shades = alt.Chart(gaps).mark_rect(opacity=0.28, color=_GREY, clip=True)
    return shades.encode(x=x, x2="until:T")


def _with_end(points: pd.DataFrame) -> pd.DataFrame:
    """Add a point at the end of each line, so that its last bin is as wide as the others."""
    last = points.groupby("name", sort=False).tail(1)
    return pd.concat([points, last.assign(time=last["until"])], ignore_index=True)


def week_map(cells: pd.DataFrame, title: str) -> alt.Chart:
    """A heat map of ``mean`` by ``weekday`` and ``hour``; null where not known.

    ``people`` and ``others``: the parts of the mean, if it has any.
    """
    parts = {"people": "Mean, people", "others": "Mean, other devices"}
    means = {name: text for name, text in parts.items() if name in cells} or {"mean": title}
    cells = cells.assign(day=[DAYS[d] for d in cells["weekday"]])
    return (
        alt.Chart(cells)
        .mark_rect()
        .encode(
            x=alt.X("hour:O", title="Hour of the day", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("day:O", title="Day of the week", sort=list(DAYS)),
            color=alt.Color(
                "mean:Q",
                title=title,
                scale=alt.Scale(domainMin=0),
                legend=alt.Legend(titleLimit=300),
            ),
            tooltip=[
                alt.Tooltip("day:N", title="Day"),
                alt.Tooltip("hour:O", title="Hour"),
                *(alt.Tooltip(f"{n}:Q", title=text, format=",.1f") for n, text in means.items()),
                alt.Tooltip("hours:Q", title="Weeks averaged"),
            ],
        )
        .properties(height=260)
    )


def ranked_bars(
    rows: pd.DataFrame, *, value: str, name: str, title: str, part: str | None = None
) -> alt.Chart:
    """Horizontal bars in the order of the rows.

    ``part``: a column that names what a row counts, where a bar has several rows.
    """
    names = alt.Axis(labelLimit=220, labelOverlap=False)
    hover = [alt.Tooltip(f"{name}:N", title="Space"), alt.Tooltip(f"{value}:Q", title=title)]
    colour: dict[str, object] = {}
    if part is not None:
        order = list(rows[part].unique())
        ranked = {one: at for at, one in enumerate(order)}
        rows = rows.assign(rank=rows[part].map(ranked))
        hover.insert(1, alt.Tooltip(f"{part}:N", title="Counted"))
        legend = alt.Legend(orient="top", labelLimit=400)
        colour = {
            "color": alt.Color(f"{part}:N", title=None, sort=order, legend=legend),
            "order": alt.Order("rank:O"),
        }
    return (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            x=alt.X(f"{value}:Q", title=title, axis=alt.Axis(tickMinStep=1)),
            y=alt.Y(f"{name}:N", title=None, sort=None, axis=names),
            tooltip=hover,
            **colour,
        )
        .properties(height=26 * rows[name].nunique() + 90)  # 90: the axis and its title
    )


def tiles(rows: pd.DataFrame, *, max_count: float, title: str, select: str, ink: str) -> Layers:
    """Rectangles in stronger colour for higher counts.

    Parameters
    ----------
    rows
        ``x``, ``y``, ``x2``, ``y2``, ``label``, ``name``, ``space``, ``count``, ``count_text`` and
        ``known``; rectangles with unknown counts are grey.
    max_count
        The count with the strongest colour.
    select
        The name of the selection, which holds the ``space`` of a rectangle.
    ink
        Colour of the labels.
    """
    base = alt.Chart(rows).encode(
        x=alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, 1])),
        y=alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[1, 0])),
        tooltip=_hover(),
    )
    corner, base = base, base.encode(x2="x2:Q", y2="y2:Q")
    box = base.mark_rect(stroke=_GREY, strokeWidth=1, cursor="pointer")
    boxes = box.encode(fillOpacity=_shade(max_count, title))
    unknown = base.mark_rect(fill=_GREY, fillOpacity=0.35, cursor="pointer")
    texts = corner.mark_text(align="left", baseline="top", dx=5, dy=5, lineBreak="\n", color=ink)
    return alt.layer(
        boxes.add_params(_by_space(select)),
        unknown.transform_filter("!datum.known"),
        texts.encode(text="label:N"),
    ).properties(height=440)


def dots(rows: pd.DataFrame, *, max_count: float, title: str, select: str, ink: str) -> Layers:
    """Spaces as circles at their coordinates, sized by count; parameters as in ``tiles``."""
    base = alt.Chart(rows).encode(
        x=alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-0.05, 1.05])),
        y=alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[1.05, -0.05])),
        tooltip=_hover(),
    )
    scale = alt.Scale(domain=[0, max(max_count, 1)], range=[30, 2500])
    circles = base.mark_circle(stroke=_GREY, cursor="pointer").encode(
        size=alt.Size("count:Q", title=title, scale=scale, legend=alt.Legend(orient="bottom")),
        fillOpacity=_shade(max_count, None),
    )
    unknown = base.mark_point(color=_GREY, size=80, shape="cross", cursor="pointer")
    return alt.layer(
        circles.add_params(_by_space(select)),
        unknown.transform_filter("!datum.known"),
        base.mark_text(dy=-14, color=ink).encode(text="name:N"),
    ).properties(height=440)


def _hover() -> list[alt.Tooltip]:
    return [alt.Tooltip("name:N", title="Space"), alt.Tooltip("count_text:N", title="Devices")]


def _by_space(name: str) -> alt.Parameter:
    return alt.selection_point(name=name, fields=["space"])


def _shade(max_count: float, title: str | None) -> alt.FillOpacity:
    """Opacity by count, light enough for the theme's text to stay readable."""
    return alt.FillOpacity(
        "count:Q",
        title=title,
        scale=alt.Scale(domain=[0, max(max_count, 1)], range=[0.03, 0.5], clamp=True),
        legend=alt.Legend(orient="bottom") if title else None,
    )
