"""Refresh policies against a plain model: nothing is lost, and nothing is computed too often."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.automation.refresh_model import (
    CONCEPTS,
    READS,
    START,
    Campus,
    Computed,
    definitions_in,
)
from tippers_dagster.automation.nodes import Node, Table, lineage_of
from tippers_dagster.automation.refresh import Clock
from tippers_dagster.catalog.refresh import BY_HAND, ON_CHANGE, Refresh, check_cron, parse_refresh
from tippers_dagster.errors import BadInput
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
@given(policies, st.sampled_from([True, True, False]), events)
def test_nothing_is_lost_and_nothing_is_too_often(
    policies: dict[str, Refresh], computed: bool, events: list[tuple[str, object]]
) -> None:
    here = campus(**policies)
    if computed:
        here.compute_now()
    for event, value in events:
        checked = len(here.log)
        happen(here, event, value)
        for computed in here.log[checked:]:
            check_allowed(computed)
    here.failing, here.dying = set(), set()
    checked = len(here.log)
    if any(state.tries for state in here.states.values()):
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
        assert not here.state(name).void, name
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


# --- one thing at a time --------------------------------------------------------------------------
def computed_since(here: Campus, before: int) -> list[str]:
    return [computed.name for computed in here.log[before:]]


def after(here: Campus, seconds: float = 0) -> list[str]:
    """What is computed until all is quiet, after some time."""
    before = len(here.log)
    here.advance(seconds)
    here.until_quiet()
    return computed_since(here, before)


def test_changed_rows_wait_for_the_next_slot() -> None:
    here = campus()
    assert after(here) == list(READS)
    for _ in range(5):
        here.rows["log"] += 1
        assert after(here, 60) == []
    snapshot = here.snapshot()
    assert snapshot.waiting == snapshot.stale == set(READS)
    due = START.replace(hour=19, minute=0, second=0)
    assert set(snapshot.next_refresh.values()) == {due}
    assert after(here, 3600) == list(READS)
    assert after(here, 3600) == [], "nothing changed"


def test_a_changed_definition_is_computed_at_once_from_what_there_is() -> None:
    here = campus(second=Refresh(cron="30 2 * * *"))
    after(here)
    here.rows["log"] += 1
    here.definitions["rule"] += 1
    assert after(here, 1) == ["rule", "labels", "next_index", "next_rule", "third"]
    assert here.holds["index"] == ("index", 0, ("staging", 0, ("log", 0)))


def test_what_people_enter_is_computed_at_once() -> None:
    here = campus()
    after(here)
    here.rows["gold"] += 1
    assert after(here, 1) == ["labels", "next_index", "next_rule", "third"]


def test_by_hand_nothing_is_computed_until_a_person_does() -> None:
    here = campus(first=BY_HAND, second=HOURLY, third=ON_CHANGE)
    assert after(here) == ["staging"], "the second concept reads it, too"
    snapshot = here.snapshot()
    assert snapshot.waiting == set(CONCEPTS), "nothing can be computed before it"
    assert set(snapshot.next_refresh.values()) == {None}
    here.compute_now()
    here.definitions["rule"] += 1
    here.rows["log"] += 1
    assert after(here, 3600) == ["staging", "next_rule", "third"]
    assert here.snapshot().waiting >= {"index", "rule", "labels"}


def test_a_definition_that_waits_for_a_person_does_not_make_others_too_frequent() -> None:
    here = campus(first=BY_HAND)
    here.compute_now()
    here.definitions["rule"] += 1
    for _ in range(3):
        here.rows["log"] += 1
        assert after(here, 60) == []


def test_readers_wait_for_an_input_with_a_slower_policy() -> None:
    here = campus(first=Refresh(cron="30 2 * * *"), second=ON_CHANGE, third=ON_CHANGE)
    after(here)
    here.rows["log"] += 1
    assert after(here, 1) == ["staging", "next_rule", "third"], "the labels are those of 2:30"
    snapshot = here.snapshot()
    assert "next_index" in snapshot.waiting
    assert snapshot.next_refresh["next_index"] == dt.datetime(2026, 3, 8, 10, tzinfo=dt.UTC)


def test_a_run_that_died_is_repeated_at_once() -> None:
    here = campus()
    after(here)
    here.rows["log"] += 1
    here.dying = {"rule"}
    here.advance(3600)
    here.tick()
    here.finish()
    here.dying = set()
    here.rows["log"] += 1
    assert after(here, 1) == ["rule", "labels", "next_index", "next_rule", "third"]


def test_failures_with_ever_new_data_are_not_retried_at_each_change() -> None:
    here = campus()
    after(here)
    here.failing = {"index"}
    here.advance(3600)
    tried = 0
    for _ in range(50):
        here.rows["log"] += 1
        here.advance(60)
        tried += "index" in here.tick()
        here.finish()
    assert tried <= here.settings.max_tries + 1
    here.failing = set()
    assert "index" in after(here, 3600)


def test_a_refresh_longer_than_its_interval_does_not_pile_up() -> None:
    here = campus()
    after(here)
    here.rows["log"] += 1
    here.advance(3600)
    here.tick()
    for _ in range(4):
        here.rows["log"] += 1
        here.advance(3600)
        here.tick()
    before = len(here.log)
    here.finish()
    here.rows["log"] += 1
    assert after(here, 60) == []
    assert computed_since(here, before) == list(READS)


@pytest.mark.parametrize("step", [dt.timedelta(days=-400), dt.timedelta(days=400)])
def test_a_wrong_clock_holds_nothing_back(step: dt.timedelta) -> None:
    here = campus()
    here.now += -step
    after(here)
    here.now += step
    here.rows["log"] += 1
    assert after(here) == list(READS)
    here.rows["log"] += 1
    assert after(here, 1) == []


# --- times ----------------------------------------------------------------------------------------
LOCAL = ZoneInfo(ZONE)


def times(text: str, start: str, number: int) -> list[str]:
    """The next refreshes of a policy, as local times with their offset from UTC."""
    policy, found = [parse_refresh(text)], []
    now = dt.datetime.fromisoformat(start).replace(tzinfo=LOCAL)
    for _ in range(number):
        following = Clock(now.astimezone(dt.UTC), ZONE).next_time(policy)
        assert following is not None
        now = following.astimezone(LOCAL)
        found.append(f"{now:%m-%d %H:%M %z}")
    return found


def test_a_cron_policy_on_days_when_clocks_change() -> None:
    assert times("cron 30 2 * * *", "2026-03-07 20:00", 2) == [
        "03-08 03:00 -0700",
        "03-09 02:30 -0700",
    ]
    assert times("cron 30 1 * * *", "2026-10-31 20:00", 2) == [
        "11-01 01:30 -0800",
        "11-02 01:30 -0800",
    ]
    assert times("cron 0 */12 * * *", "2026-03-08 00:00", 2) == [
        "03-08 12:00 -0700",
        "03-09 00:00 -0700",
    ]


def test_an_interval_has_the_same_length_on_such_days() -> None:
    assert times("every 12 hours", "2026-03-07 20:00", 3) == [
        "03-08 00:00 -0800",
        "03-08 13:00 -0700",
        "03-09 01:00 -0700",
    ]
    assert times("every hour", "2026-11-01 00:30", 3) == [
        "11-01 01:00 -0700",
        "11-01 01:00 -0800",
        "11-01 02:00 -0800",
    ]


@given(
    st.sampled_from(["30 2 * * *", "*/20 1-3 * * *", "0 4 * * 1-5", "15 1 1 * *", "0 */6 * * *"]),
    st.datetimes(dt.datetime(2026, 2, 20), dt.datetime(2026, 11, 20)),
)
def test_a_time_is_due_from_then_on(cron: str, moment: dt.datetime) -> None:
    """No time is passed over between the last and the next."""
    now, policy = moment.replace(tzinfo=dt.UTC), [Refresh(cron=cron)]
    following = Clock(now, ZONE).next_time(policy)
    assert following is not None
    assert following > now
    second = dt.timedelta(seconds=1)
    assert not Clock(following - second, ZONE).due(policy, now)
    assert Clock(following, ZONE).due(policy, following - second)
    assert not Clock(following, ZONE).due(policy, following)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("On  change", "on change"),
        ("every 60 minutes", "every hour"),
        ("every day", "every day"),
        ("EVERY 90 Minutes", "every 90 minutes"),
        ("cron 0 4 * * MON-FRI", "cron 0 4 * * mon-fri"),
        ("by hand", "by hand"),
    ],
)
def test_a_policy_is_one_line(text: str, canonical: str) -> None:
    assert str(parse_refresh(text)) == canonical
    assert parse_refresh(canonical) == parse_refresh(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sometimes", "is not a refresh policy"),
        ("", "is not a refresh policy"),
        ("every 0 hours", "between a second and 366 days"),
        ("every 400 days", "between a second and 366 days"),
        ("every 999999999999 days", "is not a refresh policy"),
        ("cron @daily", "needs five fields"),
        ("cron * * * *", "needs five fields"),
        ("cron r * * * *", "needs five fields"),
        ("cron 0 4 * * * *", "needs five fields"),
    ],
)
def test_other_texts_are_refused(text: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        parse_refresh(text)


@pytest.mark.parametrize(
    "cron", ["61 * * * *", "0 0 31 4 *", "0 0 30 2 *", "0 25 * * *", "- - - - -"]
)
def test_a_cron_time_that_never_comes_is_refused(cron: str) -> None:
    with pytest.raises(BadInput, match="is not a cron schedule, or its time never comes"):
        check_cron(parse_refresh(f"cron {cron}"))


def test_the_first_rows_of_a_source_count_like_a_changed_definition() -> None:
    log = Node(("log",), source=Table("public", "chunks", "SELECT 'fingerprint'"))
    none, first, more = (lineage_of(log, {}, token) for token in ("", "one", "two"))
    assert none != first == more == lineage_of(Node(("table",), source=Table("a", "b")), {}, "")
