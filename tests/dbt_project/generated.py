"""Queries such as analysts write, put together at random from a seed."""

from __future__ import annotations

import random

TEXTS = ("space_id", "sensor_id", "room_type")
BOOLEANS = ("is_room", "is_faculty_office", "is_open")
NUMBERS = (
    "seconds",
    "weekday",
    "extract(hour from start_time)",
    "length(space_id)",
    "div(seconds, 60)",
)
TIMES = (
    "start_time",
    "end_time",
    "local_date",
    "start_time::time",
    "date_trunc('hour', start_time)",
)
GROUPS = (
    *("weekday", "local_date", "space_id", "coalesce(room_type, 'none')", "is_room"),
    *(
        "date_trunc('day', start_time)",
        "extract(isodow from start_time)",
        "date_part('hour', end_time)",
    ),
    *("case when weekday <= 5 then 'work' else 'weekend' end", "left(space_id, 1)"),
)


def query(seed: int) -> str:
    """A query whose result does not depend on the order of rows."""
    rng = random.Random(seed)
    return rng.choice((_grouped, _grouped, _nested, _windowed, _joined, _distinct, _union))(rng)


def _condition(rng: random.Random) -> str:
    hour = rng.randint(0, 23)
    simple = rng.choice(
        (
            f"weekday between {rng.randint(1, 4)} and {rng.randint(4, 7)}",
            f"start_time::time >= time '{hour:02}:30'",
            f"extract(hour from end_time) = {hour}",
            f"end_time - start_time > interval '{rng.randint(1, 300)} minutes'",
            f"end_time <= local_date + time '{hour:02}:00'",
            f"seconds {rng.choice(('<', '>=', '<>'))} {rng.randint(1, 9000)}",
            f"local_date {rng.choice(('<', '>='))} date '2025-03-{rng.randint(3, 18):02}'",
            f"started_at >= timestamptz '2025-03-{rng.randint(3, 18):02} {hour:02}:00Z'",
            "room_type in ('office', 'student lab')",
            "room_type is null",
            "room_type like '%room'",
            f"space_id ~ '^{rng.randint(1, 3)}'",
            "coalesce(room_type, 'none') <> 'kitchen'",
            "not is_faculty_office",
            "mac_address in (:index_values)",
            "space_id = any(array['1', '2', '11'])",
            "exists (select 1 from int_device_days d where d.mac_address = s.mac_address "
            "and d.local_date = s.local_date and d.sessions > 3)",
        )
    )
    if rng.random() < 0.3:
        return f"({simple} {rng.choice(('and', 'or', 'and not'))} ({_condition(rng)}))"
    return simple


def _aggregate(rng: random.Random) -> str:
    number, text = rng.choice(NUMBERS), rng.choice(TEXTS)
    return rng.choice(
        (
            "count(*)",
            f"count({text})",
            f"count(distinct {text})",
            f"sum({number})",
            f"avg({number})::double precision",
            f"{rng.choice(('min', 'max'))}({rng.choice((*TIMES, *NUMBERS, *TEXTS))})",
            f"{rng.choice(('bool_or', 'bool_and'))}({rng.choice(BOOLEANS)})",
            f"count(*) filter (where {_condition(rng)})",
            f"coalesce(sum(seconds) filter (where {_condition(rng)}), 0)",
            "percentile_cont(0.5) within group (order by seconds)",
            "stddev_pop(seconds)::double precision",
            f"string_agg(distinct {text}, ',' order by {text})",
            "count(*) filter (where is_room)::double precision / nullif(count(*), 0)",
            "extract(epoch from max(end_time) - min(start_time))::double precision / 3600",
            "max(local_date) - min(local_date)",
            "sum(seconds) * 0.5",
        )
    )


def _list(rng: random.Random) -> str:
    return ", ".join(f"{_aggregate(rng)} as a{n}" for n in range(rng.randint(1, 4)))


def _grouped(rng: random.Random) -> str:
    keys = ["mac_address", *rng.sample(GROUPS, rng.randint(0, 2))]
    named = ", ".join([keys[0], *(f"{key} as k{n}" for n, key in enumerate(keys[1:]))])
    having = f" having count(*) > {rng.randint(1, 5)}" if rng.random() < 0.3 else ""
    numbers = ", ".join(str(n + 1) for n in range(len(keys)))
    where = f" where {_condition(rng)}" if rng.random() < 0.8 else ""
    return f"select {named}, {_list(rng)} from int_sessions s{where} group by {numbers}{having}"


def _nested(rng: random.Random) -> str:
    return (
        f"with days as (select mac_address, local_date, {_aggregate(rng)} as a, "
        f"bool_or({_condition(rng)}) as b from int_sessions s group by mac_address, local_date) "
        "select mac_address, count(*) as days, count(distinct a) as different, "
        "count(*) filter (where b) as n, avg((b)::integer)::double precision as share "
        "from days group by mac_address"
    )


def _windowed(rng: random.Random) -> str:
    order = "start_time, end_time, space_id, sensor_id, seconds"
    function = rng.choice(
        (
            f"row_number() over (partition by mac_address order by {order})",
            f"lag(seconds) over (partition by mac_address order by {order})",
            f"lead(space_id) over (partition by mac_address, local_date order by {order})",
            "sum(seconds) over (partition by mac_address order by start_time)",
            "rank() over (partition by local_date order by seconds desc)",
            "max(end_time) over (partition by space_id order by start_time "
            "rows between 3 preceding and 1 preceding)",
            "first_value(weekday) over (partition by mac_address order by start_time)",
        )
    )
    if "rows between" in function:
        function = function.replace(
            "order by start_time", "order by start_time, end_time, mac_address"
        )
    return (
        f"select mac_address, start_time, seconds, {function} as w from int_sessions s "
        f"where {_condition(rng)}"
    )


def _joined(rng: random.Random) -> str:
    kind = rng.choice(("join", "left join"))
    return (
        "select s.mac_address, d.sessions as day_sessions, count(*) as n, sum(s.seconds) as total, "
        f"max(d.last_end) as last from (select * from int_sessions s where {_condition(rng)}) s "
        f"{kind} int_device_days d on d.mac_address = s.mac_address "
        "and d.local_date = s.local_date and d.sessions "
        f"{rng.choice(('<', '>='))} {rng.randint(1, 6)} "
        "group by s.mac_address, d.sessions"
    )


def _distinct(rng: random.Random) -> str:
    key = rng.choice(("mac_address", "mac_address, local_date", "mac_address, space_id"))
    return (
        f"select distinct on ({key}) {key}, seconds, start_time from int_sessions s "
        f"where {_condition(rng)} order by {key}, seconds desc, start_time, end_time"
    )


def _union(rng: random.Random) -> str:
    kind = rng.choice(("union", "union all", "except", "intersect"))
    return (
        "select mac_address, space_id from int_place_days "
        f"where sessions > {rng.randint(0, 3)} {kind} "
        f"select mac_address, space_id from int_sessions s where {_condition(rng)}"
    )
