"""Windows: how they are written, and which chunks they have."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sql.definitions import DEVICE, DEVICES, LONG, MODEL, saved
from tippers_dagster.campus.local_time import ChunkSize, chunk_bounds, chunk_keys
from tippers_dagster.catalog.catalog import Catalog
from tippers_dagster.catalog.kinds import Concept, Index, Kind, Rule
from tippers_dagster.catalog.model import Definition, Ref
from tippers_dagster.catalog.names import read_body
from tippers_dagster.catalog.window import (
    EVERYTHING,
    MAX_WEEKS,
    Span,
    Window,
    parse_window,
    window_spans,
)
from tippers_dagster.errors import BadInput

DAY = dt.timedelta(days=1)
DATES = st.dates(dt.date(2024, 1, 1), dt.date(2024, 12, 31))
TERM = Window(term=True)


@pytest.mark.parametrize(
    ("text", "window", "written"),
    [
        ("everything", EVERYTHING, "everything"),
        ("  Last  8 WEEKS ", Window(weeks=8), "last 8 weeks"),
        ("last week", Window(weeks=1), "last week"),
        ("last 1 weeks", Window(weeks=1), "last week"),
        ("Term", TERM, "term"),
    ],
)
def test_forms(text: str, window: Window, written: str) -> None:
    assert parse_window(text) == window
    assert str(window) == written
    assert parse_window(window.tag.replace("_", " ")) == window


@pytest.mark.parametrize(
    "text", ["", "8 weeks", "last weeks", "last 2 months", "terms", "last 1.5 weeks"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="is not a window"):
        parse_window(text)


@pytest.mark.parametrize("weeks", [0, MAX_WEEKS + 1, 10**8])
def test_a_window_has_a_sensible_length(weeks: int) -> None:
    with pytest.raises(BadInput, match=f"A window has 1 to {MAX_WEEKS} weeks"):
        parse_window(f"last {weeks} weeks")


def test_a_body_holds_the_usual_spelling() -> None:
    body = read_body(Kind.INDEX, {"sql": "SELECT 1", "window": " LAST 8 weeks"})
    assert isinstance(body, Index)
    assert body.window == "last 8 weeks"
    with pytest.raises(BadInput, match="is not a window"):
        read_body(Kind.CONCEPT, {"window": "yesterday"})


# --- which chunks --------------------------------------------------------------------------------
@st.composite
def logs(draw: st.DrawFn) -> list[Span]:
    """Some chunks of one size, in order of time, some without sessions."""
    size: ChunkSize = draw(st.sampled_from(["day", "week", "month"]))
    first = draw(DATES)
    days = {"day": 40, "week": 200, "month": 500}[size]
    keys = chunk_keys(first, first + days * DAY, size)
    chosen = draw(st.lists(st.sampled_from(keys), unique=True, max_size=12))
    return [Span(k, *chunk_bounds(k, size), empty=draw(st.booleans())) for k in sorted(chosen)]


def days_of(span: Span) -> set[dt.date]:
    return {span.start + n * DAY for n in range((span.end - span.start).days)}


def last_of(log: list[Span]) -> Span:
    full = [span for span in log if not span.empty]
    return (full or log)[-1]


@given(logs(), st.integers(1, 30))
def test_weeks_are_counted_back_from_the_last_sessions(log: list[Span], weeks: int) -> None:
    found = window_spans(Window(weeks=weeks), log, [])
    if not log:
        assert found == []
        return
    end = last_of(log).end
    wanted = {end - (n + 1) * DAY for n in range(7 * weeks)}
    assert found == [span for span in log if days_of(span) & wanted]


@given(logs(), st.lists(st.tuples(DATES, st.integers(1, 90)), max_size=5))
def test_a_term_is_that_of_the_last_date_or_the_one_before(
    log: list[Span], given_terms: list[tuple[dt.date, int]]
) -> None:
    terms = [(start, start + length * DAY) for start, length in given_terms]
    found = window_spans(TERM, log, terms)
    begun = [term for term in terms if log and term[0] < last_of(log).end]
    if not begun:
        assert found == []
        return
    start, end = max(begun)
    wanted = {start + n * DAY for n in range((end - start).days)}
    assert found == [span for span in log if days_of(span) & wanted]


@given(logs())
def test_everything_is_all_chunks(log: list[Span]) -> None:
    assert window_spans(EVERYTHING, log, []) == log


# --- which window --------------------------------------------------------------------------------
def with_window(definition: Definition, window: str) -> Definition:
    body = definition.body.model_copy(update={"window": window})
    return Definition(definition.ref, body, version=1)


def test_a_definition_takes_its_own_window_or_the_next_one_above() -> None:
    people = saved(Kind.CONCEPT, "", "people", Concept(window="term"))
    abroad = saved(Kind.RULE, "people", "long", Rule(index="device.devices", sql="SELECT 1"))

    def windows(*changed: Definition) -> dict[str, str]:
        found = {d.ref: d for d in (DEVICE, DEVICES, LONG, MODEL, people, abroad)}
        catalog = Catalog((found | {d.ref: d for d in changed}).values())
        refs = (DEVICES.ref, LONG.ref, Ref("device", "type", Kind.LABEL_MODEL), abroad.ref)
        return {str(ref): str(catalog.window(ref)) for ref in refs}

    names = ("device.devices", "device.long", "device.type", "people.long")
    everything = dict.fromkeys(names[:3], "everything") | {"people.long": "term"}
    assert windows() == everything
    concept = with_window(DEVICE, "last 8 weeks")
    assert windows(concept) == dict.fromkeys(names[:3], "last 8 weeks") | {"people.long": "term"}
    index = with_window(DEVICES, "last 2 weeks")
    assert windows(concept, index) == dict.fromkeys(names[:3], "last 2 weeks") | {
        "people.long": "term"
    }, "the index of another concept does not count"
    rule = with_window(LONG, "everything")
    assert windows(concept, index, rule)["device.long"] == "everything"
