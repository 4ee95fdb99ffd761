"""Small PNG images, drawn without a window system."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#3b6fb6", "#d9822b", "#b8bec7"


def side_by_side(columns: int, height: float = 2.6) -> tuple[Figure, Sequence[Axes]]:
    """A figure with axes side by side; ``height`` in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.8 * columns, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def as_png(figure: Figure, dots_per_inch: int = 70) -> bytes:
    """The figure as a PNG file."""
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=dots_per_inch)
    return sink.getvalue()


def as_markdown(png: bytes, text: str) -> str:
    """An image embedded in Markdown, for Dagster's UI."""
    return f"![{text}](data:image/png;base64,{base64.b64encode(png).decode()})"
