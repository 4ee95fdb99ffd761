"""When assets may be computed after their data changed: the times of refresh policies.

A policy is a state, not an event: a result is due as long as it was read before the policy's latest
time. A missed tick, a failed run or a stopped deployment thus loses no refresh, and times that pass
while a run is active add up to one refresh.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from functools import cache
from zoneinfo import ZoneInfo

from tippers_dagster.catalog.refresh import ON_CHANGE, Refresh, check_cron, parse_refresh
from tippers_dagster.errors import BadInput, SettingsError
from tippers_dagster.platform.dagster.internals import last_cron_time, next_cron_time
from tippers_dagster.settings import Settings

Policies = Collection[Refresh]
"""Those of all readers of an asset: it is refreshed when any of them says so."""


def default_refresh(settings: Settings) -> Refresh:
    """The policy of concepts that have none, and of assets without a concept.

    Raises
    ------
    SettingsError
        When the setting is not a policy.
    """
    try:
        refresh = parse_refresh(settings.refresh_default)
        check_cron(refresh)
    except BadInput as error:
        raise SettingsError(f"TIPPERS_REFRESH_DEFAULT: {error.message}", error.hint) from None
    return refresh


class Clock:
    """The refresh times around one moment.

    Parameters
    ----------
    now
        The moment, with a zone.
    timezone
        The deployment's zone, in which policies are meant.
    """

    def __init__(self, now: dt.datetime, timezone: str) -> None:
        self.now, self.timezone = now, timezone
        self._last: dict[Refresh, dt.datetime | None] = {}

    def due(self, policies: Policies, read_at: dt.datetime | None) -> bool:
        """Whether a result that was read then is to be refreshed by now.

        ``None``: it is unknown when. A time in the future means that the clock was set back: it
        says nothing either.
        """
        if any(refresh.on_change for refresh in policies) or not policies:
            return True
        if all(refresh.by_hand for refresh in policies):
            return False
        if read_at is None or read_at > self.now:
            return True
        return any(last > read_at for last in map(self._last_time, policies) if last is not None)

    def next_time(self, policies: Policies, after: dt.datetime | None = None) -> dt.datetime | None:
        """The first refresh after a moment; unless given, after now. None: only by hand."""
        moment = self.now if after is None else after
        if any(refresh.on_change for refresh in policies) or not policies:
            return moment
        times = (_next_time(refresh, moment, self.timezone) for refresh in policies)
        return min((time for time in times if time is not None), default=None)

    def _last_time(self, refresh: Refresh) -> dt.datetime | None:
        if refresh not in self._last:
            self._last[refresh] = _last_time(refresh, self.now, self.timezone)
        return self._last[refresh]


def _last_time(refresh: Refresh, now: dt.datetime, timezone: str) -> dt.datetime | None:
    if refresh.cron is not None:
        return last_cron_time(refresh.cron, now, timezone)
    if refresh.seconds is None:
        return None
    origin = _origin(timezone)
    return origin + (now - origin) // _length(refresh) * _length(refresh)


def _next_time(refresh: Refresh, now: dt.datetime, timezone: str) -> dt.datetime | None:
    if refresh.cron is not None:
        return next_cron_time(refresh.cron, now, timezone)
    if refresh.seconds is None:
        return None
    last = _last_time(refresh, now, timezone)
    assert last is not None
    return last + _length(refresh)


def _length(refresh: Refresh) -> dt.timedelta:
    return dt.timedelta(seconds=refresh.seconds or 0)


@cache
def _origin(timezone: str) -> dt.datetime:
    """Where slots begin: a Monday, at local midnight. All concepts of an hour share its slots."""
    return dt.datetime(2001, 1, 1, tzinfo=ZoneInfo(timezone)).astimezone(dt.UTC)


def in_words(policies: Iterable[Refresh]) -> str:
    """Policies as pages name them."""
    found = list(dict.fromkeys(policies))
    if any(refresh.on_change for refresh in found):
        return str(ON_CHANGE)
    return " or ".join(map(str, found)) or str(ON_CHANGE)
