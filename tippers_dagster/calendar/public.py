"""Public holidays, as a first calendar. A university's own days differ, and can be edited later."""

from __future__ import annotations

from collections.abc import Iterable

from tippers_dagster.calendar.periods import EARLIEST, LATEST, Period, PeriodKind, period
from tippers_dagster.errors import BadInput


def public_holidays(
    years: Iterable[int], country: str = "US", subdivision: str | None = None
) -> list[Period]:
    """The public holidays of some years, from the package ``holidays``.

    Parameters
    ----------
    country
        Two-letter ISO 3166-1 code, such as ``US``; for the USA, the federal holidays.
    subdivision
        Also those of a state or region, such as ``CA``.

    Raises
    ------
    BadInput
        When the country, the subdivision or a year is unknown.
    """
    import holidays

    known = holidays.list_supported_countries(include_aliases=False)
    country = country.upper()
    if country not in known:
        raise BadInput(
            f"No holidays are known for {country!r}.",
            "Use a two-letter country code, such as US, DE or JP.",
        )
    if subdivision is not None and subdivision not in known[country]:
        listed = ", ".join(known[country]) or "none"
        raise BadInput(f"{country} has no subdivision {subdivision!r}.", f"It has: {listed}.")
    years = sorted(set(years))
    for year in years:
        if not EARLIEST.year <= year < LATEST.year:
            raise BadInput(f"The year {year} is out of range.")
    # In English if available; several holidays on one day are one text.
    found = holidays.country_holidays(country, subdiv=subdivision, years=years)
    return [period(PeriodKind.HOLIDAY.value, name, day, day) for day, name in sorted(found.items())]


def countries() -> dict[str, list[str]]:
    """The known subdivisions of each country, by two-letter code."""
    import holidays

    return {
        country: list(parts)
        for country, parts in sorted(
            holidays.list_supported_countries(include_aliases=False).items()
        )
    }
