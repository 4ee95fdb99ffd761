"""People and other devices: counted from presence as from the sessions themselves."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.campus.spaces.test_tree import tree_of
from tests.occupancy import campus
from tests.occupancy.campus import Seen, change, compute_all, look_again, stale
from tests.occupancy.lake import counts_of, presence_of
from tippers_dagster.campus.spaces.tracking import track
from tippers_dagster.errors import BadInput
from tippers_dagster.occupancy import persons
from tippers_dagster.occupancy.files import Rows
from tippers_dagster.occupancy.persons import Occupants, of_rows, of_sessions
from tippers_dagster.occupancy.reading import read_counts, read_occupancy
from tippers_dagster.platform.lake import open_lake
from tippers_dagster.settings import Settings

TREE = tree_of({"hall": None, "f1": "hall", "r1": "f1", "r2": "f1", "r3": "hall"})
EDGES = {20: np.arange(0, 121, 20), 60: np.arange(0, 121, 60)}

Row = tuple[int, int, int, int, int]
"""Space, device, person (0: not known), start, end."""

rows_of_log = st.lists(
    st.tuples(
        st.integers(0, len(TREE) - 1),
        st.integers(1, 4),
        st.integers(0, 3),
        st.integers(0, 110),
        st.integers(1, 40),
    ).map(lambda r: (*r[:4], min(120, r[3] + r[4]))),
    max_size=25,
)


def plainly(log: list[Row], below: set[int], edges: np.ndarray) -> list[tuple[int, int, int]]:
    """Devices, people and other devices per bin."""
    found = []
    for begin, end in pairwise(edges.tolist()):
        here = [r for r in log if r[0] in below and r[3] < end and r[4] > begin]
        known = {r[1] for r in here if r[2]}
        devices = {r[1] for r in here}
        found.append((len(devices), len({r[2] for r in here if r[2]}), len(devices - known)))
    return found


def made(log: list[Row]) -> Occupants:
    space, device, person, start, end = np.array(sorted(log, key=lambda r: r[1]) or [[0] * 5]).T
    some = slice(None) if log else slice(0, 0)
    devices, people = device.astype(np.uint64), person.astype(np.uint64)
    return of_sessions(space[some], devices[some], people[some], start[some], end[some])


def through_a_file(occupants: Occupants, order: list[int]) -> Occupants:
    rows = Rows(list(TREE.ids), *occupants.rows(len(TREE))).at(np.array(order, np.intp))
    return of_rows(np.array(order)[rows.owner], rows.table)


def counts(occupants: Occupants, space: int, width: int) -> list[tuple[int, int, int]]:
    counted = occupants.count_many(len(TREE), EDGES)[width]
    columns = (counted.devices[space], counted.people[space], counted.others[space])
    return list(zip(*(column.tolist() for column in columns), strict=True))


@given(log=rows_of_log, order=st.permutations(range(len(TREE))))
def test_every_level_equals_the_sessions(log: list[Row], order: list[int]) -> None:
    own = made(log)
    level = through_a_file(own, order)
    for space in range(len(TREE)):
        for width, edges in EDGES.items():
            assert counts(own, space, width) == plainly(log, {space}, edges)
            assert counts(level, space, width) == plainly(log, {space}, edges)
    for depth in (1, 0):
        up = np.where(TREE.depth > depth, TREE.ancestors_at(depth), np.arange(len(TREE)))
        level = level.raised(up)
        for space in np.flatnonzero(TREE.depth == depth).tolist():
            below = {TREE.index[s] for s in TREE.subtree(TREE.ids[space])}
            for width, edges in EDGES.items():
                assert counts(level, space, width) == plainly(log, below, edges)


@given(log=rows_of_log)
def test_fingerprints_do_not_depend_on_how_presence_is_split(log: list[Row]) -> None:
    """A device whose persons are known everywhere has other rows than one where they are not."""
    everywhere = np.zeros(len(TREE), np.int64)
    _, together = made([(0, *row[1:]) for row in log]).rows(1)
    _, raised = through_a_file(made(log), [0, 1, 2, 3, 4]).raised(everywhere).rows(1)
    assert persons.prints(together).sum() == persons.prints(raised).sum()


@given(log=rows_of_log, other=rows_of_log)
def test_fingerprints_change_with_what_is_counted(log: list[Row], other: list[Row]) -> None:
    def told(of: list[Row]) -> list[list[tuple[int, int, int]]]:
        seconds = np.arange(0, 121)
        return [plainly([(0, *r[1:]) for r in of], {0}, seconds)]

    prints = [
        persons.prints(made([(0, *r[1:]) for r in of]).rows(1)[1]).sum() for of in (log, other)
    ]
    if told(log) != told(other):
        assert prints[0] != prints[1]


def test_a_log_without_persons_has_no_further_columns() -> None:
    presence = made([(2, 1, 0, 0, 10), (3, 2, 0, 5, 20)]).rows(len(TREE))[1]
    assert presence.column_names == ["device", "start", "end"]
    filled = presence.append_column(persons.WHOSE, pa.array([None, 0], pa.int8()))
    assert persons.plain_presence(filled) == presence
    table = pa.table({persons.CONNECTIONS: pa.array([3, 4], pa.int32())})
    filled = persons.with_people(table)
    assert filled.to_pydict() == {
        "number_connections": [3, 4],
        "number_people": [0, 0],
        "number_other_devices": [3, 4],
    }
    assert persons.plain_counts(filled) == table


# --- through the pipeline ------------------------------------------------------------------------
W1, W2 = "2025-01-06", "2025-01-13"
SPACES = {"campus": None, "b0": "campus", "b1": "campus", "r0": "b0", "r1": "b0", "r2": "b1"}
MONDAY = dt.datetime(2025, 1, 6)


def random_log(seed: int, n: int = 150) -> list[Seen]:
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        start = MONDAY + dt.timedelta(minutes=int(rng.integers(0, 14 * 1440)))
        end = start + dt.timedelta(minutes=int(rng.integers(1, 400)))
        person = int(rng.choice([0, 0, 2**63 + 1, 2, 3, 4]))
        device = f"m{rng.integers(0, 9)}"
        rows.append(Seen(device, str(rng.choice(list(SPACES))), start, end, person or None))
    return rows


@pytest.fixture
def log() -> list[Seen]:
    return random_log(3)


@pytest.fixture
def settings(stack: Settings, log: list[Seen]) -> Settings:
    campus.fill(stack, SPACES, log)
    track(stack, space="campus", start=dt.date(2025, 1, 6), end=dt.date(2025, 1, 20))
    compute_all(stack)
    return stack


def below(space: str) -> set[str]:
    return {space}.union(*(below(child) for child, parent in SPACES.items() if parent == space))


def expected(log: list[Seen], space: str, width: int) -> list[tuple[int, int]]:
    """People and other devices of every bin of the two weeks, in local time."""
    found = []
    rows = [r for r in log if r.space in below(space) and r.end]
    for i in range(14 * 86400 // width):
        begin = MONDAY + dt.timedelta(seconds=i * width)
        end = begin + dt.timedelta(seconds=width)
        here = [r for r in rows if r.start < end and r.end > begin]
        known = {r.mac for r in here if r.person}
        found.append(
            (len({r.person for r in here if r.person}), len({r.mac for r in here} - known))
        )
    return found


def people_in(settings: Settings, space: str, width: int) -> list[tuple[int, int]]:
    table = read_occupancy(
        space, "2025-01-06", "2025-01-20", width, settings=settings, count="people"
    )
    assert table.column_names[1:] == ["number_people", "number_other_devices"]
    return list(zip(*(table.column(i).to_pylist() for i in (1, 2)), strict=True))


@pytest.mark.parametrize("width", [900, 3600, 86400, 600, 7200])
def test_published_and_other_widths_equal_the_sessions(
    settings: Settings, log: list[Seen], width: int
) -> None:
    for space in SPACES:
        assert people_in(settings, space, width) == expected(log, space, width)
    many = read_counts(
        list(SPACES), "2025-01-06", "2025-01-20", width, settings=settings, count="people"
    )
    for i, space in enumerate(SPACES):
        pairs = zip(many.counts[i].tolist(), many.others[i].tolist(), strict=True)
        assert list(pairs) == expected(log, space, width)


def test_devices_are_counted_as_without_persons(stack: Settings, log: list[Seen]) -> None:
    found = []
    for with_persons in (True, False):
        campus.forget_all(stack)
        rows = log if with_persons else [Seen(r.mac, r.space, r.start, r.end) for r in log]
        campus.fill(stack, SPACES, rows)
        track(stack, space="campus", start=dt.date(2025, 1, 6), end=dt.date(2025, 1, 20))
        compute_all(stack)
        found.append(
            [
                read_occupancy(space, "2025-01-06", "2025-01-20", width, settings=stack)
                for space in SPACES
                for width in (900, 600)
            ]
        )
    assert found[0] == found[1]
    assert presence_of(open_lake(stack), "r0", W1).column_names == ["device", "start", "end"]
    assert "number_people" not in counts_of(open_lake(stack), "r0", W1).column_names


def test_a_person_that_becomes_known_changes_its_space_and_those_above(
    settings: Settings, log: list[Seen]
) -> None:
    i = next(
        i
        for i, r in enumerate(log)
        if r.space == "r0" and not r.person and r.start < MONDAY + dt.timedelta(5)
    )
    seen = log[i]
    change(
        settings,
        "UPDATE source.user_ap_trajectory SET person = 77 WHERE mac_address = %s "
        "AND start_time = %s",
        seen.mac,
        seen.start,
    )
    log[i] = Seen(seen.mac, seen.space, seen.start, seen.end, 77)
    look_again(settings)
    assert stale(settings)["sessions"] == {("", W1)}
    campus.compute_level(settings, "sessions")
    assert stale(settings)["source_occupancy"] == {("r0", W1)}
    compute_all(settings)
    for space in SPACES:
        for width in (3600, 1800):
            assert people_in(settings, space, width) == expected(log, space, width)


def test_partly_counted_chunks_equal_those_counted_at_once(settings: Settings) -> None:
    lake = open_lake(settings)
    before = [(presence_of(lake, s, W1), counts_of(lake, s, W1)) for s in SPACES]
    whole = {key: lake.read_table(key) for key in lake.list("presence/")}
    for spaces in (["r1", "b0"], ["campus", "r2"], ["r0", "b1"]):
        cells = [(space, chunk) for space in spaces for chunk in (W1, W2)]
        outcome = campus.compute(settings, "source_occupancy", cells, "again", stale_only=False)
        assert not outcome.failed
    compute_all(settings)
    assert [(presence_of(lake, s, W1), counts_of(lake, s, W1)) for s in SPACES] == before
    assert {key: lake.read_table(key) for key in lake.list("presence/")} == whole


def test_what_is_counted_must_be_known(settings: Settings) -> None:
    with pytest.raises(BadInput, match="devices or people"):
        read_occupancy("r0", "2025-01-06", "2025-01-07", 900, settings=settings, count="phones")  # type: ignore[arg-type]
