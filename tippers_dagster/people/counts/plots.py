"""Plots of a calibration, as small PNG images."""

from __future__ import annotations

import numpy as np

from tippers_dagster.people.counts.calibration import HOUR_GROUP, Calibration, Observations
from tippers_dagster.platform.plots import BLUE, GREY, ORANGE, as_png, side_by_side


def calibration_plot(calibration: Calibration, observed: Observations) -> bytes:
    """Estimated people and devices against people counted; and the ratio by hour."""
    estimate, _, _ = calibration.estimates(observed)
    figure, (left, right) = side_by_side(2)
    left.plot(observed.people, observed.devices, ".", alpha=0.3, color=ORANGE, label="devices")
    left.plot(observed.people, estimate, ".", alpha=0.3, color=BLUE, label="estimated people")
    largest = max(float(observed.people.max()), float(estimate.max()), 1.0)
    left.plot([0, largest], [0, largest], "--", color=GREY)
    left.set_xlabel("people counted")
    left.legend(fontsize=7)
    hours = HOUR_GROUP // 3600
    for part, name, colour in (
        (calibration, "rooms", BLUE),
        (calibration.above, "spaces with children", ORANGE),
    ):
        if part is not None:
            ends = np.arange(len(part.hours) + 1) * hours
            ratios = np.array(part.hours) * part.ratio
            right.stairs(ratios, ends, color=colour, label=name if calibration.above else None)
    right.set_ylim(0)
    if calibration.above is not None:
        right.legend(fontsize=7)
    right.set_title("people per device, by hour of the day")
    return as_png(figure)
