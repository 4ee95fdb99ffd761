"""Public holidays, as a calendar to begin with. A university's own days differ: edit them after."""

from __future__ import annotations

from collections.abc import Iterable

from tippers_dagster.calendar.periods import EARLIEST, LATEST, Period, PeriodKind, period
from tippers_dagster.errors import BadInput


def public_holidays(
    years: Iterable[int], country: str = "US", subdivision: str | None = None
) -> list[Period]:
    """The public holidays of some years, as the package ``holidays`` has them.

    Parameters
    ----------
    country
        Two letters of ISO 3166-1, as ``US``: of the USA these are the federal holidays.
    subdivision
        With those of a state or region, as ``CA``.

    Raises
    ------
    BadInput
        When the country, the subdivision or a year is not known.
    """
    import holidays

    known = holidays.list_supported_countries(include_aliases=False)
    country = country.upper()
    if country not in known:
        raise BadInput(
            f"No holidays are known of {country!r}.", "Take two letters, such as US, DE or JP."
        )
    if subdivision is not None and subdivision not in known[country]:
        listed = ", ".join(known[country]) or "none"
        raise BadInput(f"{country} has no part {subdivision!r}.", f"It has {listed}.")
    years = sorted(set(years))
    for year in years:
        if not EARLIEST.year <= year < LATEST.year:
            raise BadInput(f"The year {year} is out of range.")
    # In English, where the package has it so: several holidays of a day are one text.
    found = holidays.country_holidays(country, subdiv=subdivision, years=years)
    return [period(PeriodKind.HOLIDAY.value, name, day, day) for day, name in sorted(found.items())]


def countries() -> dict[str, list[str]]:
    """The parts that are known of each country, by the country's two letters."""
    import holidays

    return {
        country: list(parts)
        for country, parts in sorted(
            holidays.list_supported_countries(include_aliases=False).items()
        )
    }
