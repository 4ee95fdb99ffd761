"""Refresh policies against a plain model: whatever happens, nothing is lost and nothing too often."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.automation.refresh_model import (
    READS,
    START,
    Campus,
    Computed,
    definitions_in,
)
from tippers_dagster.automation.refresh import Clock
from tippers_dagster.catalog.refresh import BY_HAND, ON_CHANGE, Refresh, parse_refresh
from tippers_dagster.settings import Settings

ZONE = "America/Los_Angeles"
HOURLY = Refresh(seconds=3600)
POLICIES = [
    ON_CHANGE,
    HOURLY,
    Refresh(seconds=600),
    Refresh(cron="30 2 * * *"),
    Refresh(cron="*/20 * * * *"),
    BY_HAND,
]
DAY = 86_400


def campus(**policies: Refresh) -> Campus:
    settings = Settings(home=Path("unused"), retry_delay_seconds=0, timezone=ZONE)
    return Campus(settings, {"first": HOURLY, "second": HOURLY, "third": HOURLY} | policies)


# --- anything in any order ------------------------------------------------------------------------
policies = st.fixed_dictionaries(
    {concept: st.sampled_from(POLICIES) for concept in ("first", "second", "third")}
)
names = st.sampled_from(sorted(READS))
events = st.lists(
    st.one_of(
        st.tuples(st.just("rows"), st.sampled_from(["log", "log", "log", "gold"])),
        st.tuples(st.just("definition"), names),
        st.tuples(st.just("failing"), names),
        st.tuples(st.just("dying"), names),
        st.tuples(st.just("tick"), st.none()),
        st.tuples(st.just("finish"), st.none()),
        st.tuples(st.just("advance"), st.sampled_from([1, 40, 700, 3599, 3601, 5 * 3600, DAY])),
        st.tuples(st.just("clock"), st.sampled_from([-60 * DAY, -3600, -700, 3600, 30 * DAY])),
        st.tuples(st.just("compute now"), st.none()),
        st.tuples(
            st.just("policy"),
            st.tuples(st.sampled_from(["first", "second"]), st.sampled_from(POLICIES)),
        ),
    ),
    max_size=30,
)


@hypothesis_settings(max_examples=300, deadline=None)
@given(policies, events)
def test_nothing_is_lost_and_nothing_is_too_often(
    policies: dict[str, Refresh], events: list[tuple[str, object]]
) -> None:
    here = campus(**policies)
    for event, value in events:
        checked = len(here.log)
        happen(here, event, value)
        for computed in here.log[checked:]:
            check_allowed(computed)
    here.failing, here.dying = set(), set()
    checked = len(here.log)
    here.advance(3601)  # the last tries of what failed
    here.until_quiet()
    check_definitions(here)
    for _ in range(3):
        here.advance(DAY)
        here.until_quiet()
    for computed in here.log[checked:]:
        check_allowed(computed)
    check_fresh(here)


def happen(here: Campus, event: str, value: object) -> None:
    match event:
        case "rows":
            here.rows[value] += 1
        case "definition":
            here.definitions[value] += 1
        case "failing":
            here.failing ^= {value}
        case "dying":
            here.dying ^= {value}
        case "tick":
            here.tick()
        case "finish":
            here.finish()
        case "advance" | "clock":
            here.advance(value)
        case "policy":
            here.policies[value[0]] = value[1]
        case "compute now":
            here.compute_now()


def check_allowed(computed: Computed) -> None:
    """Automation computed it for a reason, and its policy allowed that."""
    assert computed.after != computed.before, f"in vain: {computed}"
    policies = computed.policies
    assert not all(policy.by_hand for policy in policies), computed
    if computed.before is None or ON_CHANGE in policies:
        return
    if definitions_in(computed.before) != definitions_in(computed.after):
        return
    assert computed.read_at is not None
    times = (computed.read_at, computed.at)
    assert times[0] > times[1] or any(refresh_between(p, *times) for p in policies), computed


def refresh_between(policy: Refresh, after: dt.datetime, until: dt.datetime) -> bool:
    """Whether a refresh is due in (after, until], as a person counts slots."""
    if policy.seconds is not None:
        origin = dt.datetime(2001, 1, 1, 8, tzinfo=dt.UTC).timestamp()
        slots = [(t.timestamp() - origin) // policy.seconds for t in (after, until)]
        return slots[0] < slots[1]
    if policy.cron is None:
        return False
    following = Clock(after, ZONE).next_time([policy])
    assert following is not None
    return following <= until


def check_definitions(here: Campus) -> None:
    """Every definition is computed, unless a person has to do it."""
    expected = here.latest()
    for name in READS:
        if waits_for_a_person(here, name):
            continue
        assert definitions_in(here.holds[name]) == definitions_in(expected[name]), name


def check_fresh(here: Campus) -> None:
    """Everything is computed from the latest rows, unless a person has to do it."""
    expected = here.latest()
    for name in READS:
        if not waits_for_a_person(here, name):
            assert here.holds[name] == expected[name], name


def waits_for_a_person(here: Campus, name: str) -> bool:
    """Whether it is computed by hand, or needs something by hand that cannot be read."""
    if here.by_hand(name):
        return True
    state = here.state
    return any(
        waits_for_a_person(here, read)
        and (not here.by_hand(read) or state(read).version is None or state(read).void)
        for read in READS[name]
        if read in READS
    )
