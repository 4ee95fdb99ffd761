"""The sentences below charts of labels."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest


def page(counts, bins):  # type: ignore[no-untyped-def]  # its text is run without these imports
    from streamlit_app.views import label_charts

    label_charts.confidence_histogram([(0.5, "A", 2), (0.9, "B", 1)], 3)
    label_charts.confusion_matrix(["PHONE", "LAPTOP"], counts)
    label_charts.calibration_chart(bins, 0.05)


def sentences(counts: list[list[int]], bins: list[dict[str, float]]) -> list[str]:
    test = AppTest.from_function(page, args=(counts, bins), default_timeout=30).run()
    assert not test.exception
    return [element.value for element in (*test.markdown, *test.caption)]


@pytest.mark.parametrize(
    ("counts", "error"),
    [
        ([[5, 0, 0], [0, 4, 0]], "There are no errors."),
        ([[5, 1, 0], [3, 4, 2]], "Most common error: LAPTOP labelled as PHONE, 3 of 15 entities."),
        ([[5, 0, 2], [1, 4, 0]], "Most common error: PHONE without a label, 2 of 12 entities."),
        ([[5, 1], [0, 4]], "Most common error: PHONE labelled as LAPTOP, 1 of 10 entities."),
    ],
)
def test_each_chart_has_its_main_point_in_words(counts: list[list[int]], error: str) -> None:
    bins = [{"entities": 3, "confidence": 0.8, "accuracy": 0.75}]
    confidence, confusion, calibration = sentences(counts, bins)
    assert confidence == "Confidence 0.9 or higher: 1 entity (33.3%)."
    assert confusion.replace("\\", "") == error
    assert "differ by 0.050 on average" in calibration


def test_calibration_needs_labels() -> None:
    bins = [{"entities": 0, "confidence": 0.8, "accuracy": 0.75}]
    assert sentences([[1, 0], [0, 1]], bins)[-1] == "None of these entities has a label."
