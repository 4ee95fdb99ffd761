from __future__ import annotations

import datetime as dt

import pytest

from tippers_dagster.calendar.periods import PeriodKind
from tippers_dagster.calendar.public import countries, public_holidays
from tippers_dagster.errors import BadInput


def test_federal_holidays_of_the_usa() -> None:
    found = public_holidays([2026, 2025], "us")
    assert {p.kind for p in found} == {PeriodKind.HOLIDAY}
    assert all(p.days == 1 for p in found)
    assert found == sorted(found)
    days = {p.start: p.name for p in found}
    assert days[dt.date(2025, 11, 27)] == "Thanksgiving Day"
    assert days[dt.date(2026, 7, 3)] == "Independence Day (observed)"
    assert len([day for day in days if day.year == 2025]) == 11  # as in 5 U.S.C. 6103


def test_state_holidays_are_added_on_request() -> None:
    after = dt.date(2025, 11, 28)
    assert after not in {p.start for p in public_holidays([2025])}
    assert after in {p.start for p in public_holidays([2025], "US", "CA")}


def test_unknown_countries_and_years_are_refused() -> None:
    with pytest.raises(BadInput, match="'XX'"):
        public_holidays([2025], "XX")
    with pytest.raises(BadInput, match="no subdivision 'BY'"):
        public_holidays([2025], "US", "BY")
    with pytest.raises(BadInput, match="year 99999"):
        public_holidays([99999])
    assert "CA" in countries()["US"]
