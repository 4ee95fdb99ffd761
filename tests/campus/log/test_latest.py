"""Which row of a session remains, compared with a plain oracle."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tippers_dagster.campus.log.latest import latest
from tippers_dagster.campus.log.sessions import SCHEMA

Row = dict[str, object]


def row(**given: object) -> Row:
    usual = {"device": "d", "device_kind": 0, "start": 0, "access_point": "ap", "session_id": "s"}
    return dict.fromkeys(SCHEMA.names) | usual | given


def table(rows: list[Row]) -> pa.Table:
    schema = SCHEMA.append(pa.field("kept", pa.string()))
    return pa.Table.from_pylist([{"kept": None} | one for one in rows], schema)


def remaining(*rows: Row) -> list[Row]:
    return latest(table(list(rows))).select(SCHEMA.names).to_pylist()


def test_a_closed_row_takes_the_place_of_the_open_one() -> None:
    opened, closed = row(last_seen=99), row(end=5)
    other = row(device="e")
    assert remaining(opened, other, closed) == [other, closed]
    assert remaining(closed, opened, other) == [closed, other]


def test_the_later_end_or_sign_of_life_remains() -> None:
    assert remaining(row(end=5), row(end=7), row(end=6)) == [row(end=7)]
    assert remaining(row(last_seen=5), row(), row(last_seen=7)) == [row(last_seen=7)]


def test_identical_rows_count_once() -> None:
    assert remaining(row(end=5, person=7), row(end=5, person=7)) == [row(end=5, person=7)]
    # The same except in what does not say which session it is.
    some, other = row(end=5, person=2**64 - 1), row(end=5, person=None)
    assert remaining(some, other) == remaining(other, some) == [some]


def test_without_an_id_device_place_and_start_are_a_session() -> None:
    rows = [
        row(session_id=None),
        row(session_id=None, start=1),
        row(session_id=None, access_point="other"),
        row(session_id=None, access_point=None, space="ap2"),
        row(session_id=None, device="e"),
        row(),
        row(device="e"),
    ]
    assert remaining(*rows) == rows
    by_space = row(session_id=None, access_point=None, space="12")
    assert remaining(by_space, by_space | {"end": 3}) == [by_space | {"end": 3}]
    # The access point is the place, whatever the space is.
    assert remaining(row(session_id=None, space="1"), row(session_id=None, space="2", end=1)) == [
        row(session_id=None, space="2", end=1)
    ]
    # With one, the place and the start may change.
    assert remaining(row(), row(access_point="b", start=1, end=9)) == [
        row(access_point="b", start=1, end=9)
    ]


def test_no_rows() -> None:
    assert latest(table([])).num_rows == 0


small = st.none() | st.integers(0, 2)
logs = st.lists(
    st.builds(
        row,
        device=st.sampled_from(["d", "e"]),
        start=st.integers(0, 1),
        end=small,
        last_seen=small,
        access_point=st.sampled_from([None, "ap", "s"]),
        space=st.sampled_from([None, "ap", "12"]),
        ssid=st.sampled_from([None, "net", "guest"]),
        session_id=st.sampled_from([None, "s", "ap"]),
        person=small,
        kept=st.sampled_from([None, "", "x"]),
    ),
    max_size=12,
)


@given(logs, st.randoms(use_true_random=False))
def test_what_remains_is_what_a_plain_oracle_says_in_any_order(log: list[Row], chance) -> None:
    found = latest(table(log)).to_pylist()
    assert found == sorted(_oracle(log), key=log.index)
    shuffled = chance.sample(log, len(log))
    again = latest(table(shuffled)).to_pylist()
    assert sorted(again, key=repr) == sorted(found, key=repr)


@given(logs, st.integers(0, 12), st.integers(0, 12))
def test_what_remains_does_not_depend_on_how_rows_are_split(
    log: list[Row], cut: int, other: int
) -> None:
    rows = table(log)
    parts = [rows.slice(0, cut), rows.slice(cut, other), rows.slice(cut + other)]
    whole = latest(rows)
    found = latest(parts[0])
    for part in parts[1:]:
        found = latest(pa.concat_tables([found, part]))
    assert found.equals(whole)
    assert latest(pa.concat_tables(map(latest, parts))).equals(whole)
    assert latest(whole).equals(whole)


def _oracle(log: list[Row]) -> list[Row]:
    best: dict[tuple[object, ...], Row] = {}
    for one in log:
        place = one["space"] if one["access_point"] is None else one["access_point"]
        with_id = one["session_id"] is not None
        key = (one["device"], one["session_id"], *(() if with_id else (place, one["start"])))
        if key not in best or _weight(one) > _weight(best[key]):
            best[key] = one
    return list(best.values())


def _weight(one: Row) -> list[tuple[bool, object]]:
    names = ["end", "last_seen", *SCHEMA.names, "kept"]
    return [(one[name] is not None, one[name] if one[name] is not None else 0) for name in names]
