"""SQL to which the engines would give different numbers is refused, with what to write."""

from __future__ import annotations

import pytest

from tippers_dagster.sql.differences import refuse_differences
from tippers_dagster.sql.refusals import RefusedSQL


@pytest.mark.parametrize(
    "quotient",
    [
        "sum(seconds) / 3600",
        "(sum(seconds) / 3600)::double precision",
        "sum(seconds::integer) / count(*)",
        "100 * coalesce(sum(n), 0) / nullif(sum(m), 0)",
        "sum(a) filter (where b > 1) / 2",
    ],
)
def test_a_quotient_of_sums_is_refused(quotient: str) -> None:
    with pytest.raises(RefusedSQL, match="Line 2, column") as caught:
        refuse_differences(f"select mac_address,\n  {quotient} as x from t group by 1")
    assert "sum(...)::double precision" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "quotient",
    [
        "sum(seconds)::double precision / 3600",
        "sum(seconds) / 3600.0",
        "sum(seconds::numeric) / count(*)",
        "sum(seconds) / avg(n)",
        "div(sum(seconds), 3600)",
        "count(*) / 7",
        "seconds / 3600",
        "sum(seconds / 3600)",
    ],
)
def test_others_pass(quotient: str) -> None:
    refuse_differences(f"select mac_address, {quotient} as x from t group by 1")
