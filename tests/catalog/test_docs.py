"""The documentation lists everything that exists."""

from __future__ import annotations

import re
from pathlib import Path

from tippers_dagster.catalog.kinds import Kind

DEFINITIONS = Path(__file__).parents[2] / "docs" / "definitions.md"


def test_the_table_of_kinds_has_every_kind() -> None:
    listed = re.findall(r"^\| `(\w+)` \|.* \| (yes|no|is one) \|$", DEFINITIONS.read_text(), re.M)
    assert sorted(kind for kind, _ in listed) == sorted(Kind)
    assert {kind for kind, concept in listed if concept == "yes"} == {
        kind for kind in Kind if kind.in_concept
    }
