"""Every rule again, written as plainly (and slowly) as possible."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

from tests.dbt_project import campus

Metrics = dict[str, Any]
ZONE = ZoneInfo(campus.ZONE)


@dataclass(frozen=True)
class Session:
    """A usable session; ``began`` and ``ended`` in whole seconds since 1970."""

    device: str
    sensor: str
    space: str
    start: dt.datetime
    end: dt.datetime
    began: int
    ended: int

    @property
    def seconds(self) -> int:
        return self.ended - self.began

    @property
    def day(self) -> dt.date:
        return self.start.date()

    @property
    def room(self) -> str | None:
        return campus.SPACES[self.space][0]

    @property
    def type(self) -> str | None:
        kind = campus.SPACES[self.space][1]
        return kind and kind.strip().lower()

    @property
    def faculty(self) -> bool:
        return self.room in campus.FACULTY_OFFICES

    def within(self, first: int, last: int) -> bool:
        midnight = dt.datetime.combine(self.day, dt.time())
        hour = dt.timedelta(hours=1)
        return self.start >= midnight + first * hour and self.end <= midnight + last * hour

    def overlaps(self, other: Session) -> bool:
        same = self.space == other.space and self.device != other.device
        return same and self.began < other.ended and other.began < self.ended


def usable(rows: Iterable[dict[str, Any]]) -> list[Session]:
    """The sessions, cleaned: one for all rows of the same device, start and place."""
    found: dict[tuple[object, ...], tuple[bool, Session]] = {}
    for row in rows:
        device, start, end = row["mac_address"], row["start_time"], row["end_time"]
        if not (device or "").strip() or row["space_id"] not in campus.SPACES or start is None:
            continue
        if start < dt.datetime(2010, 1, 1) or (
            end and not start <= end <= start + dt.timedelta(31)
        ):
            continue
        began = start.replace(tzinfo=ZONE).timestamp()
        ended = end.replace(tzinfo=ZONE).timestamp() if end else began + campus.OPEN_SECONDS
        end = end or dt.datetime.fromtimestamp(ended, ZONE).replace(tzinfo=None)
        began, ended = math.floor(began), math.ceil(ended)
        place = row["sensor_id"], row["space_id"]
        session = Session(device, *place, start, end, began, max(ended, began + 1))
        mine = (row["end_time"] is not None, session)
        best = found.setdefault((device, start, *place), mine)
        if (mine[0], session.ended) > (best[0], best[1].ended):
            found[device, start, *place] = mine
    return [session for _, session in found.values()]


def by(key: Callable[[Session], Any], sessions: list[Session]) -> dict[Any, list[Session]]:
    groups: dict[Any, list[Session]] = defaultdict(list)
    for session in sessions:
        groups[key(session)].append(session)
    return groups


def days(sessions: list[Session]) -> list[list[Session]]:
    return list(by(lambda s: s.day, sessions).values())


def share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def counted(name: str, sessions: list[Session], test: Callable[[Session], bool]) -> Metrics:
    """``sessions``, the number that pass a test, and their share."""
    part = sum(map(test, sessions))
    return {
        "sessions": len(sessions),
        f"{name}_sessions": part,
        f"{name}_share": share(part, len(sessions)),
    }


def counted_days(
    name: str, sessions: list[Session], test: Callable[[list[Session]], bool]
) -> Metrics:
    """``days``, the number that pass a test, and their share."""
    all_days = days(sessions)
    part = sum(map(test, all_days))
    return {
        "days": len(all_days),
        f"{name}_days": part,
        f"{name}_share": share(part, len(all_days)),
    }


def rooms_of(day: list[Session], least: int) -> list[list[Session]]:
    """The rooms of a day with at least this many seconds."""
    rooms = by(lambda s: s.space, [s for s in day if s.room]).values()
    return [room for room in rooms if sum(s.seconds for s in room) >= least]


def mean_hours(sessions: list[Session]) -> float:
    return sum(s.seconds for s in sessions) / len(sessions) / 3600


def last_end(day: list[Session]) -> float:
    """Hours from the day's midnight."""
    midnight = dt.datetime.combine(day[0].day, dt.time())
    return (max(s.end for s in day) - midnight).total_seconds() / 3600


WORK_ROOMS = ("office", "conference room", "meeting room", "student lab")
COMMON_ROOMS = ("elevator", "rest room", "kitchen", "conference room", "meeting room")


# --- level 1 -------------------------------------------------------------------------------------
def always_on(own: list[Session]) -> Metrics:
    return {
        "mean_hours": mean_hours(own),
        "dates": len(days(own)),
        "access_points": len({s.sensor for s in own}),
    }


MAKERS = {
    "00:1b:a9": ("Brother industries, LTD.", "printer"),
    "3c:2a:f4": ("Its buyer", None),
    "00:11:22": ("axis communications ab", "camera"),
}
"""By vendor prefix, and what their devices usually are."""


def address(own: list[Session]) -> Metrics:
    device = own[0].device
    kind = "universal" if ":" in device else "opaque"
    if device.startswith("02:"):
        kind = "randomised"
    prefix = device[:8] if kind == "universal" else None
    maker, maker_kind = MAKERS.get(prefix or "", (None, None))
    return {
        "device_kind": kind,
        "vendor_prefix": prefix,
        "maker": maker,
        "maker_kind": maker_kind,
        "days": len(days(own)),
        "one_day_only": len(days(own)) == 1,
    }


def many_connections(own: list[Session]) -> Metrics:
    return {"sessions": len(own), "access_points": len({s.sensor for s in own})}


def off_hours(own: list[Session]) -> Metrics:
    def is_off(s: Session) -> bool:
        return s.start.time() >= dt.time(22) or s.end.time() <= dt.time(5)

    dates = {s.day for s in own if is_off(s)}
    return counted("off_hours", own, is_off) | {"off_hours_dates": len(dates)}


def short_irregular(own: list[Session]) -> Metrics:
    return counted("short", own, lambda s: s.seconds <= 7200) | {
        "spaces": len({s.space for s in own})
    }


def daily_average(own: list[Session]) -> Metrics:
    found = counted_days("medium", own, lambda day: 1.5 <= mean_hours(day) <= 5)
    means = [mean_hours(day) for day in days(own)]
    return found | {"mean_daily_hours": sum(means) / len(means)}


def work_rooms(own: list[Session]) -> Metrics:
    return counted("work_room", own, lambda s: s.type in WORK_ROOMS)


def business_hours(own: list[Session]) -> Metrics:
    return counted("business", own, lambda s: s.day.weekday() < 5 and s.within(9, 21))


def short_sessions(own: list[Session]) -> Metrics:
    found = counted_days("short", own, lambda day: mean_hours(day) <= 1)
    return {**found, "short_day_share": found["short_share"]}


def device_many_rooms(own: list[Session]) -> Metrics:
    rooms = [len(rooms_of(day, 120)) for day in days(own)]
    many = sum(number >= 6 for number in rooms)
    return {
        "active_days": len(rooms),
        "many_room_days": many,
        "many_room_share": many / len(rooms),
        "mean_rooms": sum(rooms) / len(rooms),
    }


def weekday_daytime(own: list[Session]) -> Metrics:
    return counted("daytime", own, lambda s: s.day.weekday() < 5 and s.within(8, 22))


def co_paired(own: list[Session], everybody: list[Session]) -> Metrics:
    shared: dict[str, list[Session]] = {}
    for other, theirs in by(lambda s: s.device, everybody).items():
        shared[other] = [s for s in own if any(s.overlaps(t) for t in theirs)]
    best = max(len(found) for found in shared.values())
    enough = best >= 0.8 * len(own)
    metrics = {"sessions": len(own), "mean_hours": mean_hours(own)}
    metrics["shared_sessions"] = best if enough else None
    metrics["shared_share"] = best / len(own) if enough else None
    if enough:
        partner = min(other for other, found in shared.items() if len(found) == best)
        metrics["shared_spaces"] = len({s.space for s in shared[partner]})
        metrics["partner_mean_hours"] = mean_hours([s for s in everybody if s.device == partner])
    return metrics


# --- level 2 -------------------------------------------------------------------------------------
def stay(own: list[Session]) -> Metrics:
    dates = {s.day for s in own}
    return {
        "span_days": (max(dates) - min(dates)).days,
        "rooms": len({s.space for s in own if s.room}),
    }


def connected_days(own: list[Session]) -> Metrics:
    return {"days": len(days(own))}


def room_use(own: list[Session]) -> Metrics:
    return counted("common", own, lambda s: s.type in COMMON_ROOMS) | counted(
        "work", own, lambda s: s.type in ("office", "student lab")
    )


# --- level 3 -------------------------------------------------------------------------------------
def lab_days(own: list[Session]) -> Metrics:
    found = counted_days(
        "lab", own, lambda day: sum(s.seconds for s in day if s.type == "student lab") >= 600
    )
    return {**found, "lab_day_share": found["lab_share"]}


def irregular_hours(own: list[Session]) -> Metrics:
    pairs = {
        (min(s.start for s in day).hour // 2, math.floor(last_end(day) / 2)) for day in days(own)
    }
    return {"days": len(days(own)), "bin_pairs": len(pairs)}


def resident_many_rooms(own: list[Session]) -> Metrics:
    def scattered(day: list[Session]) -> bool:
        return all(len(room) <= len(day) / 2 for room in rooms_of(day, 0))

    rooms = [len(rooms_of(day, 0)) for day in days(own)]
    return counted_days("scattered", own, scattered) | {"mean_rooms": sum(rooms) / len(rooms)}


def office_hours(own: list[Session]) -> Metrics:
    return counted("office_hours", own, lambda s: s.within(9, 17))


def long_work_days(own: list[Session]) -> Metrics:
    return counted_days(
        "long_work",
        own,
        lambda day: any(s.seconds >= 7200 and s.type in ("office", "meeting room") for s in day),
    )


def settled_days(own: list[Session]) -> Metrics:
    def settled(day: list[Session]) -> bool:
        rooms = [room[0] for room in rooms_of(day, 600)]
        offices = [room for room in rooms if room.type == "office"]
        return 1 <= len(rooms) <= 2 and bool(offices) and not any(room.faculty for room in rooms)

    return counted_days("settled", own, settled)


def faculty_office(own: list[Session]) -> Metrics:
    return counted("faculty_office", own, lambda s: s.faculty)


def long_work_time(own: list[Session]) -> Metrics:
    all_hours = sum(s.seconds for s in own) / 3600
    places = ("office", "conference room", "meeting room")
    long_hours = sum(s.seconds for s in own if s.seconds >= 7200 and s.type in places) / 3600
    return {
        "hours": all_hours,
        "long_work_hours": long_hours,
        "long_work_share": long_hours / all_hours,
    }


def leaving_time(own: list[Session]) -> Metrics:
    return counted_days("evening", own, lambda day: 17 <= last_end(day) < 20)


# --- level 4 -------------------------------------------------------------------------------------
def late_days(own: list[Session]) -> Metrics:
    return counted_days("late", own, lambda day: last_end(day) >= 20.5)


def company(own: list[Session], everybody: list[Session]) -> Metrics:
    return counted("accompanied", own, lambda s: any(s.overlaps(other) for other in everybody))


def weekday_spread(own: list[Session]) -> Metrics:
    most = max(Counter(s.day.weekday() for s in own).values())
    return {
        "sessions": len(own),
        "busiest_weekday_sessions": most,
        "busiest_weekday_share": most / len(own),
    }


def weekday_labs(own: list[Session]) -> Metrics:
    on_weekdays = [s for s in own if s.day.weekday() < 5]
    labs = sum(s.type == "student lab" for s in on_weekdays)
    return {
        "weekday_sessions": len(on_weekdays),
        "lab_sessions": labs,
        "lab_share": share(labs, len(on_weekdays)),
    }


def office_and_lab(own: list[Session]) -> Metrics:
    def both(day: list[Session]) -> bool:
        types = [room[0].type for room in rooms_of(day, 600)]
        return 3 <= len(types) <= 5 and {"office", "student lab"} <= set(types)

    return counted_days("office_and_lab", own, both)


def faculty_visits(own: list[Session]) -> Metrics:
    long = [s for s in own if s.seconds >= 600]
    visits = [s for s in long if s.faculty]
    return {
        "long_sessions": len(long),
        "faculty_sessions": len(visits),
        "faculty_share": share(len(visits), len(long)),
        "faculty_days": len({s.day for s in visits}),
    }


# --- groups --------------------------------------------------------------------------------------
def region(session: Session) -> str | None:
    """The name of the covered region of a session."""
    covered = campus.ACCESS_POINTS.get(session.sensor)
    if covered is None:
        return None
    return f"Space {session.space if session.space in covered else covered[0]}"


def _largest(amounts: dict[str, float]) -> str:
    return min(amounts, key=lambda name: (-amounts[name], name))


def dominant_room(own: list[Session]) -> Metrics | None:
    minutes: Counter[str] = Counter()
    for s in own:
        if (name := region(s)) is not None:
            minutes[name] += s.seconds / 60
    long = {name: amount for name, amount in minutes.items() if amount >= 10}
    if not long:
        return None
    name, total = _largest(long), sum(long.values())
    answers = long[name] >= 0.8 * total and len(long) <= 5
    return {
        "space_name": name if answers else None,
        "dominant_region": name,
        "minutes": total,
        "minutes_share": long[name] / total,
        "regions": len(long),
    }


def working_hours_room(own: list[Session]) -> Metrics | None:
    inside = [s for s in own if s.day.weekday() < 5 and s.within(10, 17) and region(s)]
    if not inside:
        return None
    amounts = Counter(str(region(s)) for s in inside)
    name = _largest(amounts)
    part = amounts[name] / len(inside)
    return {
        "space_name": name if part >= 0.8 else None,
        "dominant_region": name,
        "sessions": len(inside),
        "sessions_share": part,
    }


def co_located_room(own: list[Session], everybody: list[Session]) -> Metrics | None:
    def place(s: Session) -> tuple[str, dt.datetime]:
        return s.sensor, s.start.replace(minute=0, second=0, microsecond=0)

    mine = {place(s) for s in own if region(s)}
    seen = {
        (s.device, place(s), region(s))
        for s in everybody
        if s.device != own[0].device and region(s) and place(s) in mine
    }
    if not seen:
        return None
    amounts = Counter(str(name) for _, _, name in seen)
    name = _largest(amounts)
    return {
        "space_name": name,
        "co_located": len(seen),
        "co_located_share": amounts[name] / len(seen),
    }


RULES: dict[str, Callable[..., Metrics | None]] = {
    "device__always_on": always_on,
    "device__address": address,
    "device__many_connections": many_connections,
    "device__off_hours": off_hours,
    "device__short_irregular": short_irregular,
    "device__daily_average": daily_average,
    "device__work_rooms": work_rooms,
    "device__business_hours": business_hours,
    "device__short_sessions": short_sessions,
    "device__many_rooms": device_many_rooms,
    "device__weekday_daytime": weekday_daytime,
    "device__co_paired": co_paired,
    "people__stay": stay,
    "people__connected_days": connected_days,
    "people__room_use": room_use,
    "resident__lab_days": lab_days,
    "resident__irregular_hours": irregular_hours,
    "resident__many_rooms": resident_many_rooms,
    "resident__office_hours": office_hours,
    "resident__long_work_days": long_work_days,
    "resident__settled_days": settled_days,
    "resident__faculty_office": faculty_office,
    "resident__long_work_time": long_work_time,
    "resident__leaving_time": leaving_time,
    "student__late_days": late_days,
    "student__company": company,
    "student__weekday_spread": weekday_spread,
    "student__weekday_labs": weekday_labs,
    "student__office_and_lab": office_and_lab,
    "student__faculty_visits": faculty_visits,
    "group__dominant_room": dominant_room,
    "group__working_hours_room": working_hours_room,
    "group__co_located_room": co_located_room,
}
WITH_EVERYBODY = (co_paired, company, co_located_room)


def expected(rule: str, sessions: list[Session], devices: set[str]) -> dict[str, Metrics]:
    """The expected rows of a rule for the devices of its index."""
    metrics = RULES[rule]
    found = {}
    ordered = sorted(sessions, key=lambda s: s.device)
    for device, group in groupby(ordered, lambda s: s.device):
        if device not in devices:
            continue
        own = list(group)
        row = metrics(own, sessions) if metrics in WITH_EVERYBODY else metrics(own)
        if row is not None:
            found[device] = row
    return found
