"""Number formats on the Definitions page."""

from __future__ import annotations

import pytest

from streamlit_app.views.definitions.words import share
from tippers_dagster.platform.text import counted


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(1, 0, "-"), (0, 5, "0 %"), (1, 1000, "0.1 %"), (999, 1000, "99.9 %"), (1, 3, "33 %")],
)
def test_shares_are_never_rounded_to_none_or_all(part: int, whole: int, text: str) -> None:
    assert share(part, whole) == text


def test_nouns_agree_with_their_number() -> None:
    assert counted(1, "row") == "1 row"
    assert counted(1200, "row") == "1,200 rows"
    assert counted(2, "entity", "entities") == "2 entities"
